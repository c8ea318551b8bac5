//! The journal's format: a magic, then frames.
//!
//! ```text
//! file   = "jitjrnl1" frame*                 the first frame (seq 0, kind 0) holds the SessionMeta as JSON
//! frame  = length u32, crc32 u32, seq u64, time u64, channel u32, kind u8, payload[length]      integers little-endian
//! ```
//!
//! `seq` counts frames without a gap; `time` is microseconds since the session's start on BOOTTIME; the CRC-32 (IEEE) is over the length
//! and everything after the checksum. A reader stops at the first frame that is not whole and right: what follows was never shown.

use super::command::{MAX_COMMAND, cut};
use super::exact::Stream;
use super::{ChannelMeta, TerminalMeta};

/// What every journal begins with.
pub const MAGIC: &[u8; 8] = b"jitjrnl1";
/// Bytes of a frame before its payload.
pub const HEAD: usize = 29;
/// The longest payload, above the longest SSH packet that is relayed.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// A marker is cut to this: the bastion's own words are shorter, and a host's are not worth more.
pub const MAX_MARKER: usize = 1024;
/// A line of the bastion's own is cut to this.
pub const MAX_TOLD: usize = 16 * 1024;
/// A terminal's name is cut to this.
pub const MAX_TERM: usize = 256;

// A channel's first frame fits, whatever the client asked for.
const _: () = assert!(MAX_COMMAND.div_ceil(3) * 4 + 6 * MAX_TERM + 1024 <= MAX_PAYLOAD);

/// A frame's number in its journal, from 1; 0 is the journal's own head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// One thing that happened in one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The channel's number in the session, from 1.
    pub channel: u32,
    /// Microseconds since the session's start, on BOOTTIME.
    pub at: u64,
    /// What happened.
    pub body: Body<'a>,
}

/// What happened in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// The channel began: what it is was asked for. The first frame of each channel.
    Open(ChannelMeta),
    /// Bytes to the client, stdout.
    Out(&'a [u8]),
    /// Bytes to the client, stderr.
    Err(&'a [u8]),
    /// Bytes from the client.
    In(&'a [u8]),
    /// The client's terminal has a new size.
    Resize {
        /// Columns.
        cols: u32,
        /// Rows.
        rows: u32,
    },
    /// The bastion's own words, or a fact worth a line: `exit status 3`.
    Marker(&'a str),
    /// Bytes so far in a file transfer whose content is not kept; cumulative.
    Count {
        /// From the client.
        up: u64,
        /// To the client.
        down: u64,
    },
    /// The digest of a stream of a command that is not kept to its end.
    Digested(Digested),
    /// Something was done to a file: a [`super::files::FileAct`] as JSON.
    File(&'a str),
    /// A line of the bastion's own that a viewer reads: what became of a connection.
    Told(&'a str),
    /// The channel is over.
    Close,
    /// The session is over, with this ending (`time-up`). The last frame; its channel is 0.
    End(&'a str),
}

/// What is known of a stream whose bytes are not kept to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digested {
    /// Which.
    pub stream: Stream,
    /// So many bytes of it, from the first, kept ones too.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// These are all.
    pub last: bool,
}

impl Digested {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.stream as u8, u8::from(self.last)];
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.sha256);
        out
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (head, sha256) = payload.split_first_chunk::<10>()?;
        let [stream, last, ..] = *head;
        let stream = [Stream::Out, Stream::Err, Stream::In].into_iter().find(|known| *known as u8 == stream)?;
        Some(Self { stream, bytes: u64_at(head, 2)?, sha256: sha256.try_into().ok()?, last: last == 1 })
    }
}

const META: u8 = 0;
const OPEN: u8 = 1;
const OUT: u8 = 2;
const ERR: u8 = 3;
const IN: u8 = 4;
const RESIZE: u8 = 5;
const MARKER: u8 = 6;
const COUNT: u8 = 7;
const CLOSE: u8 = 8;
const END: u8 = 9;
const FILE: u8 = 10;
const TOLD: u8 = 11;
const DIGESTED: u8 = 16;

/// A payload as it goes to the file: borrowed where the frame borrows.
pub(super) enum Payload<'a> {
    Borrowed(&'a [u8]),
    Small([u8; 16], usize),
    Owned(Vec<u8>),
}

impl AsRef<[u8]> for Payload<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Small(bytes, n) => bytes.get(..*n).unwrap_or_default(),
            Self::Owned(bytes) => bytes,
        }
    }
}

impl<'a> Body<'a> {
    /// The kind's number and the payload.
    pub(super) fn encode(&self) -> (u8, Payload<'a>) {
        match *self {
            Self::Open(ref meta) => (OPEN, Payload::Owned(opening(meta))),
            Self::Out(bytes) => (OUT, Payload::Borrowed(bytes)),
            Self::Err(bytes) => (ERR, Payload::Borrowed(bytes)),
            Self::In(bytes) => (IN, Payload::Borrowed(bytes)),
            Self::Resize { cols, rows } => (RESIZE, Payload::Small((u128::from(cols) | u128::from(rows) << 32).to_le_bytes(), 8)),
            Self::Marker(text) => (MARKER, Payload::Borrowed(cut(text, MAX_MARKER).as_bytes())),
            Self::Count { up, down } => (COUNT, Payload::Small((u128::from(up) | u128::from(down) << 64).to_le_bytes(), 16)),
            Self::Digested(ref digested) => (DIGESTED, Payload::Owned(digested.encode())),
            Self::File(act) => (FILE, Payload::Borrowed(act.as_bytes())),
            Self::Told(line) => (TOLD, Payload::Borrowed(cut(line, MAX_TOLD).as_bytes())),
            Self::Close => (CLOSE, Payload::Borrowed(&[])),
            Self::End(ending) => (END, Payload::Borrowed(ending.as_bytes())),
        }
    }

