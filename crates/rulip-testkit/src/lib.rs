//! What checks rulip itself: the house rules, as code.
//!
//! What lives here: reading source text ([`source`]), the rules over it ([`rules`]), and their
//! exceptions ([`exceptions`]). What does not: the list of exceptions, which is `house_rules.toml`.
//! Only tests run it. Invariant: no unsafe code.

#![forbid(unsafe_code)]

pub mod exceptions;
pub mod rules;
pub mod source;
