//! The Merkle tree of RFC 6962 over leaves that are only ever appended.
//!
//! Storage is rows `(level, index) -> hash` of perfect subtrees, level 0 being the leaves. The store keeps them; it asks which it needs
//! ([`root_nodes`], [`inclusion_nodes`], [`consistency_nodes`]), reads these rows in one go, and hands them back as [`Nodes`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::digest::Digest;

/// One perfect subtree: it covers the leaves from `index << level` to before `(index + 1) << level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// Height above the leaves, 0 to 63.
    pub level: u8,
    /// Place in its level, from 0.
    pub index: u64,
}

/// Stored hashes of perfect subtrees.
pub trait Nodes {
    /// The hash of one, if it is there.
    fn node(&self, id: NodeId) -> Option<Digest>;
}

impl Nodes for BTreeMap<NodeId, Digest> {
    fn node(&self, id: NodeId) -> Option<Digest> {
        self.get(&id).copied()
    }
}

/// What cannot be computed.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TreeError {
    /// A stored row is missing.
    #[error("the tree's row at level {} index {} is missing", .0.level, .0.index)]
    Missing(NodeId),
    /// A leaf or a size outside the tree.
    #[error("the tree of {size} entries does not reach {asked}")]
    Range {
        /// What was asked for.
        asked: u64,
        /// Leaves in the tree.
        size: u64,
    },
}

/// A proof that does not prove it.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the proof does not lead to this root")]
pub struct BadProof;

/// RFC 6962 2.1: the hash of a leaf.
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], bytes])
}

/// RFC 6962 2.1: the hash of an inner node.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root of the tree without leaves.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// The right edge of a tree: enough to append and to tell the root. The log's one writer keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// Perfect subtrees from left to right, the largest first; one for each bit that is set in `size`.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of a stored tree of `size` leaves; `nodes` must have [`root_nodes`] of it.
    pub fn restore(size: u64, nodes: &dyn Nodes) -> Result<Self, TreeError> {
        let peaks = peaks(size).into_iter().map(|id| nodes.node(id).ok_or(TreeError::Missing(id))).collect::<Result<_, _>>()?;
        Ok(Self { size, peaks })
    }

    /// Leaves in the tree.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of [`root_nodes`], in their order: what [`Frontier::restore`] needs.
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Appends a leaf by its hash. Returns the rows to store: the leaf's, and those of the perfect subtrees that it completes.
    pub fn append(&mut self, leaf: Digest) -> Vec<(NodeId, Digest)> {
        let mut id = NodeId { level: 0, index: self.size };
        let mut hash = leaf;
        let mut rows = vec![(id, hash)];
        while id.index & 1 == 1 {
            // An odd place has its left neighbour as the last peak.
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            id = NodeId { level: id.level + 1, index: id.index >> 1 };
            rows.push((id, hash));
        }
        self.peaks.push(hash);
        self.size += 1;
        rows
    }

    /// The root.
    pub fn root(&self) -> Digest {
        let mut from_right = self.peaks.iter().rev();
        let Some(last) = from_right.next() else { return empty_root() };
        from_right.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// The rows that [`Frontier::restore`] and [`root_at`] of `size` leaves need.
pub fn root_nodes(size: u64) -> Vec<NodeId> {
    peaks(size)
}

/// The root that the tree had when it had `size` leaves.
pub fn root_at(size: u64, nodes: &dyn Nodes) -> Result<Digest, TreeError> {
    Frontier::restore(size, nodes).map(|edge| edge.root())
}

/// The rows that [`inclusion`] needs.
pub fn inclusion_nodes(index: u64, size: u64) -> Result<BTreeSet<NodeId>, TreeError> {
    asked(|nodes| inclusion(index, size, nodes).map(drop))
}

/// RFC 6962 2.1.1: the audit path of leaf `index` in the tree of `size` leaves, from the leaf upwards.
pub fn inclusion(index: u64, size: u64, nodes: &dyn Nodes) -> Result<Vec<Digest>, TreeError> {
    if index >= size {
        return Err(TreeError::Range { asked: index, size });
    }
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let split = from + half(to - from);
        if index < split {
            path.push(subtree(split, to, nodes)?);
            to = split;
        } else {
            path.push(subtree(from, split, nodes)?);
            from = split;
        }
    }
    path.reverse();
    Ok(path)
}

/// The rows that [`consistency`] needs.
pub fn consistency_nodes(old: u64, size: u64) -> Result<BTreeSet<NodeId>, TreeError> {
    asked(|nodes| consistency(old, size, nodes).map(drop))
}

