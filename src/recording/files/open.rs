//! What the account of an SFTP channel holds until it can tell: files that are open, and requests that wait for their answer. All of it is
//! the client's: paths are held as the bytes that they came in, and what is held has a weight that the channel adds up.

use super::hashed::Hashed;
use super::numbers::*;
use super::packets::Attributes;
use super::{Act, FileAct, PATH_AT_MOST, path_text};

/// A request that waits for its answer. Files are numbers that a channel uses once: a handle may be another file's by the time of an answer.
#[derive(Debug)]
pub(super) enum Asked {
    Open(Box<Opening>),
    Close(u64),
    Read {
        file: u64,
        offset: u64,
        length: u32,
    },
    Write(u64),
    /// The file is cut to what was written so far: after it, that is the whole.
    Cut(u64, Box<Waiting>),
    Done(Box<Waiting>),
    Other,
}

/// A file that is to be opened.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) path: Vec<u8>,
    /// As the client asked for them (section 6.3); none of a directory.
    pub(super) flags: Option<u32>,
}

/// What is told when the host has answered.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) act: Act,
    path: Vec<u8>,
    to: Option<Vec<u8>>,
    change: Option<String>,
}

/// A handle that the host gave.
#[derive(Debug)]
pub(super) struct Open {
    what: Opening,
    weight: usize,
    read: Hashed,
    written: Hashed,
    /// Behind what was written furthest.
    end: u64,
    /// It ends where the writing ended: opened empty, or cut to it.
    whole: bool,
    /// Something that is not known here may stand in what was written.
    torn: bool,
    /// The lowest offset at which a reading met the end.
    eof: Option<u64>,
    failed: Option<String>,
}

/// As much of a path as is told of it.
pub(super) fn held(path: &[u8]) -> Vec<u8> {
    path.get(..=PATH_AT_MOST).unwrap_or(path).to_vec()
}

impl Asked {
    /// Bytes that it holds.
    pub(super) fn weight(&self) -> usize {
        size_of::<(u32, Self)>()
            + match self {
                Self::Open(what) => size_of::<Opening>() + what.path.len(),
                Self::Cut(_, act) | Self::Done(act) => size_of::<Waiting>() + act.path.len() + act.to.as_ref().map_or(0, Vec::len),
                _ => 0,
            }
    }

    /// What is told when no answer has come.
    pub(super) fn unanswered(self) -> Option<FileAct> {
        let outcome = "not answered".to_owned();
        match self {
            Self::Open(what) => Some(what.refused(outcome)),
            Self::Cut(_, act) | Self::Done(act) => Some(act.told(outcome)),
            _ => None,
        }
    }
}

impl Opening {
    /// It can change what is there: written, made or emptied.
    pub(super) fn changes(&self) -> bool {
        self.flags.is_some_and(|flags| flags & (WRITE | CREATE | TRUNCATE) != 0)
    }

    /// Nothing is in it once it is open. To be there for the first time means nothing without being made: Linux opens what is there.
    fn empties(&self) -> bool {
        self.flags.is_some_and(|flags| flags & TRUNCATE != 0 || flags & (CREATE | EXCLUSIVE) == CREATE | EXCLUSIVE)
    }

    /// Where bytes are written the host says, not the client.
    fn appends(&self) -> bool {
        self.flags.is_some_and(|flags| flags & APPEND != 0)
    }

    fn act(&self) -> Act {
        if self.flags.is_some() { Act::Transfer } else { Act::List }
    }

    /// It did not come to be open.
    pub(super) fn refused(self, outcome: String) -> FileAct {
        Waiting::new(self.act(), self.path).told(outcome)
    }
}

impl Waiting {
    pub(super) fn new(act: Act, path: Vec<u8>) -> Self {
        Self { act, path, to: None, change: None }
    }

    pub(super) fn towards(self, to: Vec<u8>) -> Self {
        Self { to: Some(to), ..self }
    }

    pub(super) fn changed(self, to: Attributes) -> Self {
        Self { change: to.words(), ..self }
    }

    pub(super) fn told(self, outcome: String) -> FileAct {
        let to = self.to.map(|to| path_text(&to));
        FileAct { act: self.act, path: path_text(&self.path), place: None, to, read: None, written: None, change: self.change, outcome }
    }
}

impl Open {
    pub(super) fn new(what: Opening, handle: &[u8]) -> Self {
        let (weight, whole) = (what.path.len() + handle.len(), what.empties() && !what.appends());
        let (read, written) = (Hashed::default(), Hashed::default());
        Self { what, weight, read, written, end: 0, whole, torn: false, eof: None, failed: None }
    }

    pub(super) fn path(&self) -> &[u8] {
        &self.what.path
    }

    /// Bytes that it holds, without its ranges.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Ranges that it took from the room of its channel.
    pub(super) fn ranges(&self) -> usize {
        self.read.ranges() + self.written.ranges()
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8], room: &mut usize) {
        self.written.add_within(offset, data, room);
        if !data.is_empty() {
            self.end = self.end.max(offset.saturating_add(data.len() as u64));
        }
    }

    pub(super) fn read(&mut self, offset: u64, data: &[u8], room: &mut usize) {
        self.read.add_within(offset, data, room);
    }

    /// The host did not give what stands at `offset`.
    pub(super) fn unread(&mut self, offset: u64, code: u32) {
        match code {
            EOF => self.eof = Some(self.eof.map_or(offset, |eof| eof.min(offset))),
            code => self.fail(code),
        }
    }

    pub(super) fn fail(&mut self, code: u32) {
        self.failed = Some(outcome(code));
    }

    /// Something is copied into it on the host.
    pub(super) fn copied_into(&mut self) {
        self.torn = true;
    }

    /// It is to have a new size. Tells whether, once it has, it is what was written and nothing else.
    pub(super) fn sized(&mut self, size: u64) -> bool {
        self.torn |= size < self.end;
        self.whole &= size == self.end;
        size == self.end && !self.what.appends()
    }

    /// It was cut to what was written.
    pub(super) fn cut(&mut self) {
        self.whole = true;
    }

    /// The account of it. Opened so that it is empty, it was written, be it with nothing.
    pub(super) fn told(self, unless_failed: &str) -> FileAct {
        let end = (self.whole && !self.torn).then_some(self.end);
        let written = (self.what.empties() || !self.written.is_empty()).then(|| self.written.told(end));
        let read = (!self.read.is_empty() || self.eof == Some(0)).then(|| self.read.told(self.eof));
        FileAct { read, written, ..self.what.refused(self.failed.unwrap_or_else(|| unless_failed.to_owned())) }
    }
}
