//! Where in a recording something happened that a viewer may want to jump to.

use std::io::{BufRead, Seek};

use super::RecordError;
use super::cast::{CastEvent, CastReader};
use super::files::FileAct;
use super::screen::safe;
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
    /// A connection was forwarded.
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

/// Reads the whole file once, and goes back to where the reader stood. Only lines that can be markers are looked at closely.
pub fn index<R: BufRead + Seek>(reader: &mut CastReader<R>) -> Result<Index, RecordError> {
    let (begin, mut markers, mut total) = (reader.place(), Vec::new(), 0.0);
    while let Some(line) = reader.line()? {
        // What does not parse is told when it is played.
        let Some((time, code)) = beginning(line) else { continue };
        total = f64::max(total, time);
        if matches!(code, b'r' | b'm' | b'f')
            && markers.len() < MOST
            && let Ok(event) = CastEvent::parse(line)
        {
            markers.push(marker(&event));
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
    Marker { at: event.time(), kind, label: text.chars().take(LABEL).map(safe).collect() }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_can_be_jumped_to_is_found_and_the_reader_stands_where_it_stood() {
        let text = "{\"version\":2,\"width\":80,\"height\":24}\n[0.5,\"o\",\"[9,\\\"m\\\",\"]\n[1,\"r\",\"132x43\"]\n[2.5, \"m\", \"your time\\u001b is up\"]\n[3,\"i\",\"x\"]\n[4,\"m\",\"forward to 5432\"]\n[7.25,\"e\",\"\"]\n";
        let mut reader = CastReader::new(Cursor::new(text), Path::new("x")).unwrap();
        let found = index(&mut reader).unwrap();
        let told: Vec<_> = found.markers.iter().map(|m| (m.at, m.kind.as_str(), m.label.as_str())).collect();
        let want = [
            (1.0, "resize", "132x43"),
            (2.5, "warning", "your time\u{fffd} is up"),
            (4.0, "forward", "forward to 5432"),
            (7.25, "end", "the end"),
        ];
        assert_eq!((told.as_slice(), found.total), (want.as_slice(), 7.25));
        assert_eq!(reader.next().unwrap().unwrap().time(), 0.5);
    }
}