/// RFC 6962 2.1.2: the proof that the tree of `size` leaves begins with the tree of `old` leaves. Empty for `old` 0 or `size`.
pub fn consistency(old: u64, size: u64, nodes: &dyn Nodes) -> Result<Vec<Digest>, TreeError> {
    if old > size {
        return Err(TreeError::Range { asked: old, size });
    }
    if old == 0 || old == size {
        return Ok(Vec::new());
    }
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    while old != to {
        let split = from + half(to - from);
        if old <= split {
            proof.push(subtree(split, to, nodes)?);
            to = split;
        } else {
            proof.push(subtree(from, split, nodes)?);
            from = split;
        }
    }
    // The old tree's root itself is left out: who checks the proof has it. It is whole only if nothing stands left of it.
    if from > 0 {
        proof.push(subtree(from, to, nodes)?);
    }
    proof.reverse();
    Ok(proof)
}

/// RFC 9162 2.1.3.2: whether `path` proves that `leaf` is number `index` of the `size` leaves under `root`.
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, path: &[Digest], root: &Digest) -> Result<(), BadProof> {
    if index >= size {
        return Err(BadProof);
    }
    let (mut place, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for step in path {
        if last == 0 {
            return Err(BadProof);
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(step, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        place >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(BadProof) }
}

/// RFC 9162 2.1.4.2: whether `proof` proves that the tree of `new_size` leaves with `new_root` begins with the one of `old_size` leaves
/// with `old_root`.
pub fn verify_consistency(old_size: u64, old_root: &Digest, new_size: u64, new_root: &Digest, proof: &[Digest]) -> Result<(), BadProof> {
    let ok = |yes: bool| if yes { Ok(()) } else { Err(BadProof) };
    if old_size == 0 {
        return ok(proof.is_empty() && *old_root == empty_root());
    }
    if old_size >= new_size {
        return ok(old_size == new_size && proof.is_empty() && old_root == new_root);
    }
    let mut steps = proof.iter();
    // A whole old tree is its own first step.
    let first = if old_size.is_power_of_two() { *old_root } else { *steps.next().ok_or(BadProof)? };
    let (mut place, mut last) = (old_size - 1, new_size - 1);
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (first, first);
    for step in steps {
        if last == 0 {
            return Err(BadProof);
        }
        if place & 1 == 1 || place == last {
            old = node_hash(step, &old);
            new = node_hash(step, &new);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, step);
        }
        place >>= 1;
        last >>= 1;
    }
    ok(last == 0 && old == *old_root && new == *new_root)
}

/// The largest power of two below `size`; `size` is at least 2.
fn half(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// The perfect subtrees that make a tree of `size` leaves, from left to right.
fn peaks(size: u64) -> Vec<NodeId> {
    let set = (0..64u8).rev().filter(|level| size >> level & 1 == 1);
    // Everything left of a peak is a multiple of its width.
    set.map(|level| NodeId { level, index: (size >> level) - 1 }).collect()
}

/// The hash over the leaves `from` to before `to`, a range that RFC 6962's splitting can produce.
fn subtree(from: u64, to: u64, nodes: &dyn Nodes) -> Result<Digest, TreeError> {
    let width = to - from;
    if width.is_power_of_two() {
        let level = width.trailing_zeros() as u8;
        let id = NodeId { level, index: from >> level };
        return nodes.node(id).ok_or(TreeError::Missing(id));
    }
    let split = from + half(width);
    Ok(node_hash(&subtree(from, split, nodes)?, &subtree(split, to, nodes)?))
}

/// Runs `work` over rows that are only noted down.
fn asked(work: impl FnOnce(&dyn Nodes) -> Result<(), TreeError>) -> Result<BTreeSet<NodeId>, TreeError> {
    struct Asked(RefCell<BTreeSet<NodeId>>);
    impl Nodes for Asked {
        fn node(&self, id: NodeId) -> Option<Digest> {
            self.0.borrow_mut().insert(id);
            Some(empty_root())
        }
    }
    let seen = Asked(RefCell::default());
    work(&seen)?;
    Ok(seen.0.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
    use proptest::prelude::*;
    use sha2::Sha256;

    fn leaf(n: u64) -> Vec<u8> {
        format!("leaf {n}").into_bytes()
    }

    fn grown(size: u64) -> (Frontier, BTreeMap<NodeId, Digest>) {
        let mut edge = Frontier::new();
        let mut rows = BTreeMap::new();
        for n in 0..size {
            rows.extend(edge.append(leaf_hash(&leaf(n))));
        }
        (edge, rows)
    }

    fn oracle(size: u64) -> MemoryBackedTree<Sha256, Vec<u8>> {
        let mut tree = MemoryBackedTree::new();
        (0..size).for_each(|n| tree.push(leaf(n)));
        tree
    }

    fn root_of(digest: &Digest, size: u64) -> RootHash<Sha256> {
        RootHash::new((*digest.as_bytes()).into(), size)
    }

    #[test]
    fn the_empty_tree_and_a_missing_row() {
        assert_eq!(Frontier::new().root(), empty_root());
        assert_eq!(root_at(0, &BTreeMap::new()), Ok(empty_root()));
        let (_, mut rows) = grown(3);
        rows.remove(&NodeId { level: 0, index: 2 });
        assert_eq!(root_at(3, &rows), Err(TreeError::Missing(NodeId { level: 0, index: 2 })));
        assert_eq!(inclusion(3, 3, &rows), Err(TreeError::Range { asked: 3, size: 3 }));
        assert!(verify_inclusion(&empty_root(), 0, 0, &[], &empty_root()).is_err());
    }

    #[test]
    fn very_large_trees_do_not_overflow() {
        assert_eq!(root_nodes(u64::MAX).len(), 64);
        assert!(inclusion_nodes(u64::MAX - 1, u64::MAX).is_ok());
        assert!(consistency_nodes(u64::MAX - 1, u64::MAX).is_ok());
    }

    proptest! {
        #[test]
        fn roots_and_edges_agree_with_another_implementation(size in 0u64..300, old in 0u64..300) {
            let old = old.min(size);
            let (edge, rows) = grown(size);
            prop_assert_eq!(root_of(&edge.root(), size), oracle(size).root());
            prop_assert_eq!(root_of(&root_at(old, &rows).unwrap(), old), oracle(old).root());
            prop_assert_eq!(Frontier::restore(size, &rows).unwrap(), edge);
            // A perfect subtree is one row: no tree has more than two rows a leaf.
            prop_assert!(rows.len() as u64 <= 2 * size);
        }

        #[test]
        fn inclusion_agrees_with_another_implementation(size in 1u64..300, index in 0u64..300) {
            let index = index % size;
            let (edge, rows) = grown(size);
            let needed = inclusion_nodes(index, size).unwrap();
            let only: BTreeMap<_, _> = rows.into_iter().filter(|(id, _)| needed.contains(id)).collect();
            let path = inclusion(index, size, &only).unwrap();
            let theirs = oracle(size).prove_inclusion(index as usize);
            let ours = InclusionProof::<Sha256>::try_from_bytes(path.iter().flat_map(|d| *d.as_bytes()).collect()).unwrap();
            prop_assert_eq!(ours.as_bytes(), theirs.as_bytes());
            let hash = leaf_hash(&leaf(index));
            prop_assert!(verify_inclusion(&hash, index, size, &path, &edge.root()).is_ok());
            prop_assert!(verify_inclusion(&leaf_hash(b"other"), index, size, &path, &edge.root()).is_err());
            if size > 1 {
                prop_assert!(verify_inclusion(&hash, (index + 1) % size, size, &path, &edge.root()).is_err());
                prop_assert!(verify_inclusion(&hash, index, size, &path[1..], &edge.root()).is_err());
            }
        }

        #[test]
        fn consistency_agrees_with_another_implementation(size in 1u64..300, old in 0u64..300) {
            let old = old % (size + 1);
            let (edge, rows) = grown(size);
            let needed = consistency_nodes(old, size).unwrap();
            let only: BTreeMap<_, _> = rows.iter().filter(|(id, _)| needed.contains(id)).map(|(id, d)| (*id, *d)).collect();
            let proof = consistency(old, size, &only).unwrap();
            let old_root = root_at(old, &rows).unwrap();
            prop_assert!(verify_consistency(old, &old_root, size, &edge.root(), &proof).is_ok());
            if old > 0 && old < size {
                let theirs = oracle(size).prove_consistency((size - old) as usize);
                let ours = ConsistencyProof::<Sha256>::try_from_bytes(proof.iter().flat_map(|d| *d.as_bytes()).collect()).unwrap();
                prop_assert_eq!(ours.as_bytes(), theirs.as_bytes());
                prop_assert!(verify_consistency(old, &leaf_hash(b"other"), size, &edge.root(), &proof).is_err());
                prop_assert!(verify_consistency(old, &old_root, size, &leaf_hash(b"other"), &proof).is_err());
                prop_assert!(verify_consistency(old, &old_root, size, &edge.root(), &proof[1..]).is_err());
            }
        }
    }
}
