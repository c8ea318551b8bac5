//! Of a command no more is kept than its rule says (`keep = { bytes, beyond }`): beyond that the session ends, or only lengths and digests
//! are kept, journalled so often that a crash leaves a digest of nearly all of it.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};

use super::tap::{Keep, Kept, Lands, Purpose};
use crate::access::policy::Beyond;
use crate::access::size::Size;
use crate::recording::exact::Stream;
use crate::recording::{Digested, RecordError};

/// Keeps less of commands.
pub(super) struct Limited<K> {
    keep: K,
    limit: Option<(Size, Beyond)>,
    /// Commands that run.
    commands: BTreeMap<u32, Command>,
}

#[derive(Default)]
struct Command {
    kept: u64,
    streams: [Counted; 3],
}

/// One stream of a command, from its first byte.
struct Counted {
    bytes: u64,
    digest: Context,
    /// As far as the digest was last journalled.
    told: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Self { bytes: 0, digest: Context::new(&SHA256), told: 0 }
    }
}

impl Counted {
    fn digested(&mut self, stream: Stream, last: bool) -> Digested {
        self.told = self.bytes;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.digest.clone().finish().as_ref());
        Digested { stream, bytes: self.bytes, sha256, last }
    }
}

impl<K: Keep> Limited<K> {
    /// `limit` as the rule says; none: everything is kept.
    pub(super) fn new(keep: K, limit: Option<(Size, Beyond)>) -> Self {
        Self { keep, limit, commands: BTreeMap::new() }
    }

    /// The session is over: tells what is known of commands that still ran.
    pub(super) fn finish(mut self) -> K {
        for channel in self.commands.keys().copied().collect::<Vec<_>>() {
            // A recording that takes no more is known elsewhere.
            let _ = self.ended(channel);
        }
        self.keep
    }

    /// Bytes of a command: those that are kept go on.
    fn some(&mut self, channel: u32, stream: Stream, bytes: &[u8], (most, beyond): (Size, Beyond)) -> Result<(), RecordError> {
        let Some(command) = self.commands.get_mut(&channel) else { return self.keep.keep(kept(channel, stream, bytes)) };
        let room = usize::try_from(most.as_bytes() - command.kept).unwrap_or(usize::MAX);
        let (now, rest) = bytes.split_at(bytes.len().min(room));
        command.kept += now.len() as u64;
        if beyond == Beyond::Hash {
            let [out, err, input] = &mut command.streams;
            let counted = match stream {
                Stream::Out => out,
                Stream::Err => err,
                Stream::In => input,
            };
            counted.digest.update(bytes);
            counted.bytes += bytes.len() as u64;
        }
        if !now.is_empty() {
            self.keep.keep(kept(channel, stream, now))?;
        }
        match (rest.is_empty(), beyond) {
            (true, _) => Ok(()),
            (false, Beyond::End) => Err(RecordError::Enough(most.as_bytes())),
            (false, Beyond::Hash) => self.counted(channel, stream),
        }
    }

    /// What was not kept is counted; its digest is told when enough has come.
    fn counted(&mut self, channel: u32, stream: Stream) -> Result<(), RecordError> {
        let Some(command) = self.commands.get_mut(&channel) else { return Ok(()) };
        let [out, err, input] = &mut command.streams;
        let carried = Kept::Carried { channel, up: input.bytes, down: out.bytes + err.bytes };
        let counted = match stream {
            Stream::Out => out,
            Stream::Err => err,
            Stream::In => input,
        };
        let digested = (counted.bytes - counted.told >= EVERY).then(|| counted.digested(stream, false));
        self.keep.keep(carried)?;
        digested.map_or(Ok(()), |digested| self.keep.keep(Kept::Digested(channel, digested)))
    }

    /// A command is over: the digest of all of each stream, where not all of it was kept.
    fn ended(&mut self, channel: u32) -> Result<(), RecordError> {
        let Some(mut command) = self.commands.remove(&channel) else { return Ok(()) };
        let whole: u64 = command.streams.iter().map(|counted| counted.bytes).sum();
        if whole <= command.kept {
            return Ok(());
        }
        for (counted, stream) in command.streams.iter_mut().zip([Stream::Out, Stream::Err, Stream::In]) {
            let digested = counted.digested(stream, true);
            self.keep.keep(Kept::Digested(channel, digested))?;
        }
        Ok(())
    }
}

impl<K: Keep> Keep for Limited<K> {
    fn keep(&mut self, what: Kept<'_>) -> Result<(), RecordError> {
        let Some(limit) = self.limit else { return self.keep.keep(what) };
        match what {
            Kept::Out(channel, bytes) => return self.some(channel, Stream::Out, bytes, limit),
            Kept::Err(channel, bytes) => return self.some(channel, Stream::Err, bytes, limit),
            Kept::In(channel, bytes) => return self.some(channel, Stream::In, bytes, limit),
            Kept::Began(beginning) if beginning.purpose == Purpose::Exec => {
                self.commands.insert(beginning.channel, Command::default());
            }
            Kept::Ended(channel) => self.ended(channel)?,
            _ => {}
        }
        self.keep.keep(what)
    }
}

