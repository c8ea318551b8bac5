//! Which channel a byte belongs to, and what is kept of each kind: a terminal's output, a command's input and output, the counts
//! of a file transfer.

use crate::recording::files::FileAct;
use crate::recording::{Digested, RecordError};

/// What the relay hands to the journal, in the order in which it crossed the bastion. Channels are numbered from 1 within a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept<'a> {
    /// A channel has got its purpose.
    Began(Beginning<'a>),
    /// Bytes towards the user: standard output.
    Out(u32, &'a [u8]),
    /// Bytes towards the user: standard error.
    Err(u32, &'a [u8]),
    /// Bytes towards the host.
    In(u32, &'a [u8]),
    /// The user's terminal has a new size.
    Resized { channel: u32, columns: u32, rows: u32 },
    /// What an SFTP channel or a connection whose bytes are not kept has carried so far, towards the host and towards the user.
    Carried { channel: u32, up: u64, down: u64 },
    /// A connection is to be made: to or at `target`, as a grant names it.
    Joined { channel: u32, way: Way, target: Option<&'a str> },
    /// What became of it, in a line for people.
    Told(u32, &'a str),
    /// Of a command that is not kept to its end: the digest of a stream so far.
    Digested(u32, Digested),
    /// Something was done to a file in an SFTP channel.
    File { channel: u32, act: &'a FileAct },
    /// The host told how it ended: exit status, or the name of a signal.
    Exit { channel: u32, status: Option<u32>, signal: Option<&'a str> },
    /// The bastion's own words in this channel, or a fact that it passed on.
    Said(u32, &'a str),
    /// The channel is closed by both sides.
    Ended(u32),
}

/// How a channel began to be of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beginning<'a> {
    pub(crate) channel: u32,
    pub(crate) purpose: Purpose,
    /// The command line of `exec`, the name of a subsystem.
    pub(crate) command: Option<&'a [u8]>,
    pub(crate) terminal: Option<&'a Terminal>,
}

/// A terminal as the client asked for it: its type, columns and rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminal {
    pub(crate) term: String,
    pub(crate) columns: u32,
    pub(crate) rows: u32,
}

/// What a channel is for; decides what is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Shell,
    Exec,
    Sftp,
}

/// Which way a connection goes, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client's side to somewhere that the host reaches.
    Forward,
    /// From a listener on the host to the client's side.
    Reverse,
    /// From the host to the client's agent.
    Agent,
}

impl Way {
    /// `forward`, `reverse`, `agent`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
            Self::Agent => "agent",
        }
    }
}

/// Where evidence goes. What was not kept is not shown.
pub(crate) trait Keep {
    /// Takes it. It is not kept yet.
    fn keep(&mut self, what: Kept<'_>) -> Result<(), RecordError>;
}

/// Where it is known when what was taken is kept.
pub(crate) trait Lands: Keep {
    /// How many things were taken so far.
    fn taken(&self) -> u64;

    /// Sends what was taken on its way, whether what comes back is waited for or not: that resolves when it is kept, or when it is known
    /// that it is not.
    fn commit(&mut self) -> impl Future<Output = Result<(), RecordError>> + use<Self>;
}
