//! Packets of RFC 4253 section 6: a buffer that opens them in place, and one that seals them in place.

use std::ops::Range;

use super::cipher::{Opener, Sealer};
use super::codec::WireError;

/// One packet that has been opened: where its payload lies in the buffer, and its number.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) payload: Range<usize>,
    pub(super) sequence: u32,
}

/// What the peer sent: read into, then opened packet by packet, all in one buffer.
///
/// The buffer stays where it is until a packet's end would not fit behind its beginning any more, or the room to
/// read into gets short; only then is the unopened rest, less than one packet, moved to the front.
pub(super) struct Inbound {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    opener: Opener,
    sequence: u32,
    /// The length field of the packet at `start`, once it has been read.
    length: Option<usize>,
    limit: usize,
    /// The last read filled all the space: more was waiting.
    crowded: bool,
    spent: Spent,
}

impl Inbound {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; FIRST_BUFFER],
            start: 0,
            end: 0,
            opener: Opener::Clear,
            sequence: 0,
            length: None,
            limit: MAX_STRANGER,
            crowded: false,
            spent: Spent::default(),
        }
    }

    /// Where to read to: at least [`MIN_SPACE`] bytes.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        let want = self.length.map_or(0, |n| 4 + n + self.opener.tag_len());
        let free = self.buffer.len() - self.end;
        if self.start > 0 && (free < MIN_SPACE || self.start + want > self.buffer.len()) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        // Grows for a packet that is larger than the buffer, whose length has been checked against the limit; and once
        // for a peer that sends in bulk. A connection that only carries keystrokes stays small.
        let needed = (want.max(self.end) + MIN_SPACE).max(if self.crowded { BULK_BUFFER } else { FIRST_BUFFER });
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// `n` bytes have been read into [`Self::space`].
    pub(super) fn filled(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.buffer.len());
        self.crowded |= self.end == self.buffer.len();
    }

    /// The next line without its LF or CR LF, for what comes before the first packet. `most` counts all its bytes.
    pub(super) fn line(&mut self, most: usize) -> Result<Option<Range<usize>>, WireError> {
        let ready = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(length) = ready.iter().take(most).position(|b| *b == b'\n') else {
            return if ready.len() < most { Ok(None) } else { Err(WireError::TooLarge("line")) };
        };
        let line = ready.get(..length).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let range = self.start..self.start + line.len();
        self.start += length + 1;
        Ok(Some(range))
    }

    /// Opens the next packet if all of it is here.
    pub(super) fn open(&mut self) -> Result<Option<Packet>, WireError> {
        let ready = self.buffer.get_mut(self.start..self.end).unwrap_or_default();
        let length = match self.length {
            Some(length) => length,
            None => {
                let Some(head) = ready.first_chunk() else { return Ok(None) };
                let length = self.opener.length(self.sequence, *head)?;
                if length > self.limit {
                    return Err(WireError::TooLarge("packet"));
                }
                self.length = Some(length);
                length
            }
        };
        let total = 4 + length + self.opener.tag_len();
        let Some(packet) = ready.get_mut(..total) else { return Ok(None) };
        self.spent.count(total)?;
        self.opener.open(self.sequence, packet)?;
        let padding = usize::from(packet.get(4).copied().unwrap_or_default());
        let payload = length.saturating_sub(1 + padding);
        if padding < 4 || payload == 0 {
            return Err(WireError::Malformed("padding"));
        }
        let begin = self.start + 5;
        let packet = Packet { payload: begin..begin + payload, sequence: self.sequence };
        self.start += total;
        self.length = None;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(Some(packet))
    }

    /// The bytes of a range that this buffer gave out; they stay until [`Self::space`] is called.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// The peer's NEWKEYS has come: what follows is under `opener`.
    pub(super) fn switch(&mut self, opener: Opener, restart: bool) {
        self.opener = opener;
        self.spent = Spent::default();
        if restart {
            self.sequence = 0;
        }
    }

    /// The peer is known by now: accept packets up to OpenSSH's own limit.
    pub(super) fn trust_lengths(&mut self) {
        self.limit = MAX_PACKET;
    }

    pub(super) fn spent(&self) -> Spent {
        self.spent
    }
}

/// What we send: packets sealed one behind the other, until someone takes them to the socket.
pub(super) struct Outbound {
    sealed: Vec<u8>,
    sealer: Sealer,
    sequence: u32,
    spent: Spent,
}

impl Outbound {
    pub(super) fn new(id_line: &[u8]) -> Self {
        Self { sealed: id_line.to_vec(), sealer: Sealer::Clear, sequence: 0, spent: Spent::default() }
    }

