//! SFTP's packets out of a stream, and their fields (draft-ietf-secsh-filexfer-02, sections 3 to 5).

use super::Violation;

/// The longest packet that is passed: OpenSSH's own limit.
pub(super) const LONGEST: usize = 256 * 1024;

/// Cuts one direction of a channel into packets.
#[derive(Debug)]
pub(super) struct Packets {
    who: &'static str,
    begun: Vec<u8>,
}

impl Packets {
    pub(super) fn of(who: &'static str) -> Self {
        Self { who, begun: Vec::new() }
    }

    /// Hands each packet that is whole to `take` (its type byte first). A packet that lies whole in `bytes` is not copied.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), Violation>) -> Result<(), Violation> {
        while !bytes.is_empty() {
            if self.begun.is_empty()
                && let Some((head, rest)) = bytes.split_first_chunk::<4>()
            {
                let length = self.length(*head)?;
                if let Some((packet, after)) = rest.split_at_checked(length) {
                    take(packet)?;
                    bytes = after;
                    continue;
                }
            }
            let wanted = match self.begun.first_chunk::<4>() {
                Some(head) => 4 + self.length(*head)?,
                None => 4,
            };
            let (now, after) = bytes.split_at(bytes.len().min(wanted - self.begun.len()));
            self.begun.extend_from_slice(now);
            bytes = after;
            if self.begun.len() == wanted && wanted > 4 {
                let packet = std::mem::take(&mut self.begun);
                take(packet.get(4..).unwrap_or_default())?;
            }
        }
        Ok(())
    }

    /// Nothing of a packet is waiting for its rest.
    pub(super) fn is_whole(&self) -> bool {
        self.begun.is_empty()
    }

    fn length(&self, head: [u8; 4]) -> Result<usize, Violation> {
        let length = u32::from_be_bytes(head) as usize;
        if (1..=LONGEST).contains(&length) {
            return Ok(length);
        }
        Err(Violation { who: self.who, what: format!("a packet of {length} bytes") })
    }
}

/// Reads the fields of one packet; every reader gives `None` where there is not enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*bytes))
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// Attributes (section 5).
    pub(super) fn attributes(&mut self) -> Option<Attributes> {
        let flags = self.u32()?;
        let mut found = Attributes::default();
        if flags & 0x1 != 0 {
            found.size = Some(self.u64()?);
        }
        if flags & 0x2 != 0 {
            found.owner = Some((self.u32()?, self.u32()?));
        }
        if flags & 0x4 != 0 {
            found.mode = Some(self.u32()?);
        }
        if flags & 0x8 != 0 {
            found.times = Some((self.u32()?, self.u32()?));
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.u32()? {
                self.string()?;
                self.string()?;
            }
        }
        Some(found)
    }
}

/// What is known or asked of a file's attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<u32>,
    pub(super) times: Option<(u32, u32)>,
}

impl Attributes {
    /// `mode=0644 owner=0:0`; none where nothing is set.
    pub(super) fn words(&self) -> Option<String> {
        let words = [
            self.size.map(|size| format!("size={size}")),
            self.owner.map(|(user, group)| format!("owner={user}:{group}")),
            self.mode.map(|mode| format!("mode={:04o}", mode & 0o7777)),
            self.times.map(|(_, modified)| format!("mtime={modified}")),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_the_same_however_they_come() {
        let stream = [&[0, 0, 0, 2, 7, 8][..], &[0, 0, 0, 1, 9], &[0, 0, 0, 3, 1, 2, 3]].concat();
        for size in 1..=stream.len() {
            let (mut packets, mut seen) = (Packets::of("the client"), Vec::new());
            for chunk in stream.chunks(size) {
                packets
                    .feed(chunk, |packet| {
                        seen.push(packet.to_vec());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, [vec![7, 8], vec![9], vec![1, 2, 3]], "{size}");
            assert!(packets.is_whole());
        }
        for bad in [[0, 0, 0, 0], [0, 4, 0, 1], [255; 4]] {
            assert!(Packets::of("the host").feed(&bad, |_| Ok(())).is_err(), "{bad:?}");
        }
    }
}
