//! Where in a recording something happened that a viewer may want to jump to.

use std::io::{BufRead, Seek};

use super::cast::{CastEvent, CastHeader, CastReader};
use super::files::FileAct;
use super::manifest::{Manifest, ManifestChannel};
use super::screen::safe;
use super::{ChannelKind, RecordError};
use crate::access::mask::OVERLAP;

/// No more are remembered: a copy of a whole disk has a file every few milliseconds.
const MOST: usize = 10_000;
/// A label is no longer, in characters: so much more than is shown of it that a number is never cut before it is covered.
const LABEL: usize = 120 + OVERLAP;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerKind {
    /// The terminal has another size.
    Resize,
    /// Something was done to a file.
    File,
    /// A connection was opened or closed: a forward in either direction, or one to the client's agent.
    Forward,
    /// The bastion said something.
    Warning,
    /// A command ended, or the recording.
    End,
}

impl MarkerKind {
    /// `resize`, `file`, `forward`, `warning`, `end`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resize => "resize",
            Self::File => "file",
            Self::Forward => "forward",
            Self::Warning => "warning",
            Self::End => "end",
        }
    }
}

/// A moment to jump to.
#[derive(Debug, Clone, PartialEq)]
pub struct Marker {
    /// Seconds since the recording's beginning.
    pub at: f64,
    /// What happened.
    pub kind: MarkerKind,
    /// It in a few words, printable characters only.
    pub label: String,
}

/// What is known of a recording before it is played.
#[derive(Debug, Clone, PartialEq)]
pub struct Index {
    /// Seconds from its beginning to its last event.
    pub total: f64,
    /// In order; the last is the recording's end.
    pub markers: Vec<Marker>,
}

impl Index {
    /// Markers from elsewhere, where their time is one of this recording.
    pub fn join(&mut self, more: Vec<Marker>) {
        let inside = more.into_iter().filter(|marker| (0.0..=self.total).contains(&marker.at));
        let end = self.markers.len().saturating_sub(1);
        let room = MOST.saturating_sub(end);
        // The end stays the last.
        self.markers.splice(end..end, inside.take(room));
        self.markers.sort_by(|one, other| one.at.total_cmp(&other.at));
    }
}

/// When connections and file transfers of the same session began and were over, in the time of this channel's recording.
pub(super) fn beside(manifest: &Manifest, channel: &ManifestChannel) -> Vec<Marker> {
    let mut found = Vec::new();
    for other in manifest.channels.iter().filter(|other| other.number != channel.number) {
        let kind = match other.kind {
            ChannelKind::Sftp => MarkerKind::File,
            kind if kind.is_connection() => MarkerKind::Forward,
            _ => continue,
        };
        let name = format!("{}.{}", manifest.session.session, other.number);
        let what = other.kind.with(other.target.as_deref());
        let (up, down) = (other.up.unwrap_or_default(), other.down.unwrap_or_default());
        let mut tell = |at: u64, text: String| found.push(Marker { at: since(channel.began_us, at), kind, label: label(&text) });
        tell(other.began_us, format!("{what} opened ({name})"));
        tell(other.began_us.saturating_add(other.duration_us), format!("{what} closed: {up} bytes up, {down} bytes down ({name})"));
    }
    found
}

/// Seconds from one microsecond to another, which may be before.
fn since(begin: u64, at: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact for 285 years of microseconds")]
    let seconds = |micros: u64| micros as f64 / 1e6;
    if at >= begin { seconds(at - begin) } else { -seconds(begin - at) }
}

/// The bastion's own lines in the recording of a connection: the first says where it goes, the last how it ended.
struct Connection {
    /// `forward: `, with which the line of its counts begins.
    counts: String,
    begun: bool,
    /// The next output is a line of the bastion's own.
    own: bool,
    ended: Option<String>,
}

impl Connection {
    /// None for a recording of anything else.
    fn of(header: &CastHeader) -> Option<Self> {
        let kind = header.x_jit.as_ref()?.kind.split(':').next()?;
        let known = [ChannelKind::Forward, ChannelKind::Reverse, ChannelKind::Agent].into_iter().any(|known| known.as_str() == kind);
        known.then(|| Self { counts: format!("{kind}: "), begun: false, own: false, ended: None })
    }

