//! What a terminal sends when keys are pressed, as keys of a player.

use crate::recording::Key;

/// An escape sequence is no longer; what goes on for longer is none.
const LONGEST: usize = 16;
/// The bottom line of the arrow keys: so many seconds.
const STEP: f64 = 5.0;
/// And of the others.
const STRIDE: f64 = 60.0;

/// What was pressed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pressed {
    /// A key of the player.
    Key(Key),
    /// `q`, Ctrl-C, Ctrl-D: enough.
    Quit,
}

/// Puts keys together that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// An escape sequence that has begun.
    begun: Vec<u8>,
}

impl Keys {
    /// The keys that these bytes complete; unknown ones are none.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Pressed> {
        bytes.iter().filter_map(|byte| self.one(*byte)).collect()
    }

    fn one(&mut self, byte: u8) -> Option<Pressed> {
        if byte == 0x1b {
            self.begun = vec![byte];
            return None;
        }
        if self.begun.is_empty() {
            return plain(byte);
        }
        self.begun.push(byte);
        match self.begun.as_slice() {
            [_, b'[' | b'O'] => None,
            // Alt and a key: the key alone would do something else.
            [_, _] => {
                self.begun.clear();
                None
            }
            [_, _, .., 0x40..=0x7e] => {
                let sequence = std::mem::take(&mut self.begun);
                arrow(sequence.get(2..).unwrap_or_default()).map(Pressed::Key)
            }
            long if long.len() > LONGEST => {
                self.begun.clear();
                None
            }
            _ => None,
        }
    }
}

fn plain(byte: u8) -> Option<Pressed> {
    let key = match byte {
        b'q' | b'Q' | 3 | 4 => return Some(Pressed::Quit),
        b' ' | b'p' => Key::Pause,
        b'.' => Key::Step,
        b'+' | b'>' => Key::Faster,
        b'-' | b'<' | b'_' => Key::Slower,
        b'=' => Key::Normal,
        b'0'..=b'9' => Key::Tenth(byte - b'0'),
        b'g' => Key::Tenth(0),
        b'G' => Key::End,
        b']' | b'n' => Key::Next,
        b'[' | b'N' => Key::Previous,
        b'h' => Key::Pan(0, -PAN),
        b'l' => Key::Pan(0, PAN),
        b'j' => Key::Pan(PAN / 2, 0),
        b'k' => Key::Pan(-PAN / 2, 0),
        b'c' => Key::Follow,
        b'?' => Key::Help,
        _ => return None,
    };
    Some(Pressed::Key(key))
}

fn arrow(rest: &[u8]) -> Option<Key> {
    Some(match rest {
        b"C" => Key::Skip(STEP),
        b"D" => Key::Skip(-STEP),
        b"A" | b"5~" => Key::Skip(STRIDE),
        b"B" | b"6~" => Key::Skip(-STRIDE),
        b"H" | b"1~" | b"7~" => Key::Tenth(0),
        b"F" | b"4~" | b"8~" => Key::End,
        _ => return None,
    })
}

/// Columns that a picture is moved by; rows by half as many.
const PAN: isize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_pieces_too() {
        let mut keys = Keys::default();
        let mut read = |bytes: &[u8]| keys.read(bytes);
        assert_eq!(read(b" .q"), [Pressed::Key(Key::Pause), Pressed::Key(Key::Step), Pressed::Quit]);
        assert_eq!(read(b"\x1b[C\x1bOD"), [Pressed::Key(Key::Skip(5.0)), Pressed::Key(Key::Skip(-5.0))]);
        assert_eq!(read(b"\x1b"), []);
        assert_eq!(read(b"["), []);
        assert_eq!(read(b"5~3"), [Pressed::Key(Key::Skip(60.0)), Pressed::Key(Key::Tenth(3))]);
        // A pasted answer to a question that nobody asked is no key.
        assert_eq!(read(b"\x1b[?62;c\x1bq\x1b[200~"), []);
        assert_eq!(read(b"\x03"), [Pressed::Quit]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let mut keys = Keys::default();
            keys.read(&bytes);
            proptest::prop_assert!(keys.begun.len() <= LONGEST + 1);
        }
    }
}
