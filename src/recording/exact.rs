//! Bytes to asciicast events and back, exactly.
//!
//! asciicast knows text only. So, in our files:
//!
//! * A UTF-8 sequence that is split between two chunks waits for its rest, so that players show it whole.
//! * Bytes that are not text come twice: an event `b` with the exact bytes in base64, and right after it the `o` (or `i`) that players
//!   show in their place. Players ignore `b`.
//! * stderr is an `o` with an event `e` right before it: empty if the `o` is exact, else the exact bytes in base64.
//! * What was done to a file is an event `f`, JSON, and right after it a line of the bastion's own.
//! * Of a command that is not kept to its end, an event `h` is the length and the SHA-256 of a whole stream, JSON.
//! * What the bastion itself says in a channel is an `o` with an event `j` right before it: no byte of the channel.
//! * In a channel without a terminal each LF of an exact `o` is told as CR LF ([`Newline::CrLf`]); the `i` never.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cast::{CastEvent, Newline};
use super::command::cut;
use super::files::FileAct;
use super::frames::MAX_MARKER;
use super::lines;

/// The longest piece of a channel's bytes in one event: a line of ten megabytes is many events.
const PIECE: usize = 32 * 1024;
/// So many bytes tell whether it is worth showing them.
const SAMPLE: usize = 512;

/// One of a channel's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// To the client, stdout.
    Out,
    /// To the client, stderr.
    Err,
    /// From the client.
    In,
}

/// Turns a channel's bytes into event lines.
#[derive(Debug)]
pub struct Teller {
    newline: Newline,
    /// Bytes that are not text are kept and not mentioned.
    silent: bool,
    waiting: [Vec<u8>; 3],
}

impl Teller {
    /// For a channel whose header says `newline`.
    pub fn new(newline: Newline) -> Self {
        Self { newline, silent: false, waiting: Default::default() }
    }

    /// Bytes that are not text are kept, and a viewer sees nothing of them: in a channel of files the account says what they were.
    #[must_use]
    pub fn silent(self, silent: bool) -> Self {
        Self { silent, ..self }
    }

    /// Appends the lines for `bytes`. The last up to three bytes may wait for the rest of their character.
    pub fn tell(&mut self, out: &mut Vec<u8>, micros: u64, stream: Stream, bytes: &[u8]) {
        let mut waiting = std::mem::take(&mut self.waiting[stream as usize]);
        let mut rest = bytes;
        if !waiting.is_empty() {
            waiting.extend_from_slice(bytes);
            rest = &waiting;
        }
        while !rest.is_empty() {
            let piece = rest.get(..PIECE).unwrap_or(rest);
            let whole = piece.len() - unfinished(piece);
            let (now, later) = rest.split_at(whole);
            if now.is_empty() {
                break;
            }
            self.piece(out, micros, stream, now);
            rest = later;
        }
        self.waiting[stream as usize] = rest.to_vec();
    }

    /// Appends lines for what still waits: the channel is over.
    pub fn flush(&mut self, out: &mut Vec<u8>, micros: u64) {
        for stream in [Stream::Out, Stream::Err, Stream::In] {
            let waiting = std::mem::take(&mut self.waiting[stream as usize]);
            if !waiting.is_empty() {
                self.piece(out, micros, stream, &waiting);
            }
        }
    }

    /// Appends a line of the bastion's own, shown to the viewer as output.
    pub fn remark(&mut self, out: &mut Vec<u8>, micros: u64, text: &str) {
        lines::text(out, micros, 'j', "");
        lines::text(out, micros, 'o', text);
    }

    /// Appends what was done to a file: for programs as it is, for people as a line of the bastion's own.
    pub fn file(&mut self, out: &mut Vec<u8>, micros: u64, act: &str) -> Option<FileAct> {
        lines::text(out, micros, 'f', act);
        let act: FileAct = serde_json::from_str(act).ok()?;
        self.remark(out, micros, &format!("{}\r\n", act.line()));
        Some(act)
    }

    /// Appends a resize, a marker, or another event that carries no bytes of the channel.
    /// Cut to [`MAX_MARKER`]: the words may be a host's.
    pub fn other(&mut self, out: &mut Vec<u8>, micros: u64, code: char, data: &str) {
        lines::text(out, micros, code, cut(data, MAX_MARKER));
    }

