//! What a look over the recordings' folder can find, each named by its path and its session.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::access::names::{SessionId, escaped};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where, relative to the recordings' root.
    pub path: PathBuf,
    /// Whose it is, where the path says so.
    pub session: Option<SessionId>,
    /// What is wrong.
    pub what: Wrong,
}

/// What is wrong with a file or a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// A file of the manifest, or a session's whole folder, is not there.
    Missing,
    /// A file is not as its manifest says, or a manifest not as the audit log says.
    Changed,
    /// The same, and its length shows it.
    Length {
        /// Bytes that it was sealed with.
        sealed: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A session's folder has no manifest, or a file still has the name that it is written under: its session goes on, or its bastion was
    /// killed and has not started again.
    Unsealed,
    /// Nothing of ours should lie there.
    Foreign,
    /// A name of ours, and no plain file or folder behind it: `a symbolic link`.
    NotPlain(&'static str),
    /// A manifest's form or signature is wrong, and how.
    BadSignature(String),
    /// A sealed session that the audit log does not know.
    Unlogged,
    /// It cannot be read, and why.
    Unreadable(String),
    /// So many more findings are not listed.
    More(u64),
}

impl Wrong {
    /// One word for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed | Self::Length { .. } => "changed",
            Self::Unsealed => "unsealed",
            Self::Foreign | Self::NotPlain(_) => "foreign",
            Self::BadSignature(_) => "bad-signature",
            Self::Unlogged => "unlogged",
            Self::Unreadable(_) => "unreadable",
            Self::More(_) => "more",
        }
    }
}

impl Finding {
    /// The path, safe to be shown.
    pub fn shown(&self) -> String {
        shown(&self.path)
    }
}

fn shown(path: &Path) -> String {
    escaped(&path.display().to_string())
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.shown();
        match &self.what {
            Wrong::Missing => write!(f, "{path}: missing"),
            Wrong::Changed => write!(f, "{path}: changed since it was sealed"),
            Wrong::Length { sealed, found } => write!(f, "{path}: changed since it was sealed: {found} bytes instead of {sealed}"),
            Wrong::Unsealed => write!(f, "{path}: not sealed"),
            Wrong::Foreign => write!(f, "{path}: does not belong here"),
            Wrong::NotPlain(what) => write!(f, "{path}: does not belong here: it is {what}"),
            Wrong::BadSignature(why) => write!(f, "{path}: not a manifest of ours: {}", escaped(why)),
            Wrong::Unlogged => write!(f, "{path}: sealed, but the audit log has no such session"),
            Wrong::Unreadable(why) => write!(f, "{path}: cannot be read: {}", escaped(why)),
            Wrong::More(more) => write!(f, "and {more} more findings"),
        }
    }
}
