//! File transfers as an account: which file, which way, how much, with what digest. The bytes are looked at on the way and never changed.

mod command;
pub mod hashed;
mod numbers;
mod open;
mod packets;
pub mod scp;
pub mod sftp;

use serde::{Deserialize, Serialize};

use crate::access::names::escaped;

pub use hashed::{Hashed, Range};

/// Something that was done to a file, complete: told when its outcome is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileAct {
    /// What was done.
    pub act: Act,
    /// The path as the client wrote it, with bytes that are no text escaped.
    pub path: String,
    /// Of scp, where it cannot be known where on the host the path is: the place that the command named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The other path: of a rename the new name, of a link what it points to, of a copy where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What was read of it, towards the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Moved>,
    /// What was written to it, from the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Moved>,
    /// New mode, owner, size or times, as words; of a file that scp moved those that its sender told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// `ok`, or the host's word for why not.
    pub outcome: String,
}

/// What was done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Opened, read or written, closed.
    Transfer,
    /// A directory's names were read.
    List,
    /// Got another name.
    Rename,
    /// Removed.
    Remove,
    /// A directory was made.
    MakeDirectory,
    /// A directory was removed.
    RemoveDirectory,
    /// A symbolic link was made.
    SymbolicLink,
    /// A hard link was made.
    HardLink,
    /// Mode, owner, size or times were set.
    SetAttributes,
    /// Copied on the host itself.
    Copy,
    /// An extension of the protocol that has no word here.
    Extension,
}

/// The files that were moved, added up. A file that was opened twice counts twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Total {
    /// Files of which bytes went one way or both.
    pub moved: u64,
    /// Bytes that were read of them, towards the client.
    pub read: u64,
    /// Bytes that were written to them, from the client.
    pub written: u64,
}

impl Total {
    /// One act more; only those count that moved bytes.
    pub fn count(&mut self, act: &FileAct) {
        self.moved += u64::from(act.read.is_some() || act.written.is_some());
        self.read += act.read.as_ref().map_or(0, |moved| moved.bytes);
        self.written += act.written.as_ref().map_or(0, |moved| moved.bytes);
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { moved: self.moved + other.moved, read: self.read + other.read, written: self.written + other.written }
    }

    /// `3 files: 412 bytes read, 0 bytes written`.
    pub fn words(self) -> String {
        let files = if self.moved == 1 { "file" } else { "files" };
        format!("{} {files}: {} bytes read, {} bytes written", self.moved, self.read, self.written)
    }
}

/// Bytes that went one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Moved {
    /// How many, ranges that went twice counted twice.
    pub bytes: u64,
    /// SHA-256 of the whole file, when it went in sequence from its first byte to its last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Else each range that went in sequence, with its SHA-256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
    /// Bytes beyond the ranges that could be told apart: counted, not hashed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unhashed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A channel that moves files, whichever protocol it speaks.
#[derive(Debug)]
pub enum Account {
    /// SFTP.
    Sftp(Box<sftp::Sftp>),
    /// A command that is one end of scp.
    Scp(Box<scp::Scp>),
}

impl Account {
    /// Bytes from the client.
    pub fn client(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        match self {
            Self::Sftp(sftp) => sftp.client(bytes),
            Self::Scp(scp) => scp.client(bytes),
        }
    }

    /// Bytes from the host's standard output.
    pub fn host(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        match self {
            Self::Sftp(sftp) => sftp.host(bytes),
            Self::Scp(scp) => scp.host(bytes),
        }
    }

    /// What was told since the last call.
    pub fn told(&mut self) -> Vec<FileAct> {
        match self {
            Self::Sftp(sftp) => sftp.told(),
            Self::Scp(scp) => scp.told(),
        }
    }

    /// The channel is over: what is still open or unanswered.
    pub fn finish(self) -> Vec<FileAct> {
        match self {
            Self::Sftp(sftp) => sftp.finish().0,
            Self::Scp(scp) => scp.finish().0,
        }
    }
}

/// The client, or the host, did not keep to the protocol; or did what the grant does not give. The transfer ends there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} broke the file protocol: {what}")]
pub struct Violation {
    /// `the client` or `the host`.
    pub who: &'static str,
    /// How.
    pub what: String,
}

/// A path for people and for JSON: text as it is, every other byte as `\xNN`, a backslash doubled. Exact, and can be read back, up to the
/// longest that a host can mean; what is longer ends in `\..`.
pub fn path_text(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (bytes, cut) = bytes.split_at_checked(PATH_AT_MOST).map_or((bytes, false), |(head, rest)| (head, !rest.is_empty()));
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if escaped(c.encode_utf8(&mut [0; 4])).chars().ne([c]) => {
                    c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| out.push_str(&format!("\\x{b:02x}")))
                }
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
    }
    if cut {
        out.push_str("\\..");
    }
    out
}

/// Linux's PATH_MAX: no host opens a longer one.
const PATH_AT_MOST: usize = 4096;

impl Act {
    /// The word in a line: `rename`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Transfer => "open",
            Self::List => "list",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::MakeDirectory => "mkdir",
            Self::RemoveDirectory => "rmdir",
            Self::SymbolicLink => "symlink",
            Self::HardLink => "link",
            Self::SetAttributes => "set",
            Self::Copy => "copy",
            Self::Extension => "extension",
        }
    }
}

impl FileAct {
    /// Each direction in which bytes went, as `read` or `write`; of an act without bytes its word alone.
    pub fn parts(&self) -> Vec<(&'static str, Option<&Moved>)> {
        let moves: Vec<_> = [("read", &self.read), ("write", &self.written)].into_iter().filter(|(_, moved)| moved.is_some()).collect();
        match moves.as_slice() {
            [] => vec![(self.act.word(), None)],
            some => some.iter().map(|(word, moved)| (*word, moved.as_ref())).collect(),
        }
    }

    /// One readable line: `read /etc/hosts 412 bytes sha256:..`.
    pub fn line(&self) -> String {
        let word = self.act.word();
        let moved = |word: &str, moved: &Option<Moved>| moved.as_ref().map(|moved| format!("{word} {} {}", self.path, moved.words()));
        let moves: Vec<String> = [moved("read", &self.read), moved("write", &self.written)].into_iter().flatten().collect();
        let mut line = if moves.is_empty() { format!("{word} {}", self.path) } else { moves.join("; ") };
        if let Some(to) = &self.to {
            line.push_str(&format!(" -> {to}"));
        }
        if let Some(change) = &self.change {
            line.push_str(&format!(" {change}"));
        }
        if let Some(place) = &self.place {
            line.push_str(&format!(", below {place}"));
        }
        if self.outcome != "ok" {
            line.push_str(&format!(" ({})", self.outcome));
        }
        line
    }
}

impl Moved {
    fn words(&self) -> String {
        match (&self.sha256, self.ranges.len()) {
            (Some(sha256), _) => format!("{} bytes sha256:{sha256}", self.bytes),
            (None, 0) => format!("{} bytes", self.bytes),
            (None, n) => format!("{} bytes in {n} ranges", self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact_and_harmless() {
        assert_eq!(path_text("/tmp/ä b".as_bytes()), "/tmp/ä b");
        assert_eq!(path_text(b"a\\b\x1b[2J\xff\n"), "a\\\\b\\x1b[2J\\xff\\x0a");
        assert_eq!(path_text("exe\u{202e}gpj".as_bytes()), "exe\\xe2\\x80\\xaegpj");
        assert!(path_text(&[b'a'; 5000]).ends_with("aa\\..") && path_text(&[b'a'; 4096]).ends_with("aaa"));
    }
}
