//! Authentication, RFC 4252: who the client is (server side), and who we are to a host (client side).
//!
//! Both sides are state machines over payloads. They decide what a message *is*; what it is worth, the caller decides.

mod client;
mod compose;
mod server;

pub use client::{ClientAuth, ClientStep};
pub use compose::{banner, failure, pk_ok, server_ext_info, success};
pub use server::{Answers, AuthStep, Echo, ServerAuth};

#[cfg(test)]
mod tests;
