//! The rules: who may ask for what, who approves, for how long; who may look, and who may end things.
//!
//! Nothing is allowed by default. An ask is covered when **one** allow alone matches who, host, login, every channel kind and the whole
//! length; the first in file order binds. A deny always wins. Pure: everything that is judged is given.

mod act;
mod approving;
mod bound;
mod error;
mod judge;
mod parse;
mod selector;
mod trial;

use std::collections::BTreeSet;
use std::ops::Range;

use sha2::{Digest, Sha256};

pub use act::Act;
pub use bound::{Approvers, BoundRule, Floor, SelfExtend};
pub use error::PolicyError;
pub use judge::{Verdict, Why, Wish};
pub use selector::{Glob, HostPattern, Kinds, Who};

use super::names::{HostName, Login, RuleId};
use super::time::Span;

/// All rules of one policy file.
#[derive(Debug, Clone)]
pub struct Policy {
    source: Source,
    allows: Vec<Allow>,
    denies: Vec<Deny>,
    mays: Vec<May>,
    trials: Vec<trial::Trial>,
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

/// An allow: who may ask for what, for how long, and who decides.
#[derive(Debug, Clone)]
pub struct Allow {
    /// Its name in requests, events and recordings.
    pub id: RuleId,
    who: Vec<Who>,
    hosts: Vec<HostPattern>,
    logins: Vec<Glob>,
    channels: Kinds,
    max_duration: Span,
    default_duration: Span,
    approve: Option<Approvers>,
    lapse: Span,
    text: Range<usize>,
}

/// A deny: always wins; an absent selector matches all.
#[derive(Debug, Clone)]
pub struct Deny {
    /// Its name in refusals.
    pub id: RuleId,
    who: Option<Vec<Who>>,
    hosts: Option<Vec<HostPattern>>,
    logins: Option<Vec<Glob>>,
    channels: Option<Kinds>,
    because: String,
}

/// A right to look or to end, on some hosts.
#[derive(Debug, Clone)]
struct May {
    who: Vec<Who>,
    acts: BTreeSet<Act>,
    hosts: Vec<HostPattern>,
}

impl Policy {
    /// Reads a policy; `file` is its name in errors. The first thing wrong is told with line, column and caret.
    pub fn parse(text: &str, file: &str) -> Result<Self, PolicyError> {
        parse::parse(text, file)
    }

    /// A policy that allows nothing.
    pub fn empty() -> Self {
        Self { source: Source::new("(none)", ""), allows: vec![], denies: vec![], mays: vec![], trials: vec![] }
    }

    /// SHA-256 of the file's bytes, in hex.
    pub fn digest(&self) -> String {
        self.source.digest.clone()
    }

    /// The file's text, byte for byte.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// The allows, in file order.
    pub fn allows(&self) -> &[Allow] {
        &self.allows
    }

    fn bind(&self, allow: &Allow) -> BoundRule {
        BoundRule {
            id: allow.id.clone(),
            text: self.source.text.get(allow.text.clone()).unwrap_or("").trim_end().to_owned(),
            policy: self.digest(),
            approve: allow.approve.clone(),
            max_duration: allow.max_duration,
            default_duration: allow.default_duration,
            lapse: allow.lapse,
            idle: None,
            idle_commands: false,
            record_input: false,
            extend: None,
            signed: false,
            require_cert: false,
            reason_min_length: None,
            ticket: false,
            floors: vec![],
        }
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

/// The command that asks for this, as it can be typed.
pub(crate) fn request_command(host: &HostName, login: Option<&Login>, channels: Option<&str>, length: Option<Span>) -> String {
    let login = login.map_or_else(String::new, |l| format!(" --login {l}"));
    let length = length.map_or_else(String::new, |l| format!(" --for {l}"));
    let channels = channels.map_or_else(String::new, |c| format!(" --channels {c}"));
    format!("ssh jit-bastion request {host}{login}{length}{channels} --reason WHY")
}

#[cfg(test)]
mod tests;
