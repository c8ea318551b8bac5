//! Reads a log again, offline, and tells everything that does not fit: a missing, doubled or changed entry, a wrong order, a head that
//! was signed over something else, a log that is shorter than a head that left the machine.
//!
//! Trust comes from the [`NoteKey`] and from checkpoints that were kept somewhere else; everything else may be lies. Where the log names
//! another key (`checkpoint-key-changed`) and a head by a trusted key covers that entry, the other key is trusted from there on.

use std::collections::BTreeMap;

use serde_json::Value;

use super::canonical;
use super::checkpoint::{Checkpoint, NoteError, NoteKey};
use super::digest::Digest;
pub use super::finding::Finding;
use super::tree::{Frontier, leaf_hash};
use crate::access::time::Timestamp;

/// The event with which a log names another key.
const KEY_CHANGED: &str = "checkpoint-key-changed";
/// The most findings that are told one by one; a log that is wrong everywhere needs no list of it.
const MOST_FINDINGS: usize = 100;

/// One entry as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// The stored sequence number.
    pub seq: u64,
    /// The entry's bytes, verbatim.
    pub bytes: Vec<u8>,
    /// The stored hash of its leaf, if the tree's rows are at hand: with it a changed entry is named, not only noticed.
    pub leaf: Option<Digest>,
}

/// One signed head as it is stored, in the database or outside it.
#[derive(Debug, Clone)]
pub struct Head {
    /// Where it comes from, for the finding: `store`, or a file's name.
    pub source: String,
    /// The signed note.
    pub note: String,
}

/// What a verification came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Everything that does not fit; empty if all is well.
    pub findings: Vec<Finding>,
    /// Entries read.
    pub entries: u64,
    /// Entries under the largest head that fits. Those after it are not vouched for yet.
    pub vouched: u64,
    /// Heads that fit.
    pub heads: usize,
    /// The root over all entries.
    pub root: Digest,
}

/// A verification in progress: feed it the rows in their stored order, then [`finish`](Self::finish). Memory does not grow with the log.
pub struct LogCheck {
    /// Whom we trust, the oldest first.
    keys: Vec<NoteKey>,
    /// The newest of them that has signed a head which fits.
    newest: usize,
    /// Heads that a trusted key signed and that are not reached yet, by size.
    heads: BTreeMap<u64, Signed>,
    /// Heads that nobody whom we trust so far has signed.
    strange: Vec<Head>,
    /// Keys that an entry names, and its number; trusted once a head covers it.
    named: Vec<(u64, NoteKey)>,
    /// What the store keeps of the log's head, not reached yet.
    believed: Option<(u64, Digest)>,
    edge: Frontier,
    next: u64,
    time: Option<Timestamp>,
    findings: Vec<Finding>,
    more: usize,
    vouched: u64,
    fitting: usize,
}

/// A head by a trusted key.
struct Signed {
    root: Digest,
    source: String,
    /// Which of the trusted keys.
    by: usize,
}

impl LogCheck {
    /// Begins the log whose name is `key`'s, against `heads` in any order.
    pub fn new(key: &NoteKey, heads: impl IntoIterator<Item = Head>) -> Self {
        Self::trusting(std::slice::from_ref(key), heads)
    }

    /// The same with several keys that are trusted from the begin, the oldest first; without one, no head counts.
    pub fn trusting(keys: &[NoteKey], heads: impl IntoIterator<Item = Head>) -> Self {
        let mut check = Self {
            keys: keys.to_vec(),
            newest: 0,
            heads: BTreeMap::new(),
            believed: None,
            strange: Vec::new(),
            named: Vec::new(),
            edge: Frontier::new(),
            next: 0,
            time: None,
            findings: Vec::new(),
            more: 0,
            vouched: 0,
            fitting: 0,
        };
        heads.into_iter().for_each(|head| check.head(head));
        check.reached();
        check
    }

    /// What the store keeps of the log's head; nobody has signed it. Before the first row.
    pub fn believes(&mut self, size: u64, root: Digest) {
        self.believed = Some((size, root));
    }