    /// Whether a line with this letter is to be looked at closely.
    fn wants(&mut self, code: u8) -> bool {
        let own = std::mem::replace(&mut self.own, code == b'j');
        own && code == b'o'
    }

    fn marker(&mut self, event: &CastEvent) -> Option<Marker> {
        let text = event.parts().1.trim_end();
        let told = match text {
            _ if !std::mem::replace(&mut self.begun, true) => text.to_owned(),
            _ if text.starts_with("ended by ") || text.starts_with("cut: ") || text.starts_with("not connected: ") => {
                self.ended = Some(text.to_owned());
                return None;
            }
            _ if text.starts_with(&self.counts) => self.ended.take().map_or_else(|| text.to_owned(), |ended| format!("{ended}; {text}")),
            _ => return None,
        };
        Some(Marker { at: event.time(), kind: MarkerKind::Forward, label: label(&told) })
    }
}

/// Reads the whole file once, and goes back to where the reader stood. Only lines that can be markers are looked at closely.
pub fn index<R: BufRead + Seek>(reader: &mut CastReader<R>) -> Result<Index, RecordError> {
    let (begin, mut markers, mut total) = (reader.place(), Vec::new(), 0.0);
    let mut connection = Connection::of(reader.header());
    while let Some(line) = reader.line()? {
        // What does not parse is told when it is played.
        let Some((time, code)) = beginning(line) else { continue };
        total = f64::max(total, time);
        let own = connection.as_mut().is_some_and(|connection| connection.wants(code));
        if (own || matches!(code, b'r' | b'm' | b'f'))
            && markers.len() < MOST
            && let Ok(event) = CastEvent::parse(line)
        {
            let told = connection.as_mut().filter(|_| own);
            markers.extend(told.map_or_else(|| Some(marker(&event)), |connection| connection.marker(&event)));
        }
    }
    reader.go(begin)?;
    markers.push(Marker { at: total, kind: MarkerKind::End, label: "the end".into() });
    Ok(Index { total, markers })
}

/// Time and letter of a line, without reading its text.
fn beginning(line: &[u8]) -> Option<(f64, u8)> {
    let line = line.strip_prefix(b"[")?;
    let comma = line.iter().take(40).position(|b| *b == b',')?;
    let (time, rest) = line.split_at(comma);
    let time = std::str::from_utf8(time).ok()?.trim().parse::<f64>().ok()?;
    let quote = rest.iter().take(8).position(|b| *b == b'"')?;
    rest.get(quote + 1).map(|code| (time, *code)).filter(|(time, _)| time.is_finite())
}

fn marker(event: &CastEvent) -> Marker {
    let (code, text) = event.parts();
    let (kind, text) = match code {
        'r' => (MarkerKind::Resize, text.to_owned()),
        'f' => (MarkerKind::File, serde_json::from_str::<FileAct>(text).map_or_else(|_| "a file".to_owned(), |act| act.line())),
        _ if text.starts_with("forward") => (MarkerKind::Forward, text.to_owned()),
        _ if text.starts_with("exit status ") || text.starts_with("ended by signal ") => (MarkerKind::End, text.to_owned()),
        _ => (MarkerKind::Warning, text.to_owned()),
    };
    Marker { at: event.time(), kind, label: label(&text) }
}

