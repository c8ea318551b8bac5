//! What happened, so that tampering shows.
//!
//! Pure: bytes in, bytes out. No SQL, no clock, no private key; who stores and who signs is somebody else. The form is fixed from the
//! first event: an [`Entry`](entry::Entry) becomes RFC 8785 canonical JSON of strings and integers, stored verbatim; these bytes are
//! the leaves of an RFC 6962 Merkle tree, one tree per node; [checkpoints](checkpoint) in C2SP's text form sign its heads; [`verify`]
//! reads it all again, offline.

pub mod canonical;
pub mod checkpoint;
pub mod commitment;
pub mod copy;
pub mod digest;
pub mod entry;
pub mod event;
mod finding;
pub mod proofs;
pub mod tar;
pub mod tree;
pub mod verify;
pub mod words;
