//! How much one user may have of anything at once: a loop in a script, or somebody who means harm, takes nothing from the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Broker;
use super::fault::Stop;
use crate::access::names::{RequestId, User};
use crate::access::refusal::Refusal;
use crate::store::Tx;

/// What the configuration gives each user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Requests that wait for an answer.
    pub requests: usize,
    /// Grants that have not ended.
    pub grants: usize,
    /// Requests that they wait for with `--wait`.
    pub waits: usize,
    /// Acts in a minute; what takes access away is not counted.
    pub acts: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { requests: 20, grants: 50, waits: 10, acts: 1000 }
    }
}

impl Caps {
    /// One more request of `user` may wait.
    pub(super) async fn request(self, tx: &mut Tx, user: &User) -> Result<(), Stop> {
        let waiting = tx.pending_of(user).await?;
        if waiting < self.requests as u64 {
            return Ok(());
        }
        let refusal = Refusal::new("too-many-requests", format!("{waiting} requests of {user} wait already, and no more may"));
        Err(refusal.hint("`ssh jit-bastion requests --mine` lists them, `ssh jit-bastion withdraw ID` takes one back").into())
    }

    /// `user` may hold one more grant.
    pub(super) async fn grant(self, tx: &mut Tx, user: &User) -> Result<(), Stop> {
        let open = tx.open_grants_of(user).await?;
        if open < self.grants as u64 {
            return Ok(());
        }
        let refusal = Refusal::new("too-many-grants", format!("{user} holds {open} grants that have not ended, and may hold no more"));
        Err(refusal.hint("its holder ends one early: `ssh jit-bastion grants` lists them, `ssh jit-bastion close GRANT`").into())
    }
}

/// What each user has in use in this process.
#[derive(Clone, Default)]
pub(super) struct InUse(Arc<Mutex<BTreeMap<User, Used>>>);

struct Used {
    waits: usize,
    /// When all that was done would have been done at an even pace, on BOOTTIME.
    paced: Duration,
    urgent: Arc<Semaphore>,
}

impl Default for Used {
    fn default() -> Self {
        Self { waits: 0, paced: Duration::ZERO, urgent: Arc::new(Semaphore::new(URGENT)) }
    }
}

impl InUse {
    fn used(&self) -> MutexGuard<'_, BTreeMap<User, Used>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more urgent act of `user`, once they have one free. What is urgent is not counted, so that everybody can always take
    /// access away; but whoever does it in a loop waits for themselves, and not everybody for them.
    pub(super) async fn urgent(&self, user: &User) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.used().entry(user.clone()).or_default().urgent);
        places.acquire_owned().await.ok()
    }

    /// One more act of `user` at `now`; a minute's worth may come at once.
    fn act(&self, user: &User, now: Duration, most: usize) -> bool {
        let step = MINUTE / u32::try_from(most.max(1)).unwrap_or(u32::MAX);
        let mut used = self.used();
        if used.len() >= REMEMBERED && !used.contains_key(user) {
            used.retain(|_, used| used.waits > 0 || used.paced > now || Arc::strong_count(&used.urgent) > 1);
        }
        let used = used.entry(user.clone()).or_default();
        let next = used.paced.max(now) + step;
        let passes = next <= now + MINUTE;
        if passes {
            used.paced = next;
        }
        passes
    }
}

/// Somebody waits, until this is dropped.
#[must_use]
pub struct Waits {
    in_use: InUse,
    user: User,
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(used) = self.in_use.used().get_mut(&self.user) {
            used.waits = used.waits.saturating_sub(1);
        }
    }
}

impl Broker {
    /// `user` begins to wait for `id`, which stays filed whether or not they may.
    pub fn begin_wait(&self, user: &User, id: &RequestId) -> Result<Waits, Refusal> {
        let mut all = self.in_use.used();
        let used = all.entry(user.clone()).or_default();
        if used.waits >= self.settings.caps.waits {
            let refusal = Refusal::new("too-many-waits", format!("{id} is filed, and you wait for {} requests already", used.waits));
            return Err(refusal.hint(format!("`ssh jit-bastion show {id}` tells how it stands")));
        }
        used.waits += 1;
        Ok(Waits { in_use: self.in_use.clone(), user: user.clone() })
    }

    /// One more act of `user`.
    pub(super) fn may_act(&self, user: &User) -> Result<(), Refusal> {
        let most = self.settings.caps.acts;
        if self.in_use.act(user, self.clock.since_boot(), most) {
            return Ok(());
        }
        let refusal = Refusal::new("too-fast", format!("{user} has done more than {most} things in a minute"));
        Err(refusal.hint("wait a minute, then try again; closing, revoking and killing go on working"))
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Urgent acts of one user that stand in the queue at one time.
const URGENT: usize = 2;
/// Users whose pace is remembered before those who rest are forgotten.
const REMEMBERED: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_an_even_pace() {
        let (in_use, alice, bob) = (InUse::default(), User::parse("alice").unwrap(), User::parse("bob").unwrap());
        let now = Duration::from_secs(1000);
        let done = |user: &User, now| (0..100).filter(|_| in_use.act(user, now, 10)).count();
        assert_eq!((done(&alice, now), done(&bob, now)), (10, 10));
        assert_eq!(done(&alice, now + Duration::from_secs(5)), 0);
        assert_eq!(done(&alice, now + Duration::from_secs(12)), 2);
        assert_eq!(done(&alice, now + Duration::from_secs(120)), 10);
    }
}
