//! Digests of what goes by: of the whole where it comes in sequence, of ranges else.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::Moved;
use crate::access::policy::hex;

/// A run of bytes without a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Range {
    /// Where in the file it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// Of its bytes, in hex.
    pub sha256: String,
}

/// Bytes of one file, one way, as they come.
#[derive(Default)]
pub struct Hashed {
    bytes: u64,
    run: Option<Run>,
    done: Vec<Range>,
    unhashed: u64,
    /// Runs that were begun.
    begun: usize,
}

struct Run {
    offset: u64,
    length: u64,
    digest: Context,
}

impl std::fmt::Debug for Hashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashed").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Hashed {
    /// `data` went by; it stands at `offset` in the file.
    pub fn add(&mut self, offset: u64, data: &[u8]) {
        let mut room = RANGES_AT_MOST;
        self.add_within(offset, data, &mut room);
    }

    /// The same where files share a bound: each new range takes one of `room`.
    pub fn add_within(&mut self, offset: u64, data: &[u8], room: &mut usize) {
        if data.is_empty() {
            return;
        }
        let length = data.len() as u64;
        self.bytes = self.bytes.saturating_add(length);
        let follows = self.run.as_ref().is_some_and(|run| run.offset.checked_add(run.length) == Some(offset));
        if !follows {
            self.finish();
            if self.done.len() >= RANGES_AT_MOST || *room == 0 {
                self.unhashed = self.unhashed.saturating_add(length);
                return;
            }
            *room -= 1;
            self.begun += 1;
            self.run = Some(Run { offset, length: 0, digest: Context::new(&SHA256) });
        }
        if let Some(run) = &mut self.run {
            run.digest.update(data);
            run.length += length;
        }
    }

    fn finish(&mut self) {
        if let Some(run) = self.run.take() {
            let sha256 = hex(run.digest.finish().as_ref());
            self.done.push(Range { offset: run.offset, length: run.length, sha256 });
        }
    }

    /// How many ranges it took.
    pub fn ranges(&self) -> usize {
        self.begun
    }

    /// Nothing yet?
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The account. `size` is the file's whole size if it is known: then a single run from 0 to there is the whole file.
    pub fn told(mut self, size: Option<u64>) -> Moved {
        self.finish();
        let whole = match self.done.as_slice() {
            [one] if one.offset == 0 && size == Some(one.length) && self.unhashed == 0 => Some(one.sha256.clone()),
            [] if size == Some(0) => Some(hex(Context::new(&SHA256).finish().as_ref())),
            _ => None,
        };
        let ranges = if whole.is_some() { Vec::new() } else { self.done };
        Moved { bytes: self.bytes, sha256: whole, ranges, unhashed: self.unhashed }
    }
}

/// Ranges of one file that are told apart; what jumps about more often is counted.
const RANGES_AT_MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_sequence_from_the_first_byte_to_the_last_is_the_whole() {
        let mut hashed = Hashed::default();
        hashed.add(0, b"ab");
        hashed.add(2, b"c");
        let told = hashed.told(Some(3));
        assert_eq!((told.bytes, told.sha256.as_deref(), told.ranges.len()), (3, Some(ABC), 0));
        let mut hashed = Hashed::default();
        hashed.add(0, b"abc");
        let told = hashed.told(Some(4));
        assert_eq!((told.sha256, told.ranges), (None, vec![Range { offset: 0, length: 3, sha256: ABC.into() }]));
        assert!(Hashed::default().told(Some(0)).sha256.is_some_and(|empty| empty.starts_with("e3b0c442")));
    }

    #[test]
    fn files_share_a_bound() {
        let (mut one, mut other, mut room) = (Hashed::default(), Hashed::default(), 2);
        for hashed in [&mut one, &mut other] {
            hashed.add_within(7, b"", &mut room);
            hashed.add_within(0, b"ab", &mut room);
            hashed.add_within(2, b"c", &mut room);
            hashed.add_within(9, b"abc", &mut room);
        }
        assert_eq!((room, one.ranges(), other.ranges()), (0, 2, 0));
        let (one, other) = (one.told(None), other.told(Some(3)));
        assert_eq!((one.bytes, one.ranges.len(), one.unhashed), (6, 2, 0));
        assert_eq!((other.bytes, other.sha256, other.ranges.len(), other.unhashed), (6, None, 0, 6));
    }

    #[test]
    fn jumps_are_ranges_and_too_many_are_counted() {
        let mut hashed = Hashed::default();
        for n in 0..300 {
            hashed.add(n * 10, b"abc");
        }
        hashed.add(u64::MAX, b"abc");
        hashed.add(u64::MAX, b"abc");
        let told = hashed.told(None);
        assert_eq!((told.bytes, told.ranges.len(), told.unhashed), (302 * 3, RANGES_AT_MOST, (302 - 256) * 3));
        assert!(told.ranges.iter().all(|range| range.sha256 == ABC));
    }
}
