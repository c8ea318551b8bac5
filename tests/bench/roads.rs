//! Against a plain OpenSSH jump host.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]
fn main() {}
