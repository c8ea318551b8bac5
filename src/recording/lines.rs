//! Event lines as fast as they can be written: a serializer of [`asciicast::Entry`] that knows its shape.
//!
//! Every byte that users see goes through here. `serde_json` looks at each byte of a string by itself; this looks at eight at a time, and
//! tells times with six decimals and never with an exponent, which stock players want.

use std::fmt::{self, Display};
use std::io::Write as _;

use asciicast::{Entry, EventType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::ser::{self, Impossible};

/// Writes event lines; keeps its buffer between them.
#[derive(Debug)]
pub struct LineWriter {
    entry: Entry,
}

impl Default for LineWriter {
    fn default() -> Self {
        Self { entry: Entry { time: 0.0, event_type: EventType::Output, event_data: String::new() } }
    }
}

impl LineWriter {
    /// Appends an output (`o`) or input (`i`) line; `fill` writes its text.
    pub fn core(&mut self, out: &mut Vec<u8>, micros: u64, event_type: EventType, fill: impl FnOnce(&mut String)) {
        self.entry.event_data.clear();
        fill(&mut self.entry.event_data);
        self.entry.time = seconds(micros);
        self.entry.event_type = event_type;
        end(out, |line| self.entry.serialize(line));
    }

    /// Gives memory back.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.entry.event_data.clear();
        self.entry.event_data.shrink_to(bytes);
    }

    /// Appends any other line.
    pub fn other(&mut self, out: &mut Vec<u8>, micros: u64, code: char, data: &str) {
        end(out, |line| (seconds(micros), code, data).serialize(line));
    }

    /// Appends a line of a private code with bytes in base64.
    pub fn exact(&mut self, out: &mut Vec<u8>, micros: u64, code: char, bytes: &[u8]) {
        tell_time(out, seconds(micros));
        let _ = write!(out, ",\"{code}\",\"");
        let (start, length) = (out.len(), bytes.len().div_ceil(3) * 4);
        out.resize(start + length, 0);
        let told = STANDARD.encode_slice(bytes, out.get_mut(start..).unwrap_or_default());
        debug_assert_eq!(told.ok(), Some(length));
        out.extend_from_slice(b"\"]\n");
    }
}

fn end(out: &mut Vec<u8>, tell: impl FnOnce(&mut Line<'_>) -> Result<(), NotALine>) {
    let told = tell(&mut Line { out, first: true });
    debug_assert!(told.is_ok(), "an event has no other parts than a number, a letter and a text");
    out.extend_from_slice(b"]\n");
}

fn seconds(micros: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact for 285 years of microseconds")]
    let micros = micros as f64;
    micros / 1e6
}

fn tell_time(out: &mut Vec<u8>, seconds: f64) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times come from u64 microseconds")]
    let micros = (seconds * 1e6).round() as u64;
    // A Vec takes every write.
    let _ = write!(out, "[{}.{:06}", micros / 1_000_000, micros % 1_000_000);
}

fn tell_text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    out.push(b'"');
    loop {
        let (clean, special) = rest.split_at(next_special(rest));
        out.extend_from_slice(clean);
        let Some((byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x1b => out.extend_from_slice(b"\\u001b"),
            byte => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
        rest = after;
    }
    out.push(b'"');
}

/// Where the first byte is that JSON wants escaped; the length if there is none.
fn next_special(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let x = u64::from_le_bytes(*chunk);
        // The high bit of each byte that is below a bound; above the lowest hit there may be false ones.
        let below = |x: u64, bound: u64| x.wrapping_sub(ONES * bound) & !x & HIGHS;
        let hits = below(x, 0x20) | below(x ^ (ONES * u64::from(b'"')), 1) | below(x ^ (ONES * u64::from(b'\\')), 1);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\').unwrap_or(tail.len())
}

/// One line while it is told: an array of a number, a letter and a text.
struct Line<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

/// Something that is no part of an event.
#[derive(Debug)]
struct NotALine;

impl Display for NotALine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a part of an event")
    }
}

impl std::error::Error for NotALine {}

impl ser::Error for NotALine {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

impl ser::SerializeSeq for &mut Line<'_> {
    type Ok = ();
    type Error = NotALine;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), NotALine> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), NotALine> {
        Ok(())
    }
}

impl ser::SerializeTuple for &mut Line<'_> {
    type Ok = ();
    type Error = NotALine;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), NotALine> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), NotALine> {
        Ok(())
    }
}

macro_rules! no_part {
    ($($name:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(fn $name(self, $(_: $type),*) -> Result<$ok, NotALine> { Err(NotALine) })*
    };
}

type No = Impossible<(), NotALine>;

impl ser::Serializer for &mut Line<'_> {
    type Ok = ();
    type Error = NotALine;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = No;
    type SerializeStructVariant = No;

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, NotALine> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, NotALine> {
        Ok(self)
    }

    fn serialize_f64(self, value: f64) -> Result<(), NotALine> {
        tell_time(self.out, value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), NotALine> {
        tell_text(self.out, value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), NotALine> {
        tell_text(self.out, value);
        Ok(())
    }

    no_part! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_tuple_struct(&'static str, usize) -> No;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No;
        serialize_map(Option<usize>) -> No;
        serialize_struct(&'static str, usize) -> No;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No;
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<(), NotALine> {
        Err(NotALine)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(self, _: &'static str, _: &T) -> Result<(), NotALine> {
        Err(NotALine)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(self, _: &'static str, _: u32, _: &'static str, _: &T) -> Result<(), NotALine> {
        Err(NotALine)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recording::cast::CastEvent;

    #[test]
    fn lines_are_exact() {
        let (mut lines, mut out) = (LineWriter::default(), Vec::new());
        lines.core(&mut out, 1, EventType::Output, |s| s.push_str("a\"\u{1b}\n\u{1}\u{7f}"));
        lines.core(&mut out, 1_500_000, EventType::Input, |s| s.push('ä'));
        lines.other(&mut out, 86_400_000_001, 'r', "80x24");
        lines.exact(&mut out, 0, 'b', &[0xff, 0]);
        let want = "[0.000001,\"o\",\"a\\\"\\u001b\\n\\u0001\u{7f}\"]\n[1.500000,\"i\",\"ä\"]\n[86400.000001,\"r\",\"80x24\"]\n[0.000000,\"b\",\"/wA=\"]\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    proptest! {
        #[test]
        fn events_round_trip(micros in 0u64..1 << 50, text in "(?s)[\\x00-\\x7fäπ世]{0,60}", code in "[a-z]") {
            let (mut lines, mut out) = (LineWriter::default(), Vec::new());
            let code = code.chars().next().unwrap();
            match code {
                'o' => lines.core(&mut out, micros, EventType::Output, |s| s.push_str(&text)),
                'i' => lines.core(&mut out, micros, EventType::Input, |s| s.push_str(&text)),
                _ => lines.other(&mut out, micros, code, &text),
            }
            prop_assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
            let event = CastEvent::parse(&out).unwrap();
            prop_assert_eq!(event.parts(), (code, text.as_str()));
            prop_assert_eq!((event.time() * 1e6).round() as u64, micros);
        }
    }
}
