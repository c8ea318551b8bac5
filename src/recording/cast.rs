//! asciicast v2, both ways: the `asciicast` crate's header and entries inside our envelope.
//!
//! The crate has no resize, marker or private events, and its timestamp is written as a float, which `asciinema` 3.2 refuses; those are
//! ours. Every line written here opens in a stock `asciinema` 2.4 and 3.2 and in the web player.

use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use asciicast::{Entry, EventType, Header};
use serde::{Deserialize, Serialize};

use super::command::{CommandText, ExactCommand, cut};
use super::frames::MAX_TERM;
use super::{ChannelMeta, RecordError, Right, SessionMeta};
use crate::access::names::{HostName, Login, SessionId};

/// A screen is no larger than this in our files: a player allocates what the file says, and the client says what it likes.
pub const MAX_COLS: u32 = 2000;
/// The same for rows.
pub const MAX_ROWS: u32 = 1000;
/// What a channel without a terminal is shown as.
pub const PLAIN: (u32, u32) = (80, 24);
/// No line that we write is longer; a longer one is not ours.
pub const MAX_LINE: usize = 1 << 20;

/// A file's first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CastHeader {
    /// The crate's own fields: version, width, height, command, title, env. Its `timestamp` stays empty.
    #[serde(flatten)]
    pub base: Header,
    /// Seconds since the epoch, an integer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// Whose recording it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x_jit: Option<XJit>,
    /// Whatever else is there, kept.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// Our extension of the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct XJit {
    /// The session.
    pub session: SessionId,
    /// The channel's number in it.
    pub channel: u32,
    /// By what right: grant, request, user and rule; or the auditor.
    #[serde(flatten)]
    pub right: Right,
    /// Where.
    pub host: HostName,
    /// As which account.
    pub login: Login,
    /// `shell`, `exec`, `sftp`; a connection with where it went: `forward:5432`.
    pub kind: String,
    /// The command line of an exec, or its beginning: see [`CommandText`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Where `command` is not exactly the command's bytes: the events `c` at the file's beginning are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_exact: Option<ExactCommand>,
    /// How line ends are told. With `crlf` each LF of the output is shown as CR LF, so that players show lines and not stairs.
    pub newline: Newline,
}

/// How the line ends of the output are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Newline {
    /// As they were: a terminal's own.
    Raw,
    /// Each LF as CR LF; turning each CR LF back into LF restores the bytes.
    CrLf,
}

impl CastHeader {
    /// The header of one channel that began `at` microseconds after the session did. `command` is the channel's own, as it is told.
    pub fn new(session: &SessionMeta, number: u32, channel: &ChannelMeta, command: Option<&CommandText>, at: u64) -> Self {
        let (cols, rows) = channel.terminal.as_ref().map_or(PLAIN, |t| (t.cols, t.rows));
        let (width, height) = screen(cols, rows);
        let term = channel.terminal.as_ref().map(|t| [("TERM".to_owned(), cut(&t.term, MAX_TERM).to_owned())].into());
        let micros = session.started.micros().saturating_add(i64::try_from(at).unwrap_or(i64::MAX));
        let SessionMeta { session, right, host, login, .. } = session.clone();
        let (command, command_exact) = command.map_or((None, None), |c| (Some(c.text.clone()), c.exact.clone()));
        let newline = if channel.terminal.is_some() { Newline::Raw } else { Newline::CrLf };
        let kind = channel.kind.with(channel.target().as_deref());
        Self {
            base: Header {
                version: 2,
                width,
                height,
                timestamp: None,
                duration: None,
                idle_time_limit: None,
                command: command.clone(),
                title: Some(format!("{} as {login} on {host}, {session}.{number}", right.who())),
                env: term,
            },
            timestamp: Some(micros.div_euclid(1_000_000)),
            x_jit: Some(XJit { session, channel: number, right, host, login, kind, command, command_exact, newline }),
            rest: serde_json::Map::new(),
        }
    }

