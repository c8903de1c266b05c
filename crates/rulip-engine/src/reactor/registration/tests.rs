//! Tests of the registrations.
