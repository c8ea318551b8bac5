//! Reads a journal, from its head to the first frame that is not whole and right.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::frames::{self, Frame, MAGIC, MAX_PAYLOAD, Parsed, Seq};
use super::{RecordError, SessionMeta};

/// What the reader asks the file for at a time, at most.
const CHUNK: usize = 256 * 1024;
/// And how much it holds while the session is quiet.
const SMALL: usize = 8 * 1024;

/// Reads a journal in bounded pieces, also one that still grows.
#[derive(Debug)]
pub struct JournalReader {
    input: Input,
    path: PathBuf,
    meta: SessionMeta,
    next: u64,
    read: u64,
}

/// What comes next in a journal.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A frame and its number.
    Frame(Seq, Frame<'a>),
    /// Nothing more, or not a whole frame yet. How many bytes lie there that are not a whole frame.
    Dry(u64),
    /// What follows is not a frame, and why. Nothing after it can be read.
    Torn(&'static str),
}

impl JournalReader {
    /// Opens a journal and reads its head. An error if that is not whole and right.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let file = File::open(path).map_err(RecordError::io("open", path))?;
        let mut magic = [0; MAGIC.len()];
        let bad = |why: &str| RecordError::bad(path, why);
        (&file).read_exact(&mut magic).map_err(|_| bad("shorter than a journal's head"))?;
        if magic != *MAGIC {
            return Err(bad("not a journal of this version"));
        }
        let mut input = Input { file, buffer: vec![0; SMALL], start: 0, end: 0 };
        if !input.fill_frame().map_err(RecordError::io("read", path))? {
            return Err(bad("shorter than a journal's head"));
        }
        let (meta, used) = match frames::parse(input.filled()) {
            Parsed::Meta(json, used) => (serde_json::from_slice(json).map_err(|e| bad(&e.to_string()))?, used),
            Parsed::Wrong(why) => return Err(bad(why)),
            Parsed::Whole(..) | Parsed::Short => return Err(bad("it does not begin with its head")),
        };
        input.start += used;
        Ok(Self { path: path.to_owned(), meta, next: 1, read: (MAGIC.len() + used) as u64, input })
    }

    /// Whose journal this is.
    pub fn meta(&self) -> &SessionMeta {
        &self.meta
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is longer than what was read of it.
    pub(super) fn has_more(&self) -> bool {
        let read = self.read + (self.input.end - self.input.start) as u64;
        // Where it cannot be told, reading will tell.
        self.input.file.metadata().map_or(true, |m| m.len() > read)
    }

    /// Bytes of whole frames read so far, head included.
    pub fn position(&self) -> u64 {
        self.read
    }

    /// The next frame. After [`Next::Dry`] it can be asked again, when the file has grown.
    pub fn next_frame(&mut self) -> Result<Next<'_>, RecordError> {
        if !self.input.fill_frame().map_err(RecordError::io("read", &self.path))? {
            self.input.shrink();
            return Ok(Next::Dry((self.input.end - self.input.start) as u64));
        }
        let Input { buffer, start, end, .. } = &mut self.input;
        match frames::parse(buffer.get(*start..*end).unwrap_or_default()) {
            Parsed::Whole(seq, frame, used) if seq == self.next => {
                self.next += 1;
                *start += used;
                self.read += used as u64;
                Ok(Next::Frame(Seq(seq), frame))
            }
            Parsed::Whole(..) => Ok(Next::Torn("a frame's number is not the next one")),
            Parsed::Meta(..) => Ok(Next::Torn("a second head")),
            Parsed::Wrong(why) => Ok(Next::Torn(why)),
            Parsed::Short => Ok(Next::Dry((*end - *start) as u64)),
        }
    }
}

/// Whether a journal is so short that its session cannot have begun: its maker was killed before the head was whole.
pub(super) fn is_headless(path: &Path) -> io::Result<bool> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_PAYLOAD as u64).read_to_end(&mut bytes)?;
    let frame = bytes.get(MAGIC.len()..).unwrap_or_default();
    Ok(MAGIC.starts_with(&bytes) || (bytes.starts_with(MAGIC) && frame.len() < frames::need(frame)))
}

#[derive(Debug)]
struct Input {
    file: File,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn filled(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads until a whole frame is there. False: the file ends before that.
    fn fill_frame(&mut self) -> io::Result<bool> {
        loop {
            let need = frames::need(self.filled());
            if self.end - self.start >= need {
                return Ok(true);
            }
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.buffer.len() < need {
                self.buffer.resize(need, 0);
            }
            match self.file.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => return Ok(false),
                Ok(n) => self.end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            // There is much to read: read more at a time.
            if self.end == self.buffer.len() && self.end < CHUNK {
                self.buffer.resize(self.end * 2, 0);
            }
        }
    }

    /// Gives memory back while the session is quiet.
    fn shrink(&mut self) {
        if self.start == self.end && self.buffer.len() > SMALL {
            self.buffer = vec![0; SMALL];
            (self.start, self.end) = (0, 0);
        }
    }
}
