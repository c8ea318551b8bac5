//! What somebody looks for: given with the words, or asked at their terminal. It is kept with the event of their looking.

use std::io;

use super::Caller;
use super::sink::{Happening, Sink};
use crate::access::names::Note;
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error};

/// The longest line that is read, in characters; a purpose is no longer.
const LONGEST: usize = 1000;
/// Empty answers that are asked about again.
const TRIES: usize = 3;

/// What they look for, and the window that they look in.
pub(super) struct Asked {
    /// It.
    pub(super) purpose: Note,
    /// Columns and rows of their terminal, if there is one: it may have changed while they were asked.
    pub(super) window: Option<(u16, u16)>,
}

/// The purpose: `given`, or asked. `words` is what was typed, for the hint.
pub(super) async fn purpose(
    broker: &Broker,
    caller: &Caller,
    given: Option<&Note>,
    words: &str,
    json: bool,
    sink: &mut dyn Sink,
) -> Result<Asked, Error> {
    let mut window = caller.look.columns.zip(caller.rows);
    if let Some(given) = given {
        return Ok(Asked { purpose: given.clone(), window });
    }
    let terminal = window.is_some();
    let none = || {
        let refusal = Refusal::new("no-purpose", "whoever looks says what for: it is kept with their name");
        refusal.hint(format!("ssh {}jit-bastion {words} --because WHY", if terminal { "-t " } else { "" }))
    };
    if json || !terminal {
        return Err(none().into());
    }
    for _ in 0..TRIES {
        let asked = sink.out(b"what for? (kept with your name) ").await;
        let line = match asked {
            Ok(()) => line(sink, &mut window).await,
            Err(gone) => Err(gone),
        };
        match line {
            Ok(Some(line)) => match Note::parse(line.trim()) {
                Ok(purpose) => return Ok(Asked { purpose, window }),
                Err(_) => continue,
            },
            Ok(None) => break,
            Err(gone) => return Err(broker.fault(&gone).into()),
        }
    }
    Err(none().into())
}

/// A line that somebody types in a raw terminal, echoed to them. None if they would rather not.
async fn line(sink: &mut dyn Sink, window: &mut Option<(u16, u16)>) -> io::Result<Option<String>> {
    let mut typed = Typed::default();
    loop {
        let bytes = match sink.happening().await {
            Happening::Typed(bytes) => bytes,
            Happening::Resized { columns, rows } => {
                *window = Some((columns, rows));
                continue;
            }
            Happening::Ended => return Ok(None),
        };
        for byte in bytes {
            let echo = match typed.byte(byte) {
                Byte::Echo(echo) => echo,
                Byte::Done => {
                    sink.out(b"\n").await?;
                    return Ok(Some(typed.text));
                }
                Byte::Enough => {
                    sink.out(b"\n").await?;
                    return Ok(None);
                }
            };
            sink.out(echo.as_bytes()).await?;
        }
    }
}

/// What a byte does.
#[derive(Debug, PartialEq, Eq)]
enum Byte {
    Echo(String),
    Done,
    Enough,
}

/// A line in the making.
#[derive(Debug, Default)]
struct Typed {
    text: String,
    /// A character of which not every byte has come.
    part: Vec<u8>,
    /// An escape sequence that is not over.
    escaped: bool,
}

impl Typed {
    fn byte(&mut self, byte: u8) -> Byte {
        if std::mem::take(&mut self.escaped) {
            // Arrow keys and the like move nothing in a line this short.
            self.escaped = matches!(byte, b'[' | b'O' | b'0'..=b'9' | b';');
            return Byte::Echo(String::new());
        }
        match byte {
            b'\r' | b'\n' => return Byte::Done,
            3 | 4 => return Byte::Enough,
            0x1b => self.escaped = true,
            8 | 0x7f => {
                let gone = self.text.pop().is_some();
                return Byte::Echo(if gone { "\u{8} \u{8}".into() } else { String::new() });
            }
            0x15 => {
                let back = "\u{8} \u{8}".repeat(self.text.chars().count());
                self.text.clear();
                return Byte::Echo(back);
            }
            0..0x20 => {}
            byte => return Byte::Echo(self.character(byte)),
        }
        Byte::Echo(String::new())
    }

    fn character(&mut self, byte: u8) -> String {
        self.part.push(byte);
        let Ok(whole) = std::str::from_utf8(&self.part) else {
            if self.part.len() >= 4 {
                self.part.clear();
            }
            return String::new();
        };
        let fits = self.text.chars().count() < LONGEST && !whole.chars().any(char::is_control);
        let echo = if fits { whole.to_owned() } else { String::new() };
        self.text.push_str(&echo);
        self.part.clear();
        echo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (Option<String>, String) {
        let (mut typed, mut echoed) = (Typed::default(), String::new());
        for byte in bytes {
            match typed.byte(*byte) {
                Byte::Echo(echo) => echoed.push_str(&echo),
                Byte::Done => return (Some(typed.text), echoed),
                Byte::Enough => return (None, echoed),
            }
        }
        (None, echoed)
    }

    #[test]
    fn a_line_is_typed() {
        for (bytes, line) in [
            (b"case 12\r".as_slice(), Some("case 12")),
            (b"casf\x7fe\n", Some("case")),
            (b"wrong\x15right\r", Some("right")),
            ("gr\u{fc}n\r".as_bytes(), Some("gr\u{fc}n")),
            (b"a\x1b[1;5Cb\x1bOD\x07\r", Some("ab")),
            (b"\x7f\x15\r", Some("")),
            (b"no\x03", None),
            (b"\x04", None),
            (b"a\xff\xff\xff\xffb\xc2\x9b\r", Some("ab")),
        ] {
            assert_eq!(read(bytes).0.as_deref(), line, "{bytes:?}");
        }
        assert_eq!(read(b"ab\x7fc\r").1, "ab\u{8} \u{8}c");
        assert_eq!(read(&[b"x".repeat(2000), b"\r".to_vec()].concat()).0.map(|l| l.len()), Some(LONGEST));
    }
}
