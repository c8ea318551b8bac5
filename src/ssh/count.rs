//! How many of something are going on, by whom or where; one more is let in only below a bound.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by key.
#[derive(Debug)]
pub(crate) struct Counts<K: Eq + Hash>(Mutex<HashMap<K, usize>>);

impl<K: Eq + Hash> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Counts<K> {
    /// Counts one in, if there are fewer than `most` under `key` and fewer than `all` in all. Dropping the result counts it out.
    pub(crate) fn enter(self: &Arc<Self>, key: K, most: usize, all: usize) -> Option<Counted<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = counts.get(&key).copied().unwrap_or(0);
        if here >= most || counts.values().sum::<usize>() >= all {
            return None;
        }
        counts.insert(key.clone(), here + 1);
        Some(Counted { counts: Arc::clone(self), key })
    }
}

/// One that is counted in.
#[derive(Debug)]
pub(crate) struct Counted<K: Eq + Hash> {
    counts: Arc<Counts<K>>,
    key: K,
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 subscriber has for himself.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_and_come_back() {
        let counts = Arc::new(Counts::default());
        let first = counts.enter("a", 2, 3);
        let _second = counts.enter("a", 2, 3);
        assert!(first.is_some() && counts.enter("a", 2, 3).is_none());
        let _third = counts.enter("b", 2, 3);
        assert!(counts.enter("c", 2, 3).is_none());
        drop(first);
        assert!(counts.enter("a", 2, 3).is_some());
    }

    #[test]
    fn one_subscriber_is_one_address() {
        let same = |a: &str, b: &str| neighbourhood(a.parse().unwrap()) == neighbourhood(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:2") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }
}