    /// Reads a first line, with or without its line end.
    pub fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        let header: Self = serde_json::from_slice(line)?;
        let base = &header.base;
        if base.version != 2 || base.width == 0 || base.height == 0 || base.width > 65535 || base.height > 65535 {
            return Err(serde::de::Error::custom("not the header of an asciicast v2 file"));
        }
        Ok(header)
    }

    /// Appends the first line.
    pub fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.push(b'\n');
        Ok(())
    }
}

/// A size that every player can allocate; 0 is unknown.
pub fn screen(cols: u32, rows: u32) -> (u32, u32) {
    let known = |n: u32, or: u32, max: u32| if n == 0 { or } else { n.min(max) };
    (known(cols, PLAIN.0, MAX_COLS), known(rows, PLAIN.1, MAX_ROWS))
}

/// A file's further lines.
#[derive(Debug, Clone, PartialEq)]
pub enum CastEvent {
    /// Output or input.
    Core(Entry),
    /// Everything else: `r` resize, `m` marker, and our private codes (see [`super::exact`]).
    Other {
        /// Seconds since the recording's beginning.
        time: f64,
        /// The event's letter.
        code: char,
        /// Its text.
        data: String,
    },
}

impl CastEvent {
    /// Seconds since the recording's beginning.
    pub fn time(&self) -> f64 {
        match self {
            Self::Core(entry) => entry.time,
            Self::Other { time, .. } => *time,
        }
    }

    /// The letter and the text.
    pub fn parts(&self) -> (char, &str) {
        match self {
            Self::Core(Entry { event_type: EventType::Output, event_data, .. }) => ('o', event_data),
            Self::Core(Entry { event_type: EventType::Input, event_data, .. }) => ('i', event_data),
            Self::Other { code, data, .. } => (*code, data),
        }
    }

    /// Reads a line, with or without its line end. Times are finite and not negative.
    pub fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        let (time, code, data): (f64, char, String) = serde_json::from_slice(line)?;
        if !time.is_finite() || time.is_sign_negative() {
            return Err(serde::de::Error::custom("a time before the recording's beginning"));
        }
        let core = |event_type, event_data| Self::Core(Entry { time, event_type, event_data });
        Ok(match code {
            'o' => core(EventType::Output, data),
            'i' => core(EventType::Input, data),
            _ => Self::Other { time, code, data },
        })
    }
}

/// Reads a file line by line, in bounded memory. Times never go backwards in what it yields.
#[derive(Debug)]
pub struct CastReader<R> {
    input: R,
    path: PathBuf,
    line: Vec<u8>,
    place: Place,
    header: CastHeader,
}

/// Where a reader stands in its file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    offset: u64,
    /// Lines that were read.
    number: u64,
    /// The time of the last of them.
    last: f64,
}

impl<R: BufRead> CastReader<R> {
    /// Reads the header. `path` is for errors only.
    pub fn new(mut input: R, path: &Path) -> Result<Self, RecordError> {
        let mut line = Vec::new();
        read_line(&mut input, &mut line, path, 1)?;
        let place = Place { offset: line.len() as u64, number: 1, last: 0.0 };
        let header = CastHeader::parse(&line).map_err(|e| RecordError::bad(path, format!("line 1: {e}")))?;
        Ok(Self { input, path: path.to_owned(), line, place, header })
    }

    /// The first line.
    pub fn header(&self) -> &CastHeader {
        &self.header
    }

    /// Where it stands: before the next event.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The next event's line, with its end; none at the end of the file.
    pub(super) fn line(&mut self) -> Result<Option<&[u8]>, RecordError> {
        if !read_line(&mut self.input, &mut self.line, &self.path, self.place.number + 1)? {
            return Ok(None);
        }
        self.place.number += 1;
        self.place.offset += self.line.len() as u64;
        Ok(Some(&self.line))
    }

