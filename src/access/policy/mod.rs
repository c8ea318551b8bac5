//! The rules: who may ask for what, who approves, for how long; who may look, and who may end things.
//!
//! Nothing is allowed by default. An ask is covered when **one** allow alone matches who, host, login, every channel kind and the whole
//! length; the first in file order binds, tightened by every floor ([`Require`]) that speaks of the ask. A deny always wins. Pure:
//! everything that is judged is given.

mod act;
mod approving;
mod asking;
mod bound;
mod compare;
mod error;
mod explain;
mod judge;
mod keep;
mod parse;
mod raw;
mod reached;
mod refuse;
mod rules;
mod selector;
mod terms;
mod trial;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::mask::Mask;

pub use act::Act;
pub use bound::{Approvers, BoundRule, Floor, SelfExtend};
pub use compare::{Change, Difference, Direction};
pub use error::PolicyError;
pub use explain::{Explained, Saying};
pub use judge::{Verdict, Why, Wish};
pub use keep::{Beyond, Keep, Statements};
pub use reached::Unreached;
pub use rules::{Allow, Deny, Require};
pub use selector::{Glob, HostPattern, Kinds, NAMELESS, Who};
pub use terms::{Right, Terms};

use rules::May;

/// All rules of one policy file.
#[derive(Debug, Clone)]
pub struct Policy {
    source: Source,
    allows: Vec<Allow>,
    requires: Vec<Require>,
    denies: Vec<Deny>,
    mays: Vec<May>,
    trials: Vec<trial::Trial>,
    mask: Arc<Mask>,
}

/// The file as it was read.
#[derive(Debug, Clone)]
struct Source {
    file: String,
    text: String,
    digest: String,
}

impl Source {
    fn new(file: &str, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), digest: hex(&Sha256::digest(text.as_bytes())) }
    }
}

impl Policy {
    /// Reads a policy; `file` is its name in errors. The first thing wrong is told with line, column and caret.
    pub fn parse(text: &str, file: &str) -> Result<Self, PolicyError> {
        parse::parse(text, file)
    }

    /// A policy that allows nothing.
    pub fn empty() -> Self {
        Self {
            source: Source::new("(none)", ""),
            allows: vec![],
            requires: vec![],
            denies: vec![],
            mays: vec![],
            trials: vec![],
            mask: Arc::new(Mask::built_in()),
        }
    }

    /// SHA-256 of the file's bytes, in hex.
    pub fn digest(&self) -> String {
        self.source.digest.clone()
    }

    /// The file's text, byte for byte.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// What of a recording only who may `unmask` sees: the built-in patterns and the file's own.
    pub fn mask(&self) -> Arc<Mask> {
        Arc::clone(&self.mask)
    }

    /// The allows, in file order.
    pub fn allows(&self) -> &[Allow] {
        &self.allows
    }

    /// The floors, in file order.
    pub fn floors(&self) -> &[Require] {
        &self.requires
    }

    /// The denies, in file order.
    pub fn denies(&self) -> &[Deny] {
        &self.denies
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests;
