//! How much may be recorded: of one session, and of one user within a day. What is too much ends the session that wanted it, and no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::access::names::User;
use crate::access::refusal::Refusal;
use crate::access::size::Size;

/// The bounds, and what the users who are inside have spent of theirs.
#[derive(Debug)]
pub(crate) struct Quotas {
    session: Size,
    user: Size,
    // A short lock when a session begins or ends.
    inside: Mutex<HashMap<User, Arc<AtomicU64>>>,
}

/// What one session may still have recorded.
#[derive(Debug)]
pub(crate) struct Quota {
    quotas: Arc<Quotas>,
    user: User,
    own: u64,
    /// Shared by all sessions of the user.
    all: Arc<AtomicU64>,
}

impl Quotas {
    /// So many bytes for one session, and for all of one user's of a day.
    pub(crate) fn new(session: Size, user: Size) -> Arc<Self> {
        Arc::new(Self { session, user, inside: Mutex::default() })
    }

    /// A session of `user` begins, whose earlier sessions of the day left `before` bytes of recordings. Refused where nothing is left.
    pub(crate) fn enter(self: &Arc<Self>, user: &User, before: u64) -> Result<Quota, Refusal> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let all = inside.get(user).cloned().unwrap_or_default();
        // Of those who are inside it is known better than the store knows it.
        if all.fetch_max(before, Ordering::Relaxed).max(before) >= self.user.as_bytes() {
            let refusal = Refusal::new(
                "over-budget",
                format!("your sessions of the last 24 hours have {} of recordings, and a user may have no more", self.user),
            );
            return Err(refusal.hint("wait until some of them are a day old, or ask an administrator (`recorded-per-user`)"));
        }
        inside.insert(user.clone(), Arc::clone(&all));
        Ok(Quota { quotas: Arc::clone(self), user: user.clone(), own: 0, all })
    }
}

impl Quota {
    /// So many bytes more are kept. An error says which bound is reached: they may not be shown.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), String> {
        self.own += bytes;
        let all = self.all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.own > self.quotas.session.as_bytes() {
            return Err(format!("this session has reached the {} that may be recorded of one", self.quotas.session));
        }
        if all > self.quotas.user.as_bytes() {
            return Err(format!("your sessions have reached the {} that may be recorded of a user in 24 hours", self.quotas.user));
        }
        Ok(())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let mut inside = self.quotas.inside.lock().unwrap_or_else(PoisonError::into_inner);
        // The list's and ours: the last session of this user is over, and what it left is the store's to tell.
        if Arc::strong_count(&self.all) <= 2 {
            inside.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        User::parse(name).unwrap()
    }

    #[test]
    fn a_session_has_its_bound_and_a_user_one_over_all_of_theirs() {
        let quotas = Quotas::new(Size::bytes(100), Size::bytes(150));
        let (alice, bob) = (user("alice"), user("bob"));
        let mut one = quotas.enter(&alice, 0).unwrap();
        assert!(one.take(100).is_ok());
        assert!(one.take(1).unwrap_err().contains("100B"));
        let mut two = quotas.enter(&alice, 0).unwrap();
        assert!(two.take(49).is_ok() && two.take(1).unwrap_err().contains("150B"));
        assert_eq!(quotas.enter(&alice, 0).unwrap_err().code, "over-budget");
        assert!(quotas.enter(&bob, 0).unwrap().take(99).is_ok(), "nobody else is touched");
        drop(one);
        assert!(quotas.enter(&alice, 0).is_err(), "one of hers goes on");
        drop(two);
        // From here on the store tells what was left.
        assert!(quotas.enter(&alice, 150).is_err());
        assert!(quotas.enter(&alice, 120).unwrap().take(31).is_err());
    }
}
