//! What was seen: kept before it is shown, written out as plain asciicast, sealed with a signed manifest, replayed and verified.
//!
//! The way of a byte: the relay's thread appends it to the session's [`journal`] as a raw frame, and only then passes it on. A
//! [`recorder`] thread reads the journal and writes one asciicast file a channel. When the session is over the files are sealed: hashed,
//! synced, named in a signed [`manifest`]. The journal goes when the sealed session is in the audit log ([`SealedSession::let_go`]); one
//! that is found at start belongs to a bastion that was killed, and [`recover`] finishes it. This room never drops a frame and never goes
//! on after a write that failed; it knows nothing of SSH, of policy or of the store.

mod bell;
pub mod cast;
mod channel;
pub mod command;
mod covering;
pub mod deck;
pub mod disk;
pub mod exact;
pub mod files;
mod finding;
pub mod frames;
pub mod journal;
mod ledger;
mod lines;
mod logged;
pub mod manifest;
pub mod markers;
mod moments;
pub mod onlooker;
pub mod player;
mod reader;
pub mod recorder;
pub mod replay;
mod reserve;
mod screen;
mod scribe;
mod sealing;
mod settling;
mod standing;
pub mod statements;
mod steering;
mod stretch;
pub mod text;
pub mod transcript;
pub mod verify;
mod work;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::access::names::{self, Actor, GrantId, HostName, Login, RequestId, RuleId, SessionId, User};
use crate::access::time::Timestamp;

pub use bell::Landing;
pub use deck::{Deck, Key};
pub use disk::{Disk, Inside, Trouble};
pub use finding::{Finding, Wrong};
pub use frames::{Body, Digested, Frame, Seq};
pub use journal::{Journal, Level};
pub use ledger::restore;
pub use logged::{Fate, Logged};
pub use manifest::{Manifest, ManifestSigner, SealedChannel, SealedSession};
pub use player::{Pace, PlayFrame, Player};
pub use recorder::Recorder;
pub use reserve::Reserve;
pub use scribe::Scribe;
pub use sealing::{INTERRUPTED, RecoveredSession, recover, recover_one};
pub use stretch::Stretch;
pub use verify::{Progress, Survey, survey};

/// What a recording says about its session. Written at the journal's head, into every file's `x_jit` and into the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMeta {
    /// The session.
    pub session: SessionId,
    /// By what right it was there.
    #[serde(flatten)]
    pub right: Right,
    /// Where.
    pub host: HostName,
    /// As which account.
    pub login: Login,
    /// When it began; names the folder (UTC date) and is the zero of every frame's time.
    pub started: Timestamp,
}

/// By what right a session was on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Right {
    /// A user's grant.
    Grant {
        /// The grant it ran under.
        grant: GrantId,
        /// The request that the grant came from.
        request: RequestId,
        /// Who.
        user: User,
        /// The rule that bound the request.
        rule: RuleId,
    },
    /// Somebody on the bastion's own command line looked what access stands on the host without the bastion; nothing was typed.
    Audit {
        /// Who.
        auditor: Actor,
    },
}

impl Right {
    /// Who it was: a user's name, or `local:NAME`.
    pub fn who(&self) -> String {
        match self {
            Self::Grant { user, .. } => user.to_string(),
            Self::Audit { auditor } => auditor.to_string(),
        }
    }

    /// Under what: the grant's id, or `audit`.
    pub fn under(&self) -> &str {
        match self {
            Self::Grant { grant, .. } => grant.as_str(),
            Self::Audit { .. } => "audit",
        }
    }
}

impl SessionMeta {
    /// Where the session's files lie under the recordings' root: `YYYY/MM/DD/SESSION`.
    pub fn folder(&self) -> PathBuf {
        Path::new(&self.started.date_path()).join(self.session.as_str())
    }
}

/// What kind of channel a recording is of; its name ends the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// A shell, with or without a terminal.
    Shell,
    /// A command.
    Exec,
    /// The sftp subsystem: always counted, and its bytes kept where the relay hands them over.
    Sftp,
    /// One connection from the client's side to somewhere that the host reaches: counted, and told in lines.
    Forward,
    /// One connection from a listener on the host to the client's side; the same.
    Reverse,
    /// One connection of the host to the client's agent; the same.
    Agent,
}

