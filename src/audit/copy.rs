//! A copy of a log as a file that leaves the machine: each entry on a line of its own, verbatim, and after them signed heads as C2SP
//! notes, one after another. Several files make one log: entries in one, heads in another.

use std::io::{self, BufRead, Read as _};

use serde::Deserialize;

use super::entry;
use super::verify::{Head, Row};

/// No copy has more bytes of heads: one each minute for ten years.
pub const MOST_HEADS: usize = 1 << 30;

/// One piece of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// An entry's bytes.
    Entry(Vec<u8>),
    /// A line of something else, with its end: of a head, as it should be.
    Line(Vec<u8>),
}

/// Reads a copy piece by piece.
#[derive(Debug)]
pub struct CopyReader<R>(R);

impl<R: BufRead> CopyReader<R> {
    /// Of an open file.
    pub fn new(input: R) -> Self {
        Self(input)
    }

    /// The next piece; none at the end. A line that is longer than any entry is an error: it is no copy of a log.
    pub fn piece(&mut self) -> io::Result<Option<Piece>> {
        let most = entry::LONGEST + 1;
        let mut line = Vec::new();
        (&mut self.0).take(most as u64 + 1).read_until(b'\n', &mut line)?;
        if line.len() > most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line that is longer than any entry of a log"));
        }
        Ok(match line.first() {
            None => None,
            Some(b'{') => {
                line.truncate(line.len() - usize::from(line.ends_with(b"\n")));
                Some(Piece::Entry(line))
            }
            Some(_) => Some(Piece::Line(line)),
        })
    }
}

/// An entry as a row of the log. Its place is what it says about itself, else `expected`: the bytes decide, and a signed head over them.
pub fn row(bytes: Vec<u8>, expected: u64) -> Row {
    #[derive(Deserialize)]
    struct Place {
        seq: u64,
    }
    let seq = serde_json::from_slice(&bytes).map_or(expected, |Place { seq }| seq);
    Row { seq, bytes, leaf: None }
}

/// What stands in `bytes` after the last whole note, but for blanks: in a copy that somebody kept it should be nothing.
pub fn rest(bytes: &[u8]) -> &[u8] {
    bytes.get(whole(bytes)..).unwrap_or_default().trim_ascii()
}

/// Every whole note in `bytes`; a torn tail is passed over. `source` names where they come from.
pub fn heads(bytes: &[u8], source: &str) -> Vec<Head> {
    let whole = bytes.get(..whole(bytes)).unwrap_or_default();
    let text = String::from_utf8_lossy(whole);
    let paragraphs: Vec<&str> = text.split("\n\n").filter(|p| !p.is_empty()).collect();
    let note = |pair: &[&str]| Head { source: source.to_owned(), note: format!("{}\n", pair.join("\n\n")) };
    paragraphs.chunks(2).map(note).collect()
}

/// How many of `bytes` are whole notes: up to the empty line after the last line of signatures.
pub fn whole(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    while let Some(at) = bytes.get(..end).and_then(|b| b.windows(2).rposition(|pair| pair == b"\n\n")) {
        let last_line = bytes.get(..at).and_then(|b| b.rsplit(|byte| *byte == b'\n').next()).unwrap_or_default();
        if last_line.starts_with("\u{2014} ".as_bytes()) {
            return at + 2;
        }
        end = at + 1;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_heads_come_back() {
        let head = "node\n2\nroot\n\n\u{2014} node c2ln\n\n";
        let copy = format!("{{\"seq\":0}}\n{{\"seq\":1}}\n{head}{head}");
        let (mut reader, mut entries, mut rest) = (CopyReader::new(copy.as_bytes()), Vec::new(), Vec::new());
        while let Some(piece) = reader.piece().unwrap() {
            match piece {
                Piece::Entry(bytes) => entries.push(row(bytes, 7).seq),
                Piece::Line(line) => rest.extend(line),
            }
        }
        assert_eq!((entries, heads(&rest, "x").len()), (vec![0, 1], 2));
        assert_eq!(heads(&rest, "x")[1].note, "node\n2\nroot\n\n\u{2014} node c2ln\n");
        assert_eq!(row(b"{torn".to_vec(), 7).seq, 7);
        assert_eq!(
            (super::rest(format!("{head}{head} \n").as_bytes()), super::rest(format!("{head}node\n").as_bytes())),
            (&b""[..], &b"node"[..])
        );
        let carriage = head.replace('\n', "\r\n");
        assert_eq!(super::rest(carriage.as_bytes()), carriage.trim_ascii().as_bytes());
    }

    #[test]
    fn a_line_without_an_end_is_not_read_into_memory() {
        let endless = io::BufReader::new(io::repeat(b'{'));
        assert!(CopyReader::new(endless).piece().is_err());
    }
}
