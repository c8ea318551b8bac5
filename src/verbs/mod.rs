//! The words that people type: read by one parser, run against the broker, answered as text or as JSON. Used by the SSH wing and by the
//! local command line; never imports either.

pub mod parse;
pub mod text;
pub mod words;

pub use parse::{Door, Parsed, Usage, Verb, command, from_line, from_words};