impl ChannelKind {
    /// `shell`, `exec`, `sftp`, `forward`, `reverse`, `agent`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Exec => "exec",
            Self::Sftp => "sftp",
            Self::Forward => "forward",
            Self::Reverse => "reverse",
            Self::Agent => "agent",
        }
    }

    /// With where it went, as a grant names it: `forward:5432`.
    pub fn with(self, target: Option<&str>) -> String {
        target.map_or_else(|| self.as_str().to_owned(), |target| format!("{}:{target}", self.as_str()))
    }

    /// Whether bytes are counted, also those that are not kept.
    pub(crate) const fn is_counted(self) -> bool {
        !matches!(self, Self::Shell | Self::Exec)
    }

    /// Whether it is one connection that was carried, and no program of the host's that speaks with the user.
    pub(crate) const fn is_connection(self) -> bool {
        matches!(self, Self::Forward | Self::Reverse | Self::Agent)
    }
}

/// What a recording says about its channel; the payload of its first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelMeta {
    /// What it is.
    pub kind: ChannelKind,
    /// The command line of an exec, in its exact bytes; no longer than [`command::MAX_COMMAND`]. Where a forward goes, as a grant names it.
    #[serde(rename = "command_base64", default, skip_serializing_if = "Option::is_none", with = "command::in_base64")]
    pub command: Option<Vec<u8>>,
    /// The terminal, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalMeta>,
}

impl ChannelMeta {
    /// Where a forward goes, fit to be shown: `5432`, `db.internal:5432`, `/run/x.sock`.
    pub(crate) fn target(&self) -> Option<String> {
        let target = self.command.as_deref().filter(|_| self.kind.is_connection())?;
        let shown = names::escaped(&String::from_utf8_lossy(target));
        Some(command::cut(&shown, MAX_TARGET).to_owned())
    }
}

/// A destination is told no longer than this: a unix socket's path has 108 bytes, a name 253.
const MAX_TARGET: usize = 512;

/// A terminal as the client asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalMeta {
    /// `xterm-256color`.
    pub term: String,
    /// Columns; 0 is unknown.
    pub cols: u32,
    /// Rows; 0 is unknown.
    pub rows: u32,
}

/// A bound of what may be recorded is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Which one.
    pub words: String,
    /// What whoever wants more can do.
    pub next: &'static str,
}

/// A recording that cannot be written, read or believed. These are faults of ours or of the disk, never of the user.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The disk said no.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The verb: `write`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier failure: nothing more is kept, so nothing more may be shown.
    #[error("the recording failed earlier, nothing more is kept")]
    Poisoned,
    /// Of a command no more than this may be kept.
    #[error("of a command no more than {0} bytes may be kept")]
    Enough(u64),
    /// The disk neither took nor refused what it was given, for as long as was waited.
    #[error("the disk does not answer")]
    Silent,
    /// As much is kept as may be.
    #[error("{}", .0.words)]
    Quota(Reached),
    /// A frame longer than [`frames::MAX_PAYLOAD`], or one that cannot be told in JSON.
    #[error("a frame of {0} bytes is too long to keep")]
    TooLong(usize),
    /// A file that is not what its name says.
    #[error("{}: {why}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What was done to a file has no form in JSON.
    #[error("what was done to a file cannot be told: {0}")]
    Act(String),
    /// The manifest could not be signed.
    #[error("cannot sign the manifest: {0}")]
    Sign(String),
}

impl RecordError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn bad(path: &Path, why: impl Into<String>) -> Self {
        Self::Bad { path: path.to_owned(), why: why.into() }
    }
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod sample {
    use super::*;

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    /// Signs with a key that a test knows.
    pub(super) struct TestSigner(Ed25519KeyPair);

    impl TestSigner {
        pub(super) fn new(seed: u8) -> Self {
            Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
        }
    }

    impl ManifestSigner for TestSigner {
        fn sign(&self, bytes: &[u8]) -> Result<String, RecordError> {
            Ok(STANDARD.encode(self.0.sign(bytes)))
        }

        fn public_key(&self) -> String {
            STANDARD.encode(self.0.public_key().as_ref())
        }
    }

    /// A session for tests.
    pub(super) fn meta() -> SessionMeta {
        SessionMeta {
            session: SessionId::parse("s-000001").unwrap(),
            right: Right::Grant {
                grant: GrantId::parse("g-7k2m9q").unwrap(),
                request: RequestId::parse("r-7k2m9q").unwrap(),
                user: User::parse("alice").unwrap(),
                rule: RuleId::parse("dba-phi").unwrap(),
            },
            host: HostName::parse("phi-db").unwrap(),
            login: Login::parse("postgres").unwrap(),
            started: Timestamp::from_micros(1_795_298_820_000_000),
        }
    }
}