    /// The next entry.
    pub fn row(&mut self, row: &Row) {
        let seq = row.seq;
        if seq > self.next {
            self.found(Finding::Gap { expected: self.next, found: seq });
        } else if seq < self.next {
            self.found(Finding::Order { expected: self.next, found: seq });
        }
        self.next = seq.saturating_add(1);
        self.read(seq, &row.bytes);
        let leaf = leaf_hash(&row.bytes);
        if row.leaf.is_some_and(|stored| stored != leaf) {
            self.found(Finding::Changed { seq });
        }
        self.edge.append(leaf);
        self.reached();
    }

    /// The keys that are trusted by now, the oldest first.
    pub fn keys(&self) -> &[NoteKey] {
        &self.keys
    }

    /// All entries were fed.
    pub fn finish(mut self) -> Verdict {
        let entries = self.edge.size();
        for Head { source, note } in std::mem::take(&mut self.strange) {
            if let Err(why) = self.opened(&note) {
                self.found(Finding::Head { source, why });
            }
        }
        let left: Vec<_> = std::mem::take(&mut self.heads).into_iter().collect();
        if let Some((size, _)) = self.believed.take() {
            self.found(Finding::Belief { size });
        }
        let none = self.fitting == 0 && left.is_empty() && self.findings.is_empty();
        for (size, Signed { source, .. }) in left {
            self.found(Finding::Truncated { size, entries, source });
        }
        if none && entries > 0 {
            self.found(Finding::NoHead);
        }
        if self.more > 0 {
            self.findings.push(Finding::More(self.more));
        }
        Verdict { findings: self.findings, entries, vouched: self.vouched, heads: self.fitting, root: self.edge.root() }
    }

    /// The checkpoint in `note` and which trusted key signed it.
    fn opened(&self, note: &str) -> Result<(Checkpoint, usize), NoteError> {
        let mut last = Err(NoteError::Key);
        for (by, key) in self.keys.iter().enumerate().rev() {
            match Checkpoint::open(note, key) {
                Ok(head) => return Ok((head, by)),
                // Another of the keys may have signed it.
                Err(why @ NoteError::Unsigned(_)) => last = Err(why),
                Err(why) => return Err(why),
            }
        }
        last
    }

    fn head(&mut self, head: Head) {
        match self.opened(&head.note) {
            // Perhaps the log itself names who signed it.
            Err(NoteError::Unsigned(_)) => self.strange.push(head),
            Err(why) => self.found(Finding::Head { source: head.source, why }),
            Ok((Checkpoint { size, root, .. }, by)) => match self.heads.get(&size) {
                Some(other) if other.root != root => self.found(Finding::Split { size, source: head.source }),
                Some(_) => {}
                None => {
                    self.heads.insert(size, Signed { root, source: head.source, by });
                }
            },
        }
    }

    /// Compares the root with the head over exactly the entries so far, if there is one.
    fn reached(&mut self) {
        let size = self.edge.size();
        if let Some((_, root)) = self.believed.take_if(|(believed, _)| *believed == size)
            && root != self.edge.root()
        {
            self.found(Finding::Belief { size });
        }
        let Some(Signed { root, source, by }) = self.heads.remove(&size) else { return };
        if root != self.edge.root() {
            return self.found(Finding::Root { size, since: self.vouched, source });
        }
        if by < self.newest {
            return self.found(Finding::Replaced { size, source });
        }
        self.newest = by;
        self.vouched = size;
        self.fitting += 1;
        self.follow(size);
    }

    /// Trusts the keys that are named in the entries under a head that fits, and looks at the heads that they signed.
    fn follow(&mut self, size: u64) {
        let (covered, later) = std::mem::take(&mut self.named).into_iter().partition(|(seq, _)| *seq < size);
        self.named = later;
        let covered: Vec<(u64, NoteKey)> = covered;
        if covered.is_empty() {
            return;
        }
        self.keys.extend(covered.into_iter().map(|(_, key)| key));
        let reached = self.edge.size();
        for head in std::mem::take(&mut self.strange) {
            // A head that this key signed over fewer entries came before anybody could trust it.
            let late = self.opened(&head.note).is_ok_and(|(checkpoint, _)| checkpoint.size < reached);
            if late {
                let source = head.source;
                self.found(Finding::Head { source, why: NoteError::Unsigned("a key that was trusted then".into()) });
            } else {
                self.head(head);
            }
        }
    }

