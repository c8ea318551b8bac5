//! Entries of a log that left it, with the proof that they stand in it: for each the path from its leaf to the root that a checkpoint signs
//! (RFC 9162 2.1.3). Nothing else of the log is needed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, NoteKey};
use super::digest::Digest;
use super::entry::Entry;
use super::tree::{leaf_hash, verify_inclusion};

/// No log needs longer paths.
const LONGEST_PATH: usize = 64;

/// The proofs of some entries of one log, under one head of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proofs {
    /// Which log: the node that writes it.
    pub origin: String,
    /// Entries under the head.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// One for each entry, in their order.
    pub entries: Vec<Proof>,
}

/// The proof of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Its number in the log.
    pub seq: u64,
    /// SHA-256 of a zero byte and its bytes.
    pub leaf: Digest,
    /// From the leaf upwards: what each step is hashed with.
    pub path: Vec<Digest>,
}

impl Proofs {
    /// Reads them back.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if read.entries.iter().any(|proof| proof.path.len() > LONGEST_PATH) { Err("a path that is too long".into()) } else { Ok(read) }
    }

    /// Whether `note` is a head of this log by one of `keys`, and proves each of `entries` (bytes by number); what does not fit. Gives the
    /// entries that are proven.
    pub fn check(&self, note: &str, keys: &[NoteKey], entries: &BTreeMap<u64, Vec<u8>>) -> (Vec<Entry>, Vec<String>) {
        let (mut proven, mut wrong) = (Vec::new(), Vec::new());
        let named = keys.iter().filter_map(|key| NoteKey::new(&self.origin, *key.public()).ok());
        match named.map(|key| Checkpoint::open(note, &key)).reduce(|one, other| one.or(other)) {
            None => wrong.push(format!("the checkpoint of {} cannot be checked: no key", self.origin)),
            Some(Err(why)) => wrong.push(format!("the checkpoint of {} cannot be trusted: {why}", self.origin)),
            Some(Ok(head)) if (head.size, head.root) != (self.size, self.root) => {
                wrong.push(format!("the proofs of {} are for another head than its checkpoint", self.origin));
            }
            Some(Ok(_)) => {}
        }
        if !self.entries.iter().map(|proof| &proof.seq).eq(entries.keys()) {
            wrong.push(format!("the proofs of {} are not for the entries that are there", self.origin));
        }
        for proof in &self.entries {
            let Some(bytes) = entries.get(&proof.seq) else { continue };
            let leaf = leaf_hash(bytes);
            let stands = leaf == proof.leaf && verify_inclusion(&leaf, proof.seq, self.size, &proof.path, &self.root).is_ok();
            match Entry::parse(bytes) {
                _ if !stands => wrong.push(format!("entry {} of {} is not in the log that was signed", proof.seq, self.origin)),
                Ok(entry) if entry.node != self.origin || entry.seq != proof.seq => {
                    wrong.push(format!("entry {} of {} says that it is another", proof.seq, self.origin));
                }
                Ok(entry) => proven.push(entry),
                // A newer version's events are proven too.
                Err(_) => {}
            }
        }
        (proven, wrong)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;
    use crate::access::names::Actor;
    use crate::access::time::Timestamp;
    use crate::audit::event::Event;
    use crate::audit::tree::{Frontier, NodeId, inclusion};

    fn made() -> (Proofs, String, NoteKey, BTreeMap<u64, Vec<u8>>) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let key = NoteKey::new("n", pair.public_key().as_ref().try_into().unwrap()).unwrap();
        let (mut edge, mut nodes, mut all) = (Frontier::new(), BTreeMap::<NodeId, Digest>::new(), BTreeMap::new());
        for seq in 0..11 {
            let event = Event::ClockAlarm { jump_ms: seq };
            let (seq, time) = (seq as u64, Timestamp::from_micros(seq));
            let bytes = Entry { seq, time, node: "n".into(), actor: Actor::System, event }.to_bytes().unwrap();
            nodes.extend(edge.append(leaf_hash(&bytes)));
            all.insert(seq, bytes);
        }
        let head = Checkpoint { origin: "n".into(), size: 11, root: edge.root() };
        let note = head.sign(&key, |bytes| Ok::<_, Infallible>(pair.sign(bytes).as_ref().try_into().unwrap())).unwrap().to_string();
        let entries: BTreeMap<u64, Vec<u8>> = all.into_iter().filter(|(seq, _)| [2, 3, 10].contains(seq)).collect();
        let proof = |seq: &u64| Proof { seq: *seq, leaf: leaf_hash(&entries[seq]), path: inclusion(*seq, 11, &nodes).unwrap() };
        let proofs = Proofs { origin: "n".into(), size: 11, root: edge.root(), entries: entries.keys().map(proof).collect() };
        (proofs, note, key, entries)
    }

    #[test]
    fn entries_are_proven_and_lies_are_not() {
        let (proofs, note, key, entries) = made();
        let keys = [key];
        let (proven, wrong) = proofs.check(&note, &keys, &entries);
        assert_eq!((proven.len(), wrong), (3, vec![]));
        let again = Proofs::parse(&serde_json::to_vec(&proofs).unwrap()).unwrap();
        assert_eq!(again, proofs);

        let mut changed = entries.clone();
        changed.get_mut(&3).unwrap()[20] ^= 1;
        assert_eq!(proofs.check(&note, &keys, &changed).1, ["entry 3 of n is not in the log that was signed"]);
        let mut fewer = entries.clone();
        fewer.remove(&2);
        assert_eq!(proofs.check(&note, &keys, &fewer).1, ["the proofs of n are not for the entries that are there"]);
        let mut path = proofs.clone();
        path.entries[1].path.pop();
        assert!(!path.check(&note, &keys, &entries).1.is_empty());
        let other = NoteKey::new("n", [7; 32]).unwrap();
        assert!(proofs.check(&note, &[other], &entries).1[0].contains("cannot be trusted"));
        assert!(!proofs.check(&note, &[], &entries).1.is_empty());
        let older = Proofs { size: 10, ..proofs };
        assert!(older.check(&note, &keys, &entries).1[0].contains("another head"));
    }
}