    fn piece(&mut self, out: &mut Vec<u8>, micros: u64, stream: Stream, bytes: &[u8]) {
        let plain = self.newline == Newline::CrLf;
        let shown = if stream == Stream::In { 'i' } else { 'o' };
        // A file full of zeros is valid text, six times as long.
        let text = std::str::from_utf8(bytes).ok().filter(|_| !plain || !bytes.contains(&0));
        if let Some(text) = text {
            if stream == Stream::Err {
                lines::text(out, micros, 'e', "");
            }
            let newline = if stream == Stream::In { Newline::Raw } else { self.newline };
            return lines::told(out, micros, shown, text, newline);
        }
        lines::exact(out, micros, if stream == Stream::Err { 'e' } else { 'b' }, bytes);
        match (plain, self.silent) {
            (true, true) if is_odd(bytes) => lines::text(out, micros, shown, ""),
            (true, _) => lines::told(out, micros, shown, &sketch(bytes), Newline::CrLf),
            (false, _) => lines::text(out, micros, shown, &String::from_utf8_lossy(bytes)),
        }
    }
}

/// What a viewer sees of bytes that are not text: mostly text with its faults shown, or only how many they are.
fn sketch(bytes: &[u8]) -> String {
    if is_odd(bytes) {
        format!("[{} bytes that are not text]\n", bytes.len())
    } else {
        String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
    }
}

/// Mostly no text.
fn is_odd(bytes: &[u8]) -> bool {
    let sample = bytes.get(..SAMPLE).unwrap_or(bytes);
    let strange = |b: &u8| *b < 0x20 && !b"\t\n\r\x08\x1b".contains(b);
    let odd = sample.utf8_chunks().map(|c| c.invalid().len()).sum::<usize>() + sample.iter().filter(|b| strange(b)).count();
    // Latin-1 in any language that writes with Latin letters has fewer, noise has more than a half
    odd * 4 > sample.len()
}

/// How many bytes at the end are the beginning of a character that may still become whole (0 to 3).
fn unfinished(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let length = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return 0,
        };
        return if back + 1 < length { back + 1 } else { 0 };
    }
    0
}

/// Turns event lines back into a channel's bytes.
#[derive(Debug)]
pub struct Restorer {
    newline: Newline,
    pending: Option<Pending>,
}

/// What an event says of the one after it.
#[derive(Debug)]
enum Pending {
    Remark,
    Bytes { err: bool, exact: Option<Vec<u8>> },
}

/// An event that our writer would not have written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotExact(&'static str);

impl Restorer {
    /// For a file whose header says `newline`.
    pub fn new(newline: Newline) -> Self {
        Self { newline, pending: None }
    }

