//! The store does not answer: at once nobody comes in, who is inside goes on for the grace, and what must be logged waits in a file
//! until it can be written, marked with the time when it happened.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Broker, Fault};
use crate::access::names::{Actor, SessionId};
use crate::access::time::{Span, Timestamp};
use crate::audit::event::Event;
use crate::session::Ending;
use crate::store::{ClosedSession, Outcome, Spool, StoreError, Tx, Urgency, Waiting};

/// What one process knows of its store.
pub(super) struct Loss {
    state: Mutex<State>,
    spool: Spool,
}

#[derive(Default)]
struct State {
    /// When it was last seen to answer, on BOOTTIME.
    answered: Option<Duration>,
    lost: Option<Lost>,
    /// What waits to be written, the oldest first; also in the file. No more than there were sessions when it began.
    waiting: Vec<Waiting>,
}

#[derive(Debug, Clone, Copy)]
struct Lost {
    since: Timestamp,
    /// Not even questions are answered.
    deaf: bool,
    /// How many events were written late so far.
    written: u64,
}

impl Loss {
    pub(super) fn new(spool: Spool) -> Self {
        Self { state: Mutex::default(), spool }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It answered what was asked at `boot`.
    pub(super) fn answered(&self, boot: Duration) {
        let mut state = self.state();
        state.answered = Some(boot);
        if let Some(lost) = &mut state.lost {
            lost.deaf = false;
        }
    }

    fn deafen(&self) {
        if let Some(lost) = &mut self.state().lost {
            lost.deaf = true;
        }
    }

    /// It does not answer; when it last did, unless that is known already.
    fn begin(&self, now: Timestamp, boot: Duration, deaf: bool) -> Option<Duration> {
        let mut state = self.state();
        if let Some(lost) = &mut state.lost {
            lost.deaf |= deaf;
            return None;
        }
        state.lost = Some(Lost { since: now, deaf, written: 0 });
        // The rights of those inside were known then, and not since.
        Some(state.answered.map_or(boot, |answered| answered.clamp(boot.saturating_sub(NOTICED), boot)))
    }

    fn lost(&self) -> Option<Lost> {
        self.state().lost
    }

    /// Keeps `what` until the store is back; `false` if it is back already.
    fn wait(&self, what: &Waiting) -> bool {
        let mut state = self.state();
        let lost = state.lost.is_some();
        if lost {
            state.waiting.push(what.clone());
        }
        lost
    }

    /// The first `done` of what waited are in the log, as so many events.
    fn written(&self, done: usize, events: u64) {
        let mut state = self.state();
        state.waiting.drain(..done);
        if let Some(lost) = &mut state.lost {
            lost.written += events;
        }
    }

    /// With nothing left that waits the store is back.
    fn end(&self) -> bool {
        let mut state = self.state();
        if state.waiting.is_empty() {
            state.lost = None;
        }
        state.lost.is_none()
    }
}

impl Broker {
    /// Since when the store does not answer; none while it does.
    pub fn store_lost(&self) -> Option<Timestamp> {
        self.loss.lost().map(|lost| lost.since)
    }

    /// Everything that would write is refused at once while the store does not answer.
    pub(super) fn store_takes_writes(&self) -> Result<(), Fault> {
        self.loss.lost().map_or(Ok(()), |_| Err(self.lost_fault(&"refused while the store does not answer")))
    }

    /// And everything that would read, while it answers no questions either.
    pub fn store_answers(&self) -> Result<(), Fault> {
        let deaf = self.loss.lost().is_some_and(|lost| lost.deaf);
        if deaf { Err(self.lost_fault(&"refused while the store does not answer")) } else { Ok(()) }
    }

    /// The store did not do what was asked. Where that means that it is lost: nobody comes in any more, and who is inside falls after the
    /// grace. `deaf`: it was only asked something.
    pub(super) async fn lose(&self, why: &StoreError, deaf: bool) -> Fault {
        if deaf && self.loss.lost().is_some() {
            // The watcher asks three times a second, and the log has it.
            self.loss.deafen();
            return self.quiet_lost_fault(why);
        }
        let fault = self.lost_fault(why);
        let now = self.now();
        if self.opened.is_none() {
            return fault;
        }
        if let Some(answered) = self.loss.begin(now, self.clock.since_boot(), deaf) {
            self.store.shut(true);
            self.live.end_unless_back(Some(answered + self.settings.store_grace.duration()));
            let (inside, grace) = (self.live.len(), self.settings.store_grace);
            tracing::error!(fault = %fault.id(), inside, %grace, "the store is lost: nobody comes in, and who is inside falls after the grace");
            self.spool(Waiting::Lost { at: now }).await;
        }
        fault
    }

