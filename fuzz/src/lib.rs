//! What the fuzz targets do with their bytes, one function each. tests/fuzz_smoke.rs runs all of them on stable Rust.

pub mod auth;
pub mod channel;
pub mod evidence;
pub mod hosts;
pub mod keys;
pub mod law;
pub mod peek;
pub mod people;
pub mod recording;
pub mod transport;

/// One fuzz target: its name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by room.
pub const ALL: &[&[Target]] =
    &[auth::ALL, channel::ALL, evidence::ALL, hosts::ALL, law::ALL, keys::ALL, peek::ALL, people::ALL, recording::ALL, transport::ALL];
