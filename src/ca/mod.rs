//! The authorities and every key that an installation holds.
//!
//! Here keys live and sign; who may have what signed is decided elsewhere (the broker, from an admission). A private key never leaves
//! this room but for the two host keys, which the SSH wing must sign handshakes with. Nothing here is `Debug` that is secret.

pub mod access;
pub mod authority;
pub mod certificate;
pub mod code;
pub mod envelope;
pub mod keyring;
pub mod note;
pub mod secret;
pub mod turning;