fn label(text: &str) -> String {
    text.chars().take(LABEL).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use super::*;
    use crate::recording::{ChannelMeta, sample};

    #[test]
    fn what_can_be_jumped_to_is_found_and_the_reader_stands_where_it_stood() {
        let text = "{\"version\":2,\"width\":80,\"height\":24}\n[0.5,\"o\",\"[9,\\\"m\\\",\"]\n[1,\"r\",\"132x43\"]\n[2.5, \"m\", \"your time\\u001b is up\"]\n[3,\"i\",\"x\"]\n[4,\"m\",\"forward to 5432\"]\n[7.25,\"e\",\"\"]\n";
        let mut reader = CastReader::new(Cursor::new(text), Path::new("x")).unwrap();
        let found = index(&mut reader).unwrap();
        let want = [
            (1.0, "resize", "132x43"),
            (2.5, "warning", "your time\u{fffd} is up"),
            (4.0, "forward", "forward to 5432"),
            (7.25, "end", "the end"),
        ];
        assert_eq!((told(&found.markers).as_slice(), found.total), (want.as_slice(), 7.25));
        assert_eq!(reader.next().unwrap().unwrap().time(), 0.5);
    }

    fn told(markers: &[Marker]) -> Vec<(f64, &str, &str)> {
        markers.iter().map(|m| (m.at, m.kind.as_str(), m.label.as_str())).collect()
    }

    #[test]
    fn a_connection_has_one_where_it_opened_and_one_where_it_ended() {
        let meta = ChannelMeta { kind: ChannelKind::Forward, command: Some(b"5432".to_vec()), terminal: None };
        let mut text = Vec::new();
        CastHeader::new(&sample::meta(), 3, &meta, None, 0).write(&mut text).unwrap();
        for (at, line) in [
            (0, "forward to localhost:5432, from a"),
            (1, "connected"),
            (2, "statement: forward: SELECT ?"),
            (9, "ended by the host's side"),
            (9, "forward: 4 bytes up, 5 bytes down in 9.0 s"),
        ] {
            text.extend(format!("[{at},\"j\",\"\"]\n[{at},\"o\",\"{line}\\r\\n\"]\n").bytes());
            // Content that a rule keeps is no word of ours.
            text.extend(format!("[{at},\"o\",\"forward: 1 bytes up\"]\n").bytes());
        }
        let found = index(&mut CastReader::new(Cursor::new(text), Path::new("x")).unwrap()).unwrap();
        let want = [
            (0.0, "forward", "forward to localhost:5432, from a"),
            (9.0, "forward", "ended by the host's side; forward: 4 bytes up, 5 bytes down in 9.0 s"),
            (9.0, "end", "the end"),
        ];
        assert_eq!(told(&found.markers), want);
    }

    #[test]
    fn what_opened_and_closed_beside_it_is_known_from_the_manifest() {
        let channel = |number: u32, kind: ChannelKind, began_us: u64, duration_us: u64| ManifestChannel {
            number,
            kind,
            target: kind.is_connection().then(|| "54\u{1b}32".to_owned()),
            file: String::new(),
            sha256: String::new(),
            bytes: 0,
            began_us,
            duration_us,
            command: None,
            command_exact: None,
            up: Some(7),
            down: None,
            files: None,
        };
        let shell = channel(2, ChannelKind::Shell, 1_000_000, 9_000_000);
        let manifest = Manifest {
            format: String::new(),
            session: sample::meta(),
            ending: String::new(),
            duration_us: 0,
            channels: vec![
                channel(1, ChannelKind::Sftp, 500_000, 2_500_000),
                shell.clone(),
                channel(3, ChannelKind::Forward, 4_000_000, 90_000_000),
                channel(4, ChannelKind::Exec, 5_000_000, 1),
            ],
            key: String::new(),
            signature: String::new(),
        };
        let end = Marker { at: 9.0, kind: MarkerKind::End, label: "the end".into() };
        let resize = Marker { at: 2.5, kind: MarkerKind::Resize, label: "90x25".into() };
        let mut index = Index { total: 9.0, markers: vec![resize, end] };
        index.join(beside(&manifest, &shell));
        let want = [
            (2.0, "file", "sftp closed: 7 bytes up, 0 bytes down (s-000001.1)"),
            (2.5, "resize", "90x25"),
            (3.0, "forward", "forward:54\u{fffd}32 opened (s-000001.3)"),
            (9.0, "end", "the end"),
        ];
        assert_eq!(told(&index.markers), want);
        let many = (0..MOST + 5).map(|_| Marker { at: 1.0, kind: MarkerKind::File, label: String::new() }).collect();
        index.join(many);
        assert_eq!((index.markers.len(), index.markers.last().unwrap().kind), (MOST + 1, MarkerKind::End));
    }
}
