//! The rules: who may ask for what, who approves, for how long; who may look, and who may end things.
//!
//! Nothing is allowed by default. An ask is covered when **one** allow alone matches who, host, login, every channel kind and the whole
//! length; the first in file order binds. A deny always wins. Pure: everything that is judged is given.

mod error;
mod judge;
mod parse;
mod selector;
mod trial;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use error::PolicyError;
pub use judge::{Verdict, Wish};
pub use selector::{Glob, HostPattern, Kinds, Who};

use super::names::{BadName, HostName, Login, RuleId, User};
use super::person::Person;
use super::refusal::Refusal;
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

/// What a `may` rule can give. Nobody may any of it by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// See who is and was inside.
    Sessions,
    /// Find recordings.
    Recordings,
    /// Play recordings.
    Replay,
    /// End a grant that is not one's own; with it, see grants.
    Revoke,
    /// End a session that is not one's own.
    Kill,
    /// See every host, not only those one may ask for.
    Hosts,
}

impl Act {
    /// The word in the policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Recordings => "recordings",
            Self::Replay => "replay",
            Self::Revoke => "revoke",
            Self::Kill => "kill",
            Self::Hosts => "hosts",
        }
    }

    /// As words of a sentence: "no rule lets you ...".
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Sessions => "see the sessions of others",
            Self::Recordings => "find recordings",
            Self::Replay => "replay recordings",
            Self::Revoke => "revoke grants",
            Self::Kill => "kill sessions",
            Self::Hosts => "see every host",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Act {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        [Self::Sessions, Self::Recordings, Self::Replay, Self::Revoke, Self::Kill, Self::Hosts]
            .into_iter()
            .find(|act| act.as_str() == text)
            .ok_or_else(|| BadName::new("word for an act", text, "it is one of sessions, recordings, replay, revoke, kill, hosts"))
    }
}

/// Who decides, and how many of them it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvers {
    /// Any of these.
    pub by: Vec<Who>,
    /// So many different humans, at least 1.
    pub quorum: u32,
}

/// The one allow that covers a request, as it stood when the request was filed. Kept with the request, so that a later policy does
/// not change what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundRule {
    /// The rule's id.
    pub id: RuleId,
    /// The rule as it was written.
    pub text: String,
    /// SHA-256 of the whole policy file, in hex.
    pub policy: String,
    /// Nobody: granted at once.
    pub approve: Option<Approvers>,
    /// The longest grant.
    pub max_duration: Span,
    /// The length when none was asked for.
    pub default_duration: Span,
    /// A request that nobody answers ends after this.
    pub lapse: Span,
}

impl BoundRule {
    /// How many different humans must say yes; 0 means granted at once.
    pub fn quorum(&self) -> u32 {
        self.approve.as_ref().map_or(0, |approve| approve.quorum)
    }

    /// May `who` decide about a request of `asker` under this rule? Nobody decides about their own.
    pub fn may_decide(&self, who: &Person, asker: &User) -> Result<(), Refusal> {
        if who.user == *asker {
            return Err(Refusal::new("own-request", "nobody decides about their own request")
                .hint(format!("these can: {}; `withdraw` takes it back", self.approver_words())));
        }
        match &self.approve {
            Some(approve) if approve.by.iter().any(|by| by.matches(who)) => Ok(()),
            _ => Err(Refusal::new("not-approver", format!("rule {} does not name you as an approver", self.id))
                .hint(format!("these can: {}", self.approver_words()))),
        }
    }

    /// `role:phi-owner, user:bob`, or `nobody` when it is granted at once.
    pub fn approver_words(&self) -> String {
        match &self.approve {
            Some(approve) => approve.by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            None => "nobody".into(),
        }
    }
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
        }
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
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
