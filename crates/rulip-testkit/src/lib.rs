//! What checks rulip itself: the house rules, as code.
//!
//! What lives here: rules over source text. What does not: the list of exceptions, which is
//! `house_rules.toml`. Only tests run it. Invariant: no unsafe code.

#![forbid(unsafe_code)]
