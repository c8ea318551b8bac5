//! What the fuzz targets do with their bytes, one function each. tests/fuzz_smoke.rs runs all of them on stable Rust.

pub mod evidence;
pub mod transport;

/// One fuzz target: its name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by room.
pub const ALL: &[&[Target]] = &[evidence::ALL, transport::ALL];
