//! Who is inside now. State of this process alone: it dies with the sessions that it lists.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{Cutoff, Ending};
use crate::access::channels::Channels;
use crate::access::names::{GrantId, HostName, Login, SessionId, User};
use crate::access::time::Timestamp;

/// One session that goes on now.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// The session.
    pub id: SessionId,
    /// Who is inside.
    pub user: User,
    /// Where.
    pub host: HostName,
    /// As which account.
    pub login: Login,
    /// Under which grant.
    pub grant: GrantId,
    /// What the grant opens; as it was when the session began or was last seen to change.
    pub channels: Channels,
    /// It goes past the host's SSH, straight to a port.
    pub direct: bool,
    /// Since when.
    pub started: Timestamp,
    /// Until when, at the latest; as it was when the session began or was last extended.
    pub ends: Timestamp,
    /// What ends it.
    pub cutoff: Cutoff,
}

/// The list of live sessions. Clones are the same list.
#[derive(Debug, Clone)]
pub struct Live {
    // A short std lock, never held across an await or a system call: every act copies out what it needs.
    sessions: Arc<Mutex<Inside>>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Inside {
    all: HashMap<SessionId, LiveSession>,
    /// While the store does not answer: when everybody falls unless it does again, on BOOTTIME.
    lost: Option<Duration>,
}

impl Default for Live {
    fn default() -> Self {
        Self { sessions: Arc::default(), count: watch::Sender::new(0) }
    }
}

impl Live {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a session; it is inside until the presence is dropped.
    pub fn enter(&self, session: LiveSession) -> Presence {
        let id = session.id.clone();
        let cutoff = session.cutoff.clone();
        let mut inside = self.lock();
        inside.all.insert(id.clone(), session);
        self.count.send_replace(inside.all.len());
        let lost = inside.lost;
        drop(inside);
        if lost.is_some() {
            cutoff.end_unless_back(lost);
        }
        Presence { id, live: self.clone() }
    }

    /// Who is inside, the oldest first.
    pub fn list(&self) -> Vec<LiveSession> {
        let mut list: Vec<_> = self.lock().all.values().cloned().collect();
        list.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
        list
    }

    /// One session.
    pub fn get(&self, id: &SessionId) -> Option<LiveSession> {
        self.lock().all.get(id).cloned()
    }

    /// How many are inside.
    pub fn len(&self) -> usize {
        self.lock().all.len()
    }

    /// Whether nobody is inside.
    pub fn is_empty(&self) -> bool {
        self.lock().all.is_empty()
    }

    /// Cuts every session that `which` names; how many that were. Never waits for them to end.
    pub fn cut(&self, which: impl Fn(&LiveSession) -> bool, why: Ending) -> usize {
        let cutoffs: Vec<_> = self.lock().all.values().filter(|s| which(s)).map(|s| s.cutoff.clone()).collect();
        cutoffs.iter().for_each(|c| c.cut(why));
        cutoffs.len()
    }

    /// Moves the end of every session under a grant to a later time; how many that were. An end is never moved back: whoever read an
    /// older one may come last.
    pub fn extend(&self, grant: &GrantId, ends: Timestamp) -> usize {
        let mut inside = self.lock();
        let moved: Vec<_> = inside
            .all
            .values_mut()
            .filter(|s| s.grant == *grant && s.ends < ends)
            .map(|s| {
                s.ends = ends;
                s.cutoff.clone()
            })
            .collect();
        drop(inside);
        moved.iter().for_each(|c| c.extend(ends));
        moved.len()
    }

    /// A grant gives more or less than it did.
    pub fn regrant(&self, id: &SessionId, channels: &Channels) {
        if let Some(session) = self.lock().all.get_mut(id) {
            session.channels.clone_from(channels);
        }
    }

    /// The store does not answer: everybody who is inside, or comes in yet, falls at `at` on BOOTTIME as `store-lost`; with `None` it
    /// answers again, and nobody does.
    pub fn end_unless_back(&self, at: Option<Duration>) {
        let mut inside = self.lock();
        inside.lost = at;
        let cutoffs: Vec<_> = inside.all.values().map(|s| s.cutoff.clone()).collect();
        drop(inside);
        cutoffs.iter().for_each(|c| c.end_unless_back(at));
    }