    /// The log names the key that signs from here on.
    fn names(&mut self, seq: u64, key: &str) {
        if let Ok(key) = key.parse::<NoteKey>()
            && self.keys.first().is_some_and(|first| first.name() == key.name())
            && !self.keys.contains(&key)
            && self.named.iter().all(|(_, named)| *named != key)
        {
            self.named.push((seq, key));
        }
    }

    fn read(&mut self, seq: u64, bytes: &[u8]) {
        let value = match canonical::parse(bytes) {
            Ok(value) => value,
            Err(why) => return self.found(Finding::Unreadable { seq, why: why.to_string() }),
        };
        // Not `Entry::parse`: a newer version's events must verify here too.
        let (number, node) = (value.get("seq").and_then(Value::as_u64), value.get("node").and_then(Value::as_str));
        let (Some(number), Some(node)) = (number, node) else {
            return self.found(Finding::Unreadable { seq, why: "it has no number or no node".into() });
        };
        if number != seq || self.keys.first().is_none_or(|key| key.name() != node) {
            let node = crate::access::names::escaped(node);
            self.found(Finding::Misplaced { seq, says: format!("entry {number} of {node}") });
        }
        let Some(time) = value.get("time_us").and_then(Value::as_i64).map(Timestamp::from_micros) else {
            return self.found(Finding::Unreadable { seq, why: "it has no time".into() });
        };
        if self.time.is_some_and(|before| time < before) {
            self.found(Finding::Time { seq });
        }
        self.time = Some(time);
        if value.get("event").and_then(Value::as_str) == Some(KEY_CHANGED)
            && let Some(key) = value.get("data").and_then(|data| data.get("checkpoint_key")).and_then(Value::as_str)
        {
            self.names(seq, key);
        }
    }

    fn found(&mut self, finding: Finding) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}

