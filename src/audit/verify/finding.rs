//! What a verification can find.

use std::fmt;

use crate::audit::checkpoint::NoteError;

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Entries are missing.
    Gap {
        /// The first that is missing.
        expected: u64,
        /// The one that stands in its place.
        found: u64,
    },
    /// An entry stands where an earlier or the same number should not be.
    Order {
        /// What should stand here.
        expected: u64,
        /// What does.
        found: u64,
    },
    /// Bytes that are no canonical entry.
    Unreadable {
        /// Which entry.
        seq: u64,
        /// Why.
        why: String,
    },
    /// The entry says another number, or another node, than the place it is stored at.
    Misplaced {
        /// Which entry.
        seq: u64,
        /// What it says about itself.
        says: String,
    },
    /// The entry is older than the one before it.
    Time {
        /// Which entry.
        seq: u64,
    },
    /// The entry's bytes are not those that its leaf was made from.
    Changed {
        /// Which entry.
        seq: u64,
    },
    /// The entries do not give the root that was signed.
    Root {
        /// Entries under the signed head.
        size: u64,
        /// Entries under the last head before it that fits: the change lies at or after this number.
        since: u64,
        /// Where the head comes from.
        source: String,
    },
    /// A head that cannot be read or trusted.
    Head {
        /// Where it comes from.
        source: String,
        /// Why.
        why: NoteError,
    },
    /// A head over more entries than there are: the log was cut off.
    Truncated {
        /// Entries under the head.
        size: u64,
        /// Entries that are there.
        entries: u64,
        /// Where the head comes from.
        source: String,
    },
    /// A head by a key that another had replaced before.
    Replaced {
        /// Entries under it.
        size: u64,
        /// Where it comes from.
        source: String,
    },
    /// Two trusted heads over the same number of entries name different roots: somebody signed two histories.
    Split {
        /// Entries under both.
        size: u64,
        /// Where the second comes from.
        source: String,
    },
    /// What the store itself keeps of the log's head is not what the entries give: the next entry would be signed wrongly.
    Belief {
        /// Entries that it believes there are.
        size: u64,
    },
    /// There are entries, and no head at all vouches for them.
    NoHead,
    /// And so many more.
    More(usize),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { expected, found } => write!(f, "entries {expected} to {} are missing", found.saturating_sub(1)),
            Self::Order { expected, found } => write!(f, "entry {found} stands where entry {expected} should be"),
            Self::Unreadable { seq, why } => write!(f, "entry {seq} cannot be read: {why}"),
            Self::Misplaced { seq, says } => write!(f, "entry {seq} says about itself that it is {says}"),
            Self::Time { seq } => write!(f, "entry {seq} is older than the one before it"),
            Self::Changed { seq } => write!(f, "entry {seq} was changed after it was written"),
            Self::Root { size, since, source } => {
                write!(
                    f,
                    "the entries do not give the root that was signed over {size} of them ({source}); the change lies at or after entry {since}"
                )
            }
            Self::Head { source, why } => write!(f, "the checkpoint in {source} cannot be trusted: {why}"),
            Self::Truncated { size, entries, source } => {
                write!(f, "the log has {entries} entries, but a checkpoint over {size} was signed ({source}): it was cut off")
            }
            Self::Replaced { size, source } => {
                write!(f, "the checkpoint over {size} entries is signed by a key that was replaced before ({source})")
            }
            Self::Split { size, source } => write!(f, "two checkpoints over {size} entries name different roots ({source})"),
            Self::Belief { size } => write!(f, "the store keeps a head over {size} entries, and the entries do not give it"),
            Self::NoHead => f.write_str("no checkpoint vouches for these entries"),
            Self::More(more) => write!(f, "and {more} more findings"),
        }
    }
}
