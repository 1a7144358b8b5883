//! Where sources and packages come from: pins in the lock, and what is fetched by them.

pub(crate) mod git;
pub(crate) mod network;
pub(crate) mod pins;
pub(crate) mod tools;