    /// Keeps the end of a session until the store is back; `false` if it is back already.
    pub(super) async fn close_later(&self, session: &ClosedSession) -> bool {
        let what = Waiting::Closed { at: self.now(), session: session.clone() };
        self.keep_waiting(what).await
    }

    pub(super) async fn keep_waiting(&self, what: Waiting) -> bool {
        let waits = self.loss.wait(&what);
        if waits {
            self.spool(what).await;
        }
        waits
    }

    async fn spool(&self, what: Waiting) {
        let spool = self.loss.spool.clone();
        let added = tokio::task::spawn_blocking(move || spool.add(&what)).await;
        let error = match added {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // It is still in memory; after a crash as well the journal tells of the session.
        self.fault(&format!("cannot write {}: {error}", self.loss.spool.path().display()));
    }

    /// Asks a lost store again, and writes what waited if it answers. `true` when it is back, or was never away.
    pub(super) async fn ask_again(&self) -> bool {
        let Some(lost) = self.loss.lost() else { return true };
        match self.come_back(lost).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(since = %lost.since, "the store does not answer yet: {error}");
                false
            }
        }
    }

    async fn come_back(&self, lost: Lost) -> Result<(), StoreError> {
        self.store.in_place()?;
        self.store.watcher().sizes().await?;
        let (mut told, mut unbegun) = (false, Vec::new());
        while !(told && self.loss.end()) {
            let waiting = self.loss.state().waiting.clone();
            let done = waiting.len();
            let events = if done > 0 { self.write_late(waiting).await? } else { 0 };
            self.loss.written(done, events);
            if told {
                continue;
            }
            // What was taken away meanwhile falls before anybody's grace is lifted.
            if self.cut_what_fell().await.is_err() {
                return Err(StoreError::Silent);
            }
            unbegun = self.unbegun().await?;
            self.tell_back(lost.since, self.loss.lost().map_or(0, |lost| lost.written)).await?;
            told = true;
        }
        self.live.end_unless_back(None);
        self.store.shut(false);
        if self.loss.lost().is_some() {
            // Lost again in this very moment: whoever found that out may have shut the door before the lines above opened it.
            self.live.end_unless_back(Some(self.clock.since_boot() + self.settings.store_grace.duration()));
            self.store.shut(true);
            return Err(StoreError::Silent);
        }
        for id in unbegun {
            let event = super::recover::recovered(&id, None);
            // A fault is in the log; the next start does it.
            let _ = self.keep_closed(super::visit::closed(id, Ending::StoreLost, None, None, None), event).await;
        }
        if let Err(error) = self.loss.spool.clear() {
            self.fault(&format!("cannot remove {}: {error}", self.loss.spool.path().display()));
        }
        let away = self.now().since(lost.since);
        tracing::warn!(%away, inside = self.live.len(), "the store answers again");
        self.ring();
        Ok(())
    }

    /// Sessions whose beginning was written although nobody was told: the store has them as live here, and nobody is inside.
    async fn unbegun(&self) -> Result<Vec<SessionId>, StoreError> {
        let live = self.store.watcher().live(self.now()).await?;
        Ok(live.rows.into_iter().map(|row| row.id).filter(|id| self.live.get(id).is_none()).collect())
    }

