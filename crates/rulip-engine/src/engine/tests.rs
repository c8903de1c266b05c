//! Tests of the engine, turn by turn.
