//! Event lines as fast as they can be written.
//!
//! Every byte that users see goes through here, so it is looked at eight at a time (longer blocks are slower: something is to be escaped
//! in every second one) and copied once. Times have six decimals and never an exponent, which stock players want.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cast::Newline;

/// Appends a line with a text.
pub fn text(out: &mut Vec<u8>, micros: u64, code: char, text: &str) {
    told(out, micros, code, text, Newline::Raw);
}

/// The same, with its line ends told as `newline` says.
pub fn told(out: &mut Vec<u8>, micros: u64, code: char, text: &str, newline: Newline) {
    begin(out, micros, code);
    escape(out, text, newline);
    out.extend_from_slice(END);
}

/// Appends a line of a private code with bytes in base64.
pub fn exact(out: &mut Vec<u8>, micros: u64, code: char, bytes: &[u8]) {
    begin(out, micros, code);
    let (start, length) = (out.len(), bytes.len().div_ceil(3) * 4);
    out.resize(start + length, 0);
    let told = STANDARD.encode_slice(bytes, out.get_mut(start..).unwrap_or_default());
    debug_assert_eq!(told.ok(), Some(length));
    out.extend_from_slice(END);
}

fn begin(out: &mut Vec<u8>, micros: u64, code: char) {
    // A Vec takes every write. Codes are letters.
    let _ = write!(out, "[{}.{:06},\"{code}\",\"", micros / 1_000_000, micros % 1_000_000);
}

const END: &[u8] = b"\"]\n";

fn escape(out: &mut Vec<u8>, text: &str, newline: Newline) {
    let mut rest = text.as_bytes();
    // Room for the escapes of ordinary lines.
    out.reserve(rest.len() + rest.len() / 16);
    loop {
        let (clean, special) = rest.split_at(next_special(rest));
        out.extend_from_slice(clean);
        rest = match special {
            [] => return,
            [b'\r', b'\n', after @ ..] if newline == Newline::Raw => {
                out.extend_from_slice(b"\\r\\n");
                after
            }
            [byte, after @ ..] => {
                escape_one(out, *byte, newline);
                after
            }
        };
    }
}

fn escape_one(out: &mut Vec<u8>, byte: u8, newline: Newline) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' if newline == Newline::CrLf => out.extend_from_slice(b"\\r\\n"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x1b => out.extend_from_slice(b"\\u001b"),
        byte => {
            let _ = write!(out, "\\u{byte:04x}");
        }
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recording::cast::CastEvent;

    #[test]
    fn lines_are_exact() {
        let mut out = Vec::new();
        text(&mut out, 1, 'o', "a\"\u{1b}\n\u{1}\u{7f}");
        text(&mut out, 1_500_000, 'i', "ä");
        text(&mut out, 86_400_000_001, 'r', "80x24");
        exact(&mut out, 0, 'b', &[0xff, 0]);
        let want = "[0.000001,\"o\",\"a\\\"\\u001b\\n\\u0001\u{7f}\"]\n[1.500000,\"i\",\"ä\"]\n[86400.000001,\"r\",\"80x24\"]\n[0.000000,\"b\",\"/wA=\"]\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    proptest! {
        #[test]
        fn events_round_trip(
            micros in 0u64..1 << 50,
            words in "(?s)([\\x00-\\x7fäπ世]{0,60}|[a-z]{20,90}\r?\n?){0,4}",
            code in "[a-z]",
            crlf: bool,
        ) {
            let mut out = Vec::new();
            let code = code.chars().next().unwrap();
            told(&mut out, micros, code, &words, if crlf { Newline::CrLf } else { Newline::Raw });
            let words = if crlf { words.replace('\n', "\r\n") } else { words };
            prop_assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
            let event = CastEvent::parse(&out).unwrap();
            prop_assert_eq!(event.parts(), (code, words.as_str()));
            prop_assert_eq!((event.time() * 1e6).round() as u64, micros);
        }
    }
}
