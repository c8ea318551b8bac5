//! Our SSH transport for the relay: bytes in, messages out, both roles, no sockets and no clock inside.
//!
//! This room knows RFC 4251 to 4254 and OpenSSH's PROTOCOL files and nothing of users, grants or recordings.
//! It never waits, never spawns and never allocates more than its limits allow, whatever a peer sends.

pub mod auth;
pub mod channel;
pub mod cipher;
pub mod codec;
pub mod entropy;
pub mod kex;
pub mod keys;
pub mod number;
mod packet;
mod role;
pub mod transport;
pub mod trust;
pub mod verify;

#[cfg(test)]
mod keygen;