    /// From the kind's number and the payload; `None` for what no writer of this version makes.
    fn decode(kind: u8, payload: &'a [u8]) -> Option<Self> {
        let text = || std::str::from_utf8(payload).ok();
        Some(match kind {
            OPEN => Self::Open(serde_json::from_slice(payload).ok()?),
            OUT => Self::Out(payload),
            ERR => Self::Err(payload),
            IN => Self::In(payload),
            RESIZE if payload.len() == 8 => Self::Resize { cols: u32_at(payload, 0)?, rows: u32_at(payload, 4)? },
            MARKER => Self::Marker(text()?),
            COUNT if payload.len() == 16 => Self::Count { up: u64_at(payload, 0)?, down: u64_at(payload, 8)? },
            DIGESTED => Self::Digested(Digested::decode(payload)?),
            FILE => Self::File(text()?),
            TOLD => Self::Told(text()?),
            CLOSE if payload.is_empty() => Self::Close,
            END => Self::End(text()?),
            _ => return None,
        })
    }
}

fn opening(meta: &ChannelMeta) -> Vec<u8> {
    let short = |t: &TerminalMeta| TerminalMeta { term: cut(&t.term, MAX_TERM).to_owned(), ..*t };
    let meta = ChannelMeta { kind: meta.kind, command: meta.command.clone(), terminal: meta.terminal.as_ref().map(short) };
    serde_json::to_vec(&meta).unwrap_or_default()
}

/// The head of a frame, checksum included.
pub fn head(seq: u64, at: u64, channel: u32, kind: u8, payload: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let fields: [(usize, &[u8]); 5] =
        [(0, &length), (8, &seq.to_le_bytes()), (16, &at.to_le_bytes()), (24, &channel.to_le_bytes()), (28, &[kind])];
    for (from, bytes) in fields {
        head.iter_mut().skip(from).zip(bytes).for_each(|(to, b)| *to = *b);
    }
    let crc = checksum(&head, payload).to_le_bytes();
    head.iter_mut().skip(4).zip(crc).for_each(|(to, b)| *to = b);
    head
}

/// The frame that begins a journal.
pub(super) fn meta_head(json: &[u8]) -> [u8; HEAD] {
    head(0, 0, 0, META, json)
}

fn checksum(head: &[u8; HEAD], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    let [l0, l1, l2, l3, _, _, _, _, rest @ ..] = head;
    crc.update(&[*l0, *l1, *l2, *l3]);
    crc.update(rest);
    crc.update(payload);
    crc.finalize()
}

/// What the beginning of a buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Not a whole frame yet.
    Short,
    /// Not a frame: the length, the checksum or the kind is wrong, and why.
    Wrong(&'static str),
    /// A frame and how many bytes it took.
    Whole(u64, Frame<'a>, usize),
    /// The journal's own head: the meta's JSON and how many bytes it took.
    Meta(&'a [u8], usize),
}

/// How many bytes the frame at the beginning of `bytes` needs, as far as can be told; a cheap look before [`parse`].
pub fn need(bytes: &[u8]) -> usize {
    let length = if bytes.len() < HEAD { None } else { u32_at(bytes, 0) };
    // A length that is wrong needs no more bytes to be known for wrong.
    length.map_or(HEAD, |n| if n as usize > MAX_PAYLOAD { HEAD } else { HEAD + n as usize })
}

/// Reads one frame from the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Parsed::Short };
    let (Some(length), Some(crc), Some(seq), Some(at), Some(channel)) =
        (u32_at(head, 0), u32_at(head, 4), u64_at(head, 8), u64_at(head, 16), u32_at(head, 24))
    else {
        return Parsed::Short;
    };
    let length = length as usize;
    if length > MAX_PAYLOAD {
        return Parsed::Wrong("a frame is longer than any that was written");
    }
    let Some(payload) = rest.get(..length) else { return Parsed::Short };
    if checksum(head, payload) != crc {
        return Parsed::Wrong("a frame's checksum is wrong");
    }
    let [.., kind] = *head;
    if kind == META {
        return Parsed::Meta(payload, HEAD + length);
    }
    match Body::decode(kind, payload) {
        Some(body) => Parsed::Whole(seq, Frame { channel, at, body }, HEAD + length),
        None => Parsed::Wrong("a frame of a kind that this version does not know"),
    }
}

fn u32_at(bytes: &[u8], from: usize) -> Option<u32> {
    bytes.get(from..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], from: usize) -> Option<u64> {
    bytes.get(from..)?.first_chunk().copied().map(u64::from_le_bytes)
}