    fn event(&mut self) -> Result<Option<CastEvent>, RecordError> {
        if self.line()?.is_none() {
            return Ok(None);
        }
        let wrong = |why: String| RecordError::bad(&self.path, format!("line {}: {why}", self.place.number));
        let event = CastEvent::parse(&self.line).map_err(|e| wrong(e.to_string()))?;
        if event.time() < self.place.last {
            return Err(wrong("its time is before the line above".into()));
        }
        self.place.last = event.time();
        Ok(Some(event))
    }
}

impl<R: BufRead + Seek> CastReader<R> {
    /// Goes back, or forward, to where it stood before.
    pub fn go(&mut self, place: Place) -> Result<(), RecordError> {
        self.input.seek(SeekFrom::Start(place.offset)).map_err(RecordError::io("read", &self.path))?;
        self.place = place;
        Ok(())
    }
}

impl<R: BufRead> Iterator for CastReader<R> {
    type Item = Result<CastEvent, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.event().transpose()
    }
}

/// False at the end of the file. A last line without its end is torn.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, path: &Path, number: u64) -> Result<bool, RecordError> {
    line.clear();
    input.take(MAX_LINE as u64).read_until(b'\n', line).map_err(RecordError::io("read", path))?;
    match line.last() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) => Err(RecordError::bad(path, format!("line {number} is torn or too long"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{ChannelKind, TerminalMeta, sample};

    fn channel(kind: ChannelKind, cols: u32, rows: u32) -> ChannelMeta {
        ChannelMeta { kind, command: None, terminal: Some(TerminalMeta { term: "xterm".into(), cols, rows }) }
    }

    #[test]
    fn the_header_is_one_that_players_read() {
        let mut out = Vec::new();
        let header = CastHeader::new(&sample::meta(), 2, &channel(ChannelKind::Shell, 132, 50), None, 1_700_000);
        header.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(r#"{"version":2,"width":132,"height":50,"#), "{text}");
        assert!(text.contains(r#""timestamp":1795298821,"#) && !text.contains("null"), "{text}");
        assert!(text.contains(r#""x_jit":{"session":"s-000001","channel":2,"#), "{text}");
        assert_eq!(text.matches("timestamp").count(), 1);
        assert_eq!(CastHeader::parse(text.trim_end().as_bytes()).unwrap(), header);
    }

    #[test]
    fn a_header_that_is_not_ours_keeps_its_keys() {
        let line = br##"{"version":2,"width":80,"height":24,"timestamp":1504467315,"theme":{"fg":"#fff"},"x_jit":null}"##;
        let header = CastHeader::parse(line).unwrap();
        assert_eq!(header.timestamp, Some(1_504_467_315));
        assert!(header.rest.contains_key("theme"));
        for bad in ["{}", r#"{"version":3,"width":80,"height":24}"#, r#"{"version":2,"width":0,"height":24}"#, "[]", ""] {
            assert!(CastHeader::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn nobody_allocates_what_a_client_claims() {
        let header = CastHeader::new(&sample::meta(), 1, &channel(ChannelKind::Shell, u32::MAX, 0), None, 0);
        assert_eq!((header.base.width, header.base.height), (MAX_COLS, 24));
    }

    #[test]
    fn a_torn_or_backward_line_is_named() {
        let head = "{\"version\":2,\"width\":80,\"height\":24}\n";
        for (body, wrong) in
            [("[1,\"o\",\"a", "line 2 is torn"), ("[2,\"o\",\"\"]\n[1,\"o\",\"\"]\n", "line 3: its time"), ("# x\n", "line 2:")]
        {
            let text = format!("{head}{body}");
            let reader = CastReader::new(text.as_bytes(), Path::new("x.cast")).unwrap();
            let error = reader.filter_map(Result::err).next().unwrap().to_string();
            assert!(error.starts_with("x.cast: ") && error.contains(wrong), "{error}");
        }
    }
}