impl<K: Lands> Lands for Limited<K> {
    fn taken(&self) -> u64 {
        self.keep.taken()
    }

    fn commit(&mut self) -> impl Future<Output = Result<(), RecordError>> + use<K> {
        self.keep.commit()
    }
}

fn kept(channel: u32, stream: Stream, bytes: &[u8]) -> Kept<'_> {
    match stream {
        Stream::Out => Kept::Out(channel, bytes),
        Stream::Err => Kept::Err(channel, bytes),
        Stream::In => Kept::In(channel, bytes),
    }
}

/// After so many bytes of a stream its digest is journalled again.
const EVERY: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ssh::tap::Beginning;

    /// What was kept, by stream, and the digests.
    #[derive(Default)]
    struct Collected {
        streams: [Vec<u8>; 3],
        carried: Option<(u64, u64)>,
        digests: Vec<Digested>,
    }

    impl Keep for Collected {
        fn keep(&mut self, what: Kept<'_>) -> Result<(), RecordError> {
            match what {
                Kept::Out(_, bytes) => self.streams[0].extend_from_slice(bytes),
                Kept::Err(_, bytes) => self.streams[1].extend_from_slice(bytes),
                Kept::In(_, bytes) => self.streams[2].extend_from_slice(bytes),
                Kept::Carried { up, down, .. } => self.carried = Some((up, down)),
                Kept::Digested(_, digested) => self.digests.push(digested),
                _ => {}
            }
            Ok(())
        }
    }

    fn began(purpose: Purpose) -> Kept<'static> {
        Kept::Began(Beginning { channel: 1, purpose, command: None, terminal: None })
    }

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(bytes);
        context.finish().as_ref().try_into().unwrap()
    }

    proptest! {
        #[test]
        fn so_much_is_kept_and_the_rest_is_proven(
            limit in 1u64..4000,
            hash in any::<bool>(),
            closed in any::<bool>(),
            pieces in prop::collection::vec((0usize..3, prop::collection::vec(any::<u8>(), 0..900)), 0..12),
        ) {
            let beyond = if hash { Beyond::Hash } else { Beyond::End };
            let mut limited = Limited::new(Collected::default(), Some((Size::bytes(limit), beyond)));
            limited.keep(began(Purpose::Exec)).unwrap();
            let (mut whole, mut total) = (<[Vec<u8>; 3]>::default(), 0);
            for (at, bytes) in &pieces {
                let stream = [Stream::Out, Stream::Err, Stream::In][*at];
                whole[*at].extend_from_slice(bytes);
                total += bytes.len() as u64;
                let passed = limited.keep(kept(1, stream, bytes));
                let ended = passed.is_err();
                prop_assert_eq!(ended, !hash && total > limit);
                if ended {
                    break;
                }
            }
            if closed {
                limited.keep(Kept::Ended(1)).unwrap();
            }
            let Collected { streams, carried, digests } = limited.finish();
            prop_assert_eq!(streams.iter().map(|kept| kept.len() as u64).sum::<u64>(), total.min(limit));
            prop_assert!(streams.iter().zip(&whole).all(|(kept, whole)| whole.starts_with(kept)));
            if hash && total > limit {
                let sizes = whole.iter().map(|stream| stream.len() as u64).collect::<Vec<_>>();
                prop_assert_eq!(carried, Some((sizes[2], sizes[0] + sizes[1])));
                for (digested, whole) in digests.iter().zip(&whole) {
                    prop_assert_eq!((digested.bytes, digested.sha256, digested.last), (whole.len() as u64, sha256(whole), true));
                }
                prop_assert_eq!(digests.len(), 3);
            } else {
                prop_assert!(carried.is_none() && digests.is_empty());
            }
        }
    }

    #[test]
    fn a_digest_is_journalled_with_each_mebibyte_and_only_of_commands() {
        let mut limited = Limited::new(Collected::default(), Some((Size::bytes(10), Beyond::Hash)));
        limited.keep(began(Purpose::Exec)).unwrap();
        let piece = vec![7; 100_000];
        (0..30).for_each(|_| limited.keep(Kept::Out(1, &piece)).unwrap());
        let far: Vec<(u64, bool)> = limited.keep.digests.iter().map(|digested| (digested.bytes, digested.last)).collect();
        assert_eq!(far, [(1_100_000, false), (2_200_000, false)]);
        let mut shell = Limited::new(Collected::default(), Some((Size::bytes(10), Beyond::End)));
        shell.keep(began(Purpose::Shell)).unwrap();
        shell.keep(Kept::Out(1, &piece)).unwrap();
        assert_eq!(shell.keep.streams[0].len(), piece.len());
    }
}