/// Verifies a whole log at once: `rows` in their stored order, `heads` in any order, all of the log named by `key`.
pub fn verify(key: &NoteKey, rows: impl IntoIterator<Item = Row>, heads: impl IntoIterator<Item = Head>) -> Verdict {
    let mut check = LogCheck::new(key, heads);
    rows.into_iter().for_each(|row| check.row(&row));
    check.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::names::Actor;
    use crate::audit::entry::Entry;
    use crate::audit::event::Event;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn pair() -> (Ed25519KeyPair, NoteKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let key = NoteKey::new("bastion-1", pair.public_key().as_ref().try_into().unwrap()).unwrap();
        (pair, key)
    }

    fn head(size: u64, root: Digest) -> Head {
        let (pair, key) = pair();
        let checkpoint = Checkpoint { origin: "bastion-1".into(), size, root };
        let note = checkpoint.sign(&key, |bytes| Ok::<_, Infallible>(pair.sign(bytes).as_ref().try_into().unwrap()));
        Head { source: "store".into(), note: note.unwrap().to_string() }
    }

    /// A log of `size` entries with a head after every third and at its end.
    fn log(size: u64) -> (Vec<Row>, Vec<Head>) {
        let mut edge = Frontier::new();
        let (mut rows, mut heads) = (Vec::new(), Vec::new());
        for seq in 0..size {
            let time = Timestamp::from_micros(1_795_298_820_000_000 + seq as i64);
            let event = Event::ClockAlarm { jump_ms: seq as i64 };
            let bytes = Entry { seq, time, node: "bastion-1".into(), actor: Actor::System, event }.to_bytes().unwrap();
            let leaf = edge.append(leaf_hash(&bytes))[0].1;
            rows.push(Row { seq, bytes, leaf: Some(leaf) });
            if (seq + 1) % 3 == 0 || seq + 1 == size {
                heads.push(head(seq + 1, edge.root()));
            }
        }
        (rows, heads)
    }

    fn findings(rows: Vec<Row>, heads: Vec<Head>) -> Vec<Finding> {
        verify(&pair().1, rows, heads).findings
    }

    #[test]
    fn a_true_log_verifies() {
        let (rows, heads) = log(10);
        let verdict = verify(&pair().1, rows, heads);
        assert_eq!((verdict.findings, verdict.entries, verdict.vouched, verdict.heads), (vec![], 10, 10, 4));
        assert_eq!(verify(&pair().1, [], []).findings, []);
        let (rows, _) = log(2);
        assert_eq!(findings(rows, vec![]), [Finding::NoHead]);
    }

    #[test]
    fn a_missing_doubled_or_swapped_entry_is_found() {
        let (mut rows, heads) = log(10);
        rows.remove(4);
        let found = findings(rows, heads);
        assert_eq!(found[0], Finding::Gap { expected: 4, found: 5 });
        assert!(found.contains(&Finding::Root { size: 6, since: 3, source: "store".into() }));
        assert!(matches!(found.last(), Some(Finding::Truncated { size: 10, entries: 9, .. })));

        let (mut rows, heads) = log(10);
        rows.swap(4, 5);
        assert!(findings(rows, heads).contains(&Finding::Order { expected: 6, found: 4 }));

        // Swapped and renumbered by whoever holds the database, rows of the tree as well.
        let (mut rows, heads) = log(10);
        rows.swap(3, 4);
        (rows[3].seq, rows[4].seq) = (3, 4);
        let found = findings(rows, heads);
        assert!(matches!(&found[0], Finding::Misplaced { seq: 3, says } if says == "entry 4 of bastion-1"));
        assert!(found.contains(&Finding::Time { seq: 4 }));
        assert!(found.contains(&Finding::Root { size: 6, since: 3, source: "store".into() }));
    }

    #[test]
    fn a_truncated_log_is_found_by_a_head_that_left() {
        let (mut rows, heads) = log(10);
        rows.truncate(9);
        let outside = vec![heads[3].clone()];
        assert_eq!(findings(rows, outside), [Finding::Truncated { size: 10, entries: 9, source: "store".into() }]);
    }

    #[test]
    fn lying_heads_are_found() {
        let (rows, mut heads) = log(6);
        heads.push(head(6, Digest::of(b"another history")));
        assert_eq!(findings(rows.clone(), heads), [Finding::Split { size: 6, source: "store".into() }]);
        let forged = Head { source: "x".into(), note: log(6).1[1].note.replace("\n6\n", "\n5\n") };
        let found = findings(rows, vec![forged]);
        assert_eq!(found, [Finding::Head { source: "x".into(), why: NoteError::Forged("bastion-1".into()) }]);
    }

    #[test]
    fn a_head_that_the_store_keeps_wrongly_is_found() {
        let (pair, heads) = (pair().1, log(4).1);
        let with = |size: u64, root: Digest| {
            let mut check = LogCheck::new(&pair, heads.clone());
            check.believes(size, root);
            log(4).0.iter().for_each(|row| check.row(row));
            check.finish().findings
        };
        let root = verify(&pair, log(4).0, heads.clone()).root;
        assert_eq!(with(4, root), []);
        assert_eq!(with(3, verify(&pair, log(3).0, []).root), [], "the log has grown since");
        assert_eq!(with(4, Digest::of(b"x")), [Finding::Belief { size: 4 }]);
        assert_eq!(with(5, root), [Finding::Belief { size: 5 }]);
    }

    #[test]
    fn findings_have_a_bound() {
        let (rows, heads) = log(1);
        let rows = (0..500).map(|_| rows[0].clone());
        let found = findings(rows.collect(), heads);
        assert_eq!(found.len(), MOST_FINDINGS + 1);
        assert!(matches!(found.last(), Some(Finding::More(_))));
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_found(size in 1u64..12, at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), flip in 1u8..) {
            let (mut rows, heads) = log(size);
            let seq = at.index(rows.len());
            let place = byte.index(rows[seq].bytes.len());
            rows[seq].bytes[place] ^= flip;
            let found = findings(rows.clone(), heads.clone());
            let named = found.contains(&Finding::Changed { seq: seq as u64 });
            prop_assert!(named);
            // Also when the tree's own rows were made to fit.
            rows.iter_mut().for_each(|row| row.leaf = None);
            let roots = |f: &Finding| matches!(f, Finding::Root { size, since, .. } if *since <= seq as u64 && (seq as u64) < *size);
            let noticed = findings(rows, heads).iter().any(roots);
            prop_assert!(noticed);
        }
    }
}
