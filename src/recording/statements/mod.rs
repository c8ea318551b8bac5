//! What was asked of a database over a forward, where it was asked in the clear. A look at bytes that go on whatever is seen in them:
//! nothing here can fail, wait or change anything, and what is not understood ends the look and says so.

mod mask;
pub mod postgres;

use std::borrow::Cow;

use super::frames::MAX_TOLD;
use crate::access::names::escaped;

pub use mask::masked;

/// What of a statement is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Telling {
    /// Its words; every literal and comment is a question mark.
    #[default]
    Masked,
    /// All of it.
    Whole,
}

impl Telling {
    /// A statement as a line for people. `whole` says that `text` is not cut.
    fn line(self, text: &[u8], whole: bool) -> String {
        let text = readable(text);
        let told = match self {
            Self::Masked => masked(&text),
            Self::Whole => text.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        let mut told = escaped(&told);
        let fits = told.len() <= LINE_AT_MOST;
        told.truncate(told.floor_char_boundary(LINE_AT_MOST));
        if !(whole && fits) {
            told.push_str(" [shortened]");
        }
        told
    }
}

/// Of a line; what stands before and behind it has room in a frame.
const LINE_AT_MOST: usize = MAX_TOLD - 64;

/// A statement in UTF-8; one in another encoding with the character of each byte's number, as Latin-1 has them. So different bytes stay different:
/// where a literal ends hangs on that.
fn readable(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) => text.into(),
        // Its last character is cut.
        Err(error) if error.error_len().is_none() => String::from_utf8_lossy(text),
        Err(_) => text.iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_encoding_are_told_masked() {
        for (text, whole, line) in [
            ("SELECT 'ä', ö".as_bytes(), true, "SELECT ?, ö"),
            (b"SELECT 'x', \xf6", true, "SELECT ?, ö"),
            (b"SELECT \xf6\xe4, $\xe4$John $\xf6$ Smith$\xe4$ FROM t", true, "SELECT öä, ? FROM t"),
            (b"SELECT 'x', \xc3\xa4, \xc3", false, "SELECT ?, ä, \u{fffd} [shortened]"),
        ] {
            assert_eq!(Telling::Masked.line(text, whole), line, "{text:?}");
        }
    }

    #[test]
    fn a_line_fits_its_frame_and_says_where_not() {
        let name = format!("SELECT \"{}\"", "\x01".repeat(8000));
        let line = Telling::Masked.line(name.as_bytes(), true);
        assert!(line.len() < MAX_TOLD && line.ends_with(" [shortened]"), "{}", line.len());
    }
}
