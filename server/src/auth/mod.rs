//! Who may: who somebody is, by a signed token or by their word, and from which pages browsers may come.
//!
//! Read [`door`] for who is let in, [`token`] and [`keys`] for how a token is checked, [`tenure`] for how
//! long it is good for, [`origin`] for browsers, [`bearer`] for the tokens of programs and operators.

pub(crate) mod bearer;
mod door;
mod keys;
pub(crate) mod origin;
mod settings;
mod tenure;
mod token;
#[cfg(test)]
mod token_test;

pub(crate) use door::{Claim, Door};
pub(crate) use settings::Settings;
pub(crate) use tenure::{Ring, Tenure};