    /// The bytes that an event stands for, if it stands for any.
    pub fn bytes(&mut self, event: &CastEvent) -> Result<Option<(Stream, Vec<u8>)>, NotExact> {
        let (code, data) = event.parts();
        match (code, self.pending.take()) {
            ('j', None) => {
                self.pending = Some(Pending::Remark);
                Ok(None)
            }
            ('o', Some(Pending::Remark)) => Ok(None),
            ('b' | 'e', None) => {
                let exact = match (code, data) {
                    ('e', "") => None,
                    _ => Some(STANDARD.decode(data).map_err(|_| NotExact("exact bytes that are not base64"))?),
                };
                self.pending = Some(Pending::Bytes { err: code == 'e', exact });
                Ok(None)
            }
            ('o', pending) => {
                let (err, exact) = match pending {
                    Some(Pending::Bytes { err, exact }) => (err, exact),
                    _ => (false, None),
                };
                let told = |s: &str| if self.newline == Newline::CrLf { s.replace("\r\n", "\n") } else { s.to_owned() };
                let bytes = exact.unwrap_or_else(|| told(data).into_bytes());
                Ok(Some((if err { Stream::Err } else { Stream::Out }, bytes)))
            }
            ('i', pending) => match pending {
                Some(Pending::Bytes { err: false, exact: Some(exact) }) => Ok(Some((Stream::In, exact))),
                None => Ok(Some((Stream::In, data.as_bytes().to_vec()))),
                Some(_) => Err(NotExact("a mark of output before input")),
            },
            (_, Some(_)) => Err(NotExact("exact bytes without what is shown for them")),
            (_, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(lines: &[u8]) -> Vec<CastEvent> {
        lines.split_inclusive(|b| *b == b'\n').map(|l| CastEvent::parse(l).unwrap()).collect()
    }

    fn told(newline: Newline, chunks: &[(Stream, &[u8])]) -> Vec<CastEvent> {
        let (mut teller, mut out) = (Teller::new(newline), Vec::new());
        for (n, (stream, bytes)) in chunks.iter().enumerate() {
            teller.tell(&mut out, n as u64, *stream, bytes);
        }
        teller.flush(&mut out, chunks.len() as u64);
        events(&out)
    }

    fn restored(newline: Newline, events: &[CastEvent]) -> [Vec<u8>; 3] {
        let (mut restorer, mut streams) = (Restorer::new(newline), <[Vec<u8>; 3]>::default());
        for event in events {
            if let Some((stream, bytes)) = restorer.bytes(event).unwrap() {
                streams[stream as usize].extend(bytes);
            }
        }
        streams
    }

    #[test]
    fn what_players_show() {
        let show = |newline, chunks: &[(Stream, &[u8])]| {
            told(newline, chunks).iter().map(|e| format!("{}:{}", e.parts().0, e.parts().1)).collect::<Vec<_>>()
        };
        use Stream::{Err, In, Out};
        assert_eq!(show(Newline::Raw, &[(Out, b"a\n"), (Err, b"b"), (In, b"c")]), ["o:a\n", "e:", "o:b", "i:c"]);
        assert_eq!(show(Newline::CrLf, &[(Out, b"a\r\nb\n"), (In, b"c\n")]), ["o:a\r\r\nb\r\n", "i:c\n"]);
        assert_eq!(show(Newline::Raw, &[(Out, b"x\xe2\x82"), (Out, b"\xac!")]), ["o:x", "o:\u{20ac}!"]);
        assert_eq!(show(Newline::Raw, &[(Out, b"x\xff"), (Err, b"\xe2")]), ["b:eP8=", "o:x\u{fffd}", "e:4g==", "o:\u{fffd}"]);
        assert_eq!(show(Newline::CrLf, &[(Out, &[0; 4])]), ["b:AAAAAA==", "o:[4 bytes that are not text]\r\n"]);
        assert_eq!(
            show(Newline::CrLf, &[(Out, b"sch\xf6ne Gr\xfc\xdfe\n")]),
            ["b:c2No9m5lIEdy/N9lCg==", "o:sch\u{fffd}ne Gr\u{fffd}\u{fffd}e\r\n"]
        );
    }

    #[test]
    fn a_long_line_is_many_events() {
        let long = "ü".repeat(100_000);
        let events = told(Newline::Raw, &[(Stream::Out, long.as_bytes())]);
        assert!(events.len() > 5 && events.iter().all(|e| e.parts().1.len() <= PIECE));
        assert_eq!(restored(Newline::Raw, &events)[0], long.as_bytes());
    }

    #[test]
    fn events_that_are_not_ours_are_refused() {
        let event = |code, data: &str| CastEvent::Other { time: 0.0, code, data: data.into() };
        for wrong in [vec![event('b', "?")], vec![event('b', ""), event('b', "")], vec![event('e', ""), event('r', "1x1")]] {
            let mut restorer = Restorer::new(Newline::Raw);
            assert!(wrong.iter().any(|e| restorer.bytes(e).is_err()));
        }
    }

    fn chunk() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            any::<String>().prop_map(String::into_bytes),
            prop::collection::vec(prop::sample::select(b"\r\n\r\nab\0\xe2\x82\xac\xf0\x9f\x98\x80".to_vec()), 0..40),
            prop::collection::vec(any::<u8>(), PIECE - 4..PIECE + 4),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_split_of_any_bytes_is_restored(
            chunks in prop::collection::vec((0usize..3, chunk()), 0..12),
            terminal: bool,
        ) {
            let newline = if terminal { Newline::Raw } else { Newline::CrLf };
            let streams = [Stream::Out, Stream::Err, Stream::In];
            let chunks: Vec<_> = chunks.iter().map(|(s, b)| (streams[*s], b.as_slice())).collect();
            let mut want = <[Vec<u8>; 3]>::default();
            for (stream, bytes) in &chunks {
                want[*stream as usize].extend_from_slice(bytes);
            }
            let events = told(newline, &chunks);
            prop_assert!(events.windows(2).all(|w| w[0].time() <= w[1].time()));
            prop_assert_eq!(restored(newline, &events), want);
        }

        #[test]
        fn text_split_anywhere_is_shown_as_text(text: String, at in any::<prop::sample::Index>()) {
            let (a, b) = text.as_bytes().split_at(at.index(text.len() + 1));
            let events = told(Newline::Raw, &[(Stream::Out, a), (Stream::Out, b)]);
            let shown: String = events.iter().map(|e| e.parts().1).collect();
            prop_assert_eq!(shown, text);
        }
    }
}