    /// Seals one message: its payload is copied once, behind what waits already, and sealed there.
    pub(super) fn seal(&mut self, payload: &[u8]) -> Result<(), WireError> {
        if payload.is_empty() {
            return Err(WireError::Malformed("empty message"));
        }
        let padding = self.sealer.padding(payload.len());
        let length = 1 + payload.len() + padding;
        if length > MAX_PACKET {
            return Err(WireError::TooLarge("message"));
        }
        self.spent.count(4 + length)?;
        let begin = self.sealed.len();
        self.sealed.reserve(4 + length + super::cipher::TAG);
        let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let pad = u8::try_from(padding).unwrap_or(u8::MAX);
        self.sealed.extend_from_slice(&[a, b, c, d, pad]);
        self.sealed.extend_from_slice(payload);
        // Padding may be any bytes: it was to blur block ciphers with a predictable vector, and an AEAD hides zeroes
        // as well as noise. Before the first keys there is nothing to hide.
        self.sealed.resize(begin + 4 + length, 0);
        let packet = self.sealed.get_mut(begin..).unwrap_or_default();
        match self.sealer.seal(self.sequence, packet) {
            Ok(tag) => self.sealed.extend_from_slice(tag.as_ref().map_or(&[], |t| t.as_slice())),
            Err(error) => {
                self.sealed.truncate(begin);
                return Err(error);
            }
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    /// Our NEWKEYS is out: what follows is under `sealer`.
    pub(super) fn switch(&mut self, sealer: Sealer, restart: bool) {
        self.sealer = sealer;
        self.spent = Spent::default();
        if restart {
            self.sequence = 0;
        }
    }

    pub(super) fn keyed(&self) -> bool {
        !self.sealer.is_clear()
    }

    pub(super) fn waiting(&self) -> &[u8] {
        &self.sealed
    }

    /// Moves what waits behind what `into` holds; where that is nothing, the two vectors only change places.
    pub(super) fn take(&mut self, into: &mut Vec<u8>) {
        if into.is_empty() {
            std::mem::swap(&mut self.sealed, into);
        } else {
            into.append(&mut self.sealed);
        }
    }

    pub(super) fn spent(&self) -> Spent {
        self.spent
    }
}

/// How much has gone under the present keys of one direction.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spent {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Spent {
    fn count(&mut self, bytes: usize) -> Result<(), WireError> {
        self.packets += 1;
        self.bytes += bytes as u64;
        if self.packets > MAX_UNDER_ONE_KEY {
            return Err(WireError::TooLarge("packets under one key"));
        }
        Ok(())
    }
}

const FIRST_BUFFER: usize = 32 * 1024;
/// The least room that is offered to a read.
const MIN_SPACE: usize = 16 * 1024;
/// Two full TCP reads, or four of OpenSSH's largest packets.
const BULK_BUFFER: usize = 128 * 1024;
/// OpenSSH's `PACKET_MAX_SIZE`.
const MAX_PACKET: usize = 256 * 1024;
/// The packet that RFC 4253 section 6.1 wants everybody to take: enough for a stranger.
const MAX_STRANGER: usize = 35_000;
/// Sequence numbers have 32 bits and are nonces of ChaCha20-Poly1305: half of them is where we stop for good.
const MAX_UNDER_ONE_KEY: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that sends packets of `length` bytes in bulk, in pieces as large as there is room for.
    fn flood(inbound: &mut Inbound, length: u32, packets: usize) -> usize {
        let packet = [&length.to_be_bytes()[..], &[4], &vec![94; length as usize - 1]].concat();
        let mut stream = packet.iter().copied().cycle().take(packet.len() * packets);
        let (mut opened, mut largest) = (0, 0);
        loop {
            let space = inbound.space();
            assert!(space.len() >= MIN_SPACE);
            let read = space.iter_mut().zip(&mut stream).map(|(to, from)| *to = from).count();
            inbound.filled(read);
            largest = largest.max(inbound.buffer.len());
            while let Some(packet) = inbound.open().unwrap() {
                assert_eq!(packet.payload.len(), length as usize - 5);
                assert!(inbound.bytes(packet.payload).iter().all(|b| *b == 94));
                opened += 1;
            }
            if read == 0 {
                assert_eq!(opened, packets);
                return largest;
            }
        }
    }

    #[test]
    fn the_buffer_grows_for_bulk_and_no_further() {
        let mut inbound = Inbound::new();
        assert_eq!(inbound.space().len(), FIRST_BUFFER);
        assert_eq!(flood(&mut inbound, 32_764, 300), BULK_BUFFER);
        assert_eq!(flood(&mut inbound, 12, 50_000), BULK_BUFFER);
        inbound.trust_lengths();
        let most = flood(&mut inbound, MAX_PACKET as u32 - 4, 20);
        assert!(most <= MAX_PACKET + MIN_SPACE + 16, "{most}");
    }
}