    /// What a bastion that stopped or was killed could not write any more, before anything else of this one.
    pub async fn write_what_waited(&self) -> Result<(), Fault> {
        let read = self.loss.spool.read().map_err(|e| self.fault(&format!("cannot read {}: {e}", self.loss.spool.path().display())))?;
        if read.is_empty() {
            return Ok(());
        }
        let (mut waiting, mut bad) = (Vec::new(), false);
        for (n, line) in read.into_iter().enumerate() {
            match line {
                Ok(what) => waiting.push(what),
                Err(error) => {
                    bad = true;
                    self.fault(&format!("line {} of {} cannot be read: {error}", n + 1, self.loss.spool.path().display()));
                }
            }
        }
        let since = waiting.iter().rev().find_map(|what| match what {
            Waiting::Lost { at } => Some(*at),
            _ => None,
        });
        tracing::warn!(entries = waiting.len(), "the last bastion lost its store; what waited is written now");
        let written = self.write_late(waiting).await.map_err(|e| self.store_fault(&e))?;
        if let Some(since) = since {
            self.tell_back(since, written).await.map_err(|e| self.store_fault(&e))?;
        }
        let spool = &self.loss.spool;
        let gone = if bad { spool.put_aside(self.now()).map(drop) } else { spool.clear() };
        gone.map_err(|e| self.fault(&format!("cannot put {} aside: {e}", spool.path().display())))
    }

    /// In one change, so that after a crash in the middle all of it waits still: what happened, in order; how many events that were.
    async fn write_late(&self, waiting: Vec<Waiting>) -> Result<u64, StoreError> {
        let node = self.node().to_owned();
        self.store
            .change(Urgency::Trial, Actor::System, &self.clock, move |tx| {
                Box::pin(async move {
                    let mut events = Vec::with_capacity(waiting.len() + 1);
                    for what in waiting {
                        events.extend(land(tx, &node, what).await?);
                    }
                    Ok::<_, StoreError>(Outcome::Many(events.len() as u64, events))
                })
            })
            .await
    }

    /// The store was away since `since_us`, and after it so many events were written late. Told once, whatever crashed in between.
    async fn tell_back(&self, since_us: Timestamp, written: u64) -> Result<(), StoreError> {
        let node = self.node().to_owned();
        let tell = self.store.change(Urgency::Trial, Actor::System, &self.clock, move |tx| {
            Box::pin(async move {
                let before = tx.told(&node, "store-back", since_us).await?;
                if before.iter().any(|entry| matches!(&entry.event, Event::StoreBack { since_us: told, .. } if *told == since_us)) {
                    return Ok::<_, StoreError>(Outcome::Same(()));
                }
                let lost_ms = u64::try_from(tx.now().since(since_us).duration().as_millis()).unwrap_or(u64::MAX);
                Ok(Outcome::Changed((), Event::StoreBack { since_us, lost_ms, written }))
            })
        });
        tell.await
    }
}

/// Writes one thing that waited, unless it was written before the crash.
async fn land(tx: &mut Tx, node: &str, what: Waiting) -> Result<Option<Event>, StoreError> {
    match what {
        Waiting::Lost { .. } => Ok(None),
        Waiting::Stopped { at, .. } if stop_is_told(tx, node, at).await? => Ok(None),
        Waiting::Stopped { at, sessions } => {
            let late = late(at, tx.now());
            Ok(Some(Event::BastionStopped { sessions, happened_us: Some(at), written_late_us: Some(late) }))
        }
        Waiting::Closed { at, mut session } => {
            let live = tx.session(&session.id).await?.is_some_and(|row| row.ended.is_none());
            if !live {
                return Ok(None);
            }
            let ended = *session.ended.get_or_insert(at);
            tx.close_session(&session).await?;
            Ok(Some(super::visit::closed_event(&session, Some((ended, late(ended, tx.now()))))))
        }
    }
}

/// Is the end of this node's last bastion in the log? It is if that very one is, or if no start came after a stop: the commit may have gone
/// through although nobody was told.
async fn stop_is_told(tx: &mut Tx, node: &str, at: Timestamp) -> Result<bool, StoreError> {
    let from = at.minus(NOTICED_SPAN);
    let stops = tx.told(node, "bastion-stopped", from).await?;
    let started = tx.told(node, "bastion-started", from).await?.last().map(|entry| entry.seq);
    let this = |event: &Event| matches!(event, Event::BastionStopped { happened_us: Some(told), .. } if *told == at);
    Ok(stops.iter().any(|entry| this(&entry.event)) || stops.last().is_some_and(|stop| started.is_none_or(|start| start < stop.seq)))
}

fn late(at: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.since(at).duration().as_micros()).unwrap_or(u64::MAX)
}

/// A silence is noticed within this time: a look, and as long as the store may take to answer it.
const NOTICED: Duration = NOTICED_SPAN.duration();
const NOTICED_SPAN: Span = Span::seconds(10);
