//! How much may be recorded: of one session, and of one user within a day. What is too much ends the session that wanted it, and no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::access::names::User;
use crate::access::refusal::Refusal;
use crate::access::size::Size;
use crate::recording::Reached;

/// The bounds, and what the users who are inside have spent of theirs.
#[derive(Debug)]
pub(crate) struct Quotas {
    session: Size,
    user: Size,
    // A short lock when a session begins.
    users: Mutex<HashMap<User, Weak<Spent>>>,
}

/// What a user's sessions have spent, as long as one of them goes on.
#[derive(Debug, Default)]
struct Spent {
    /// Of those that are over: what the store told when it was last asked, and what ended since.
    over: AtomicU64,
    /// Of those that go on: the store does not know it yet.
    live: AtomicU64,
    /// Of all that ended since this is remembered.
    left: AtomicU64,
}

/// The store is being asked what a user's sessions of the day left. What ends meanwhile it may tell or not.
#[derive(Debug)]
pub(crate) struct Look {
    spent: Arc<Spent>,
    left: u64,
}

/// What one session may still have recorded. To be held until the store knows what the session left.
#[derive(Debug)]
pub(crate) struct Quota {
    quotas: Arc<Quotas>,
    own: u64,
    /// Shared by all sessions of the user.
    spent: Arc<Spent>,
}

impl Quotas {
    /// So many bytes for one session, and for all of one user's of a day.
    pub(crate) fn new(session: Size, user: Size) -> Arc<Self> {
        Arc::new(Self { session, user, users: Mutex::default() })
    }

    /// The store is asked next what earlier sessions of `user` left.
    pub(crate) fn look(&self, user: &User) -> Look {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, spent| spent.strong_count() > 0);
        let spent = users.get(user).and_then(Weak::upgrade).unwrap_or_default();
        users.insert(user.clone(), Arc::downgrade(&spent));
        Look { left: spent.left.load(Ordering::SeqCst), spent }
    }

    /// A session begins, of a user whose earlier ones of the day left `before` bytes of recordings. Refused where nothing is left.
    pub(crate) fn enter(self: &Arc<Self>, Look { spent, left }: Look, before: u64) -> Result<Quota, Refusal> {
        // What ended while the store was asked counts perhaps twice, until it is asked again; never not at all.
        let over = before.saturating_add(spent.left.load(Ordering::SeqCst) - left);
        spent.over.store(over, Ordering::SeqCst);
        if over.saturating_add(spent.live.load(Ordering::SeqCst)) >= self.user.as_bytes() {
            let refusal = Refusal::new(
                "over-budget",
                format!("your sessions of the last 24 hours have {} of recordings, and a user may have no more", self.user),
            );
            return Err(refusal.hint("wait until some of them are a day old, or ask an administrator (`recorded-per-user`)"));
        }
        Ok(Quota { quotas: Arc::clone(self), own: 0, spent })
    }
}

impl Quota {
    /// So many bytes more are kept. An error says which bound is reached: they may not be shown.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), Reached> {
        self.own += bytes;
        let live = self.spent.live.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if self.own > self.quotas.session.as_bytes() {
            let words = format!("this session has reached the {} that may be recorded of one", self.quotas.session);
            return Err(Reached { words, next: "begin another one" });
        }
        if live.saturating_add(self.spent.over.load(Ordering::SeqCst)) > self.quotas.user.as_bytes() {
            let words = format!("your sessions have reached the {} that may be recorded of a user in 24 hours", self.quotas.user);
            return Err(Reached { words, next: "wait until some of them are a day old, or ask an administrator" });
        }
        Ok(())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.spent.over.fetch_add(self.own, Ordering::SeqCst);
        self.spent.left.fetch_add(self.own, Ordering::SeqCst);
        self.spent.live.fetch_sub(self.own, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(quotas: &Arc<Quotas>, name: &str, before: u64) -> Result<Quota, Refusal> {
        quotas.enter(quotas.look(&User::parse(name).unwrap()), before)
    }

    #[test]
    fn a_session_has_its_bound_and_a_user_one_over_all_of_theirs() {
        let quotas = Quotas::new(Size::bytes(100), Size::bytes(150));
        let mut one = enter(&quotas, "alice", 0).unwrap();
        assert!(one.take(100).is_ok());
        assert!(one.take(1).unwrap_err().words.contains("100B"));
        let mut two = enter(&quotas, "alice", 0).unwrap();
        assert!(two.take(49).is_ok() && two.take(1).unwrap_err().words.contains("150B"));
        assert_eq!(enter(&quotas, "alice", 0).unwrap_err().code, "over-budget");
        assert!(enter(&quotas, "bob", 0).unwrap().take(99).is_ok(), "nobody else is touched");
        drop(one);
        assert!(two.take(1).is_err(), "what is over counts for those who go on");
        drop(two);
        // From here on the store tells what was left.
        assert!(enter(&quotas, "alice", 150).is_err());
        assert!(enter(&quotas, "alice", 120).unwrap().take(31).is_err());
    }

    #[test]
    fn what_ends_while_the_store_is_asked_is_not_forgotten() {
        let quotas = Quotas::new(Size::bytes(1000), Size::bytes(1000));
        let mut first = enter(&quotas, "alice", 0).unwrap();
        first.take(900).unwrap();
        let look = quotas.look(&User::parse("alice").unwrap());
        drop(first);
        // The store was asked before it knew of the first one.
        let mut second = quotas.enter(look, 0).unwrap();
        assert!(second.take(100).is_ok() && second.take(1).is_err());
    }

    #[test]
    fn with_somebody_always_inside_yesterday_still_passes() {
        let quotas = Quotas::new(Size::bytes(1000), Size::bytes(1000));
        let mut first = enter(&quotas, "alice", 0).unwrap();
        first.take(900).unwrap();
        let mut second = enter(&quotas, "alice", 0).unwrap();
        second.take(50).unwrap();
        drop(first);
        // A day later the store counts the first one no more.
        let mut third = enter(&quotas, "alice", 0).unwrap();
        assert!(third.take(900).is_ok() && third.take(51).is_err());
    }
}
