//! A file under version control becomes what is: whole, with an event for each change, or not at all.

use std::collections::BTreeMap;

/// One thing that such a file makes different. Neither side is none at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<T> {
    /// As it is; none where it is new.
    pub before: Option<T>,
    /// As it shall be; none where it goes.
    pub after: Option<T>,
}

/// What differs between what `is` and what `shall` be, by `key`: what goes first (only with `prune`), then the rest in the order of the
/// keys.
pub fn changes<T: PartialEq, K: Ord>(is: Vec<T>, shall: Vec<T>, key: impl Fn(&T) -> K, prune: bool) -> Vec<Change<T>> {
    let mut known: BTreeMap<K, T> = is.into_iter().map(|one| (key(&one), one)).collect();
    let wanted: BTreeMap<K, T> = shall.into_iter().map(|one| (key(&one), one)).collect();
    let mut kept = Vec::new();
    for (name, after) in wanted {
        let before = known.remove(&name);
        if before.as_ref() != Some(&after) {
            kept.push(Change { before, after: Some(after) });
        }
    }
    let gone = known.into_values().filter(|_| prune).map(|before| Change { before: Some(before), after: None });
    gone.chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_a_change() {
        let (is, shall) = (vec![("a", 1), ("b", 1), ("d", 1)], vec![("d", 1), ("c", 1), ("b", 2)]);
        let differs = |prune| changes(is.clone(), shall.clone(), |one| one.0, prune);
        let kept = [Change { before: Some(("b", 1)), after: Some(("b", 2)) }, Change { before: None, after: Some(("c", 1)) }];
        assert_eq!(differs(false), kept);
        let gone = Change { before: Some(("a", 1)), after: None };
        assert_eq!(differs(true), [gone, kept[0].clone(), kept[1].clone()]);
    }
}
