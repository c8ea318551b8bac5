//! A command line as a recording tells it: short enough for a header, with the way back to its exact bytes.
//!
//! A client may send any bytes as a command, and many of them. Header, manifest and audit show a text of bounded length; where that text
//! is not the whole truth, the file's first events (`c`, base64, in pieces) hold the exact bytes, and their length and digest stand beside
//! the text.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::lines;
use super::manifest::{hex, sha256};

/// No command line is kept that is longer: in base64 it fits into a journal's frame.
pub const MAX_COMMAND: usize = 512 * 1024;
/// A text is no longer than this, counted as JSON escapes it.
pub const MAX_TEXT: usize = 4 * 1024;
/// When a session has told [`MANY`] bytes of commands, each further one is cut to this: its manifest stays readable.
pub const SHORT_TEXT: usize = 512;
/// See [`SHORT_TEXT`].
pub const MANY: usize = 4 << 20;
/// The longest piece of a command in one event.
const PIECE: usize = 32 * 1024;
/// Room for the words that say what was cut.
const MARK: usize = 128;

/// A command line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandText {
    /// The command, or its beginning and what was cut. Bytes that are not UTF-8 are shown as U+FFFD.
    pub text: String,
    /// Of the exact bytes, where the text is not exactly them.
    pub exact: Option<ExactCommand>,
}

/// What the exact bytes of a command are recognised by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactCommand {
    /// How many they are.
    pub bytes: u64,
    /// Their digest, in lower-case hex.
    pub sha256: String,
}

impl ExactCommand {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: hex(&sha256(bytes)) }
    }
}

impl CommandText {
    /// The text of a command in at most `limit` bytes of JSON.
    pub fn of(command: &[u8], limit: usize) -> Self {
        // What fits whole is not cut to make room for the words that say so.
        if let (text, true) = beginning(command, limit) {
            let exact = (text.as_bytes() != command).then(|| ExactCommand::of(command));
            return Self { text, exact };
        }
        let (mut text, _) = beginning(command, limit.saturating_sub(MARK));
        let exact = ExactCommand::of(command);
        let _ = write!(text, " [shortened: {} bytes, sha256 {}]", exact.bytes, exact.sha256);
        Self { text, exact: Some(exact) }
    }

    /// Appends the events with the exact bytes, if the text is not exactly them.
    pub(super) fn write_exact(&self, command: &[u8], out: &mut Vec<u8>) {
        for piece in command.chunks(PIECE).filter(|_| self.exact.is_some()) {
            lines::exact(out, 0, 'c', piece);
        }
    }
}

/// As many characters as fit, and whether these are all.
fn beginning(bytes: &[u8], limit: usize) -> (String, bool) {
    let (mut text, mut used) = (String::new(), 0);
    for chunk in bytes.utf8_chunks() {
        let fault = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        for c in chunk.valid().chars().chain(fault) {
            used += match c {
                '"' | '\\' => 2,
                c if c < ' ' => 6,
                c => c.len_utf8(),
            };
            if used > limit {
                return (text, false);
            }
            text.push(c);
        }
    }
    (text, true)
}

/// The beginning of a text, at most `limit` bytes of it.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// A command in the journal's own JSON: bytes as base64.
pub(super) mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => to.serialize_some(&STANDARD.encode(bytes)),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| STANDARD.decode(text).map_err(|_| de::Error::custom("a command that is not base64"))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_text_is_itself() {
        assert_eq!(CommandText::of("ls \"ä\"\n".as_bytes(), MAX_TEXT), CommandText { text: "ls \"ä\"\n".into(), exact: None });
        let told = CommandText::of(b"ls \xff", MAX_TEXT);
        assert_eq!((told.text.as_str(), told.exact.unwrap().bytes), ("ls \u{fffd}", 4));
    }

    #[test]
    fn a_long_one_says_what_was_cut() {
        let command = [b"real #".as_slice(), &[1; 90_000]].concat();
        let told = CommandText::of(&command, MAX_TEXT);
        let exact = ExactCommand::of(&command);
        assert!(told.text.starts_with("real #\u{1}\u{1}"));
        assert!(told.text.ends_with(&format!(" [shortened: 90006 bytes, sha256 {}]", exact.sha256)), "{}", told.text);
        assert_eq!(told.exact, Some(exact));
        assert!(serde_json::to_string(&told.text).unwrap().len() <= MAX_TEXT + 2);
    }

    proptest! {
        #[test]
        fn no_text_is_longer_than_its_limit(command in prop::collection::vec(any::<u8>(), 0..3000), limit in 150usize..3000) {
            let told = CommandText::of(&command, limit);
            prop_assert!(serde_json::to_string(&told.text).unwrap().len() <= limit + 2);
            prop_assert_eq!(told.exact.is_none(), told.text.as_bytes() == command);
            let mut lines = Vec::new();
            told.write_exact(&command, &mut lines);
            prop_assert_eq!(lines.is_empty(), told.exact.is_none() || command.is_empty());
        }
    }
}