    /// Waits until nobody is inside: the last step of a shutdown.
    pub async fn emptied(&self) {
        // The sender lives in self, so the wait cannot fail.
        let _ = self.count.subscribe().wait_for(|n| *n == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place on the list; dropping it takes the session off.
#[must_use = "the session leaves the list when this is dropped"]
#[derive(Debug)]
pub struct Presence {
    id: SessionId,
    live: Live,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut inside = self.live.lock();
        let gone = inside.all.remove(&self.id);
        self.live.count.send_replace(inside.all.len());
        drop(inside);
        // The cutoff's last clone may go with it, and that takes the knife's lock: not under ours.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::time::{Clock, Span, SystemClock};
    use crate::session::Knife;

    fn session(knife: &Knife, n: u32) -> LiveSession {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (started, ends) = (clock.now(), clock.now().plus(Span::minutes(5)));
        LiveSession {
            id: SessionId::from_random(n),
            user: User::parse("alice").unwrap(),
            host: HostName::parse("phi-db").unwrap(),
            login: Login::parse("postgres").unwrap(),
            grant: GrantId::from_random(n % 2),
            channels: Channels::all(),
            direct: false,
            started,
            ends,
            cutoff: Cutoff::new(knife, ends, clock),
        }
    }

    #[tokio::test]
    async fn who_is_inside_can_be_cut() {
        let knife = Knife::start(Arc::new(SystemClock)).unwrap();
        let live = Live::new();
        let mut inside: Vec<_> = (0..4).map(|n| live.enter(session(&knife, n))).collect();
        assert_eq!((live.len(), live.list().len()), (4, 4));
        let grant = GrantId::from_random(1);
        let later = SystemClock.now().plus(Span::minutes(60));
        assert_eq!(live.extend(&grant, later), 2);
        assert_eq!(live.get(&SessionId::from_random(1)).and_then(|s| s.cutoff.ends()), Some(later));
        assert_eq!(live.cut(|s| s.grant == grant, Ending::Revoked), 2);
        let reasons: Vec<_> = live.list().iter().filter_map(|s| s.cutoff.reason()).collect();
        assert_eq!(reasons, [Ending::Revoked; 2]);
        inside.pop();
        assert_eq!(live.len(), 3);
        let emptied = tokio::spawn({
            let live = live.clone();
            async move { live.emptied().await }
        });
        drop(inside);
        emptied.await.unwrap();
        assert!(live.is_empty());
    }
    #[test]
    fn a_store_that_stays_away_ends_everybody_but_nobody_later_than_their_time() {
        use crate::access::time::MovedClock;

        let clock = Arc::new(MovedClock::at(Timestamp::from_micros(1_795_262_400_000_000)));
        let knife = Knife::start(clock.clone()).unwrap();
        let live = Live::new();
        let inside = |n: u32, minutes: u64| {
            let (started, ends) = (clock.now(), clock.now().plus(Span::minutes(minutes)));
            let mut new = session(&knife, n);
            (new.started, new.ends, new.cutoff) = (started, ends, Cutoff::new(&knife, ends, clock.clone()));
            (new.cutoff.clone(), live.enter(new))
        };
        let falls = |cutoff: &Cutoff| {
            knife.wake();
            let end = std::time::Instant::now() + Duration::from_secs(5);
            while cutoff.reason().is_none() && std::time::Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            cutoff.reason()
        };
        let (long, _one) = inside(1, 60);
        let (short, _two) = inside(2, 1);
        live.end_unless_back(Some(clock.since_boot() + Duration::from_secs(120)));
        let (late, _three) = inside(3, 60);
        clock.advance(Span::seconds(61));
        assert_eq!(falls(&short), Some(Ending::TimeUp));
        live.end_unless_back(None);
        clock.advance(Span::seconds(61));
        knife.wake();
        let (marked, _four) = inside(4, 60);
        live.end_unless_back(Some(clock.since_boot() + Duration::from_secs(9)));
        assert!(long.reason().is_none(), "the store was back in time");
        clock.advance(Span::seconds(9));
        assert_eq!([&long, &late, &marked].map(falls), [Some(Ending::StoreLost); 3]);
        assert_eq!(long.cut_at(), Some(clock.since_boot()));
    }
}
