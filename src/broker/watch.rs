//! What happens without being asked: requests lapse, grants end, the log's head is signed, and what another process took away is cut.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::admit::still_given;
use super::{Broker, Error, Fault};
use crate::access::names::{Actor, SessionId};
use crate::access::policy::Policy;
use crate::access::time::{Span, Timestamp};
use crate::audit::event::Event;
use crate::session::Ending;
use crate::store::{Hints, LiveRow, Outcome, StoreError, Urgency};

impl Broker {
    /// Runs until `stop`: looks at the store three times a second, so that what another process took away falls within one, and whenever
    /// another node says that it has written; sweeps each second; signs the head each minute. A fault is logged and tried again.
    pub async fn watch(&self, stop: impl Future<Output = ()>) {
        // Sweeping and signing stand in the writers' queue; looking must not wait for them.
        tokio::select! {
            biased;
            () = stop => {}
            () = self.look_out(self.store.hints()) => {}
            () = self.keep_keys() => {}
            () = self.keep_texts() => {}
            () = self.tidy() => {}
        }
    }

    pub(super) async fn look_out(&self, mut hints: Hints) {
        let mut seen = Seen::default();
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = self.changes();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Ok(()) = changes.changed() => {}
                () = hints.heard() => {}
            }
            changes.mark_unchanged();
            let asked = self.clock.since_boot();
            match self.look(&mut seen).await {
                Ok(()) => self.loss.answered(asked),
                Err(_) => {
                    // Logged under its id. Whatever rings, the next look is not before its time.
                    tick.tick().await;
                }
            }
        }
    }

    async fn tidy(&self) {
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signed = self.clock.since_boot();
        loop {
            tick.tick().await;
            if !self.ask_again().await {
                continue;
            }
            if let Err(error) = self.store.takes_writes().await {
                self.lose(&error, false).await;
                continue;
            }
            let _ = self.sweep().await;
            let now = self.clock.since_boot();
            if now.saturating_sub(signed) >= SIGN {
                signed = now;
                let _ = self.checkpoint().await;
            }
        }
    }

    /// Compares the logs' sizes and the policy with those of the last look, and the clock with the next date of a role or an account; where
    /// something is new, cuts what fell and rings.
    pub(super) async fn look(&self, seen: &mut Seen) -> Result<(), Fault> {
        let (at, watcher) = (self.now(), self.store.watcher());
        let sizes = match self.sizes().await {
            Ok(sizes) => sizes,
            // What it means is not asked: whose rights cannot be known now may not stay.
            Err(error) => return Err(self.lose(&error, true).await),
        };
        let policy = self.policy();
        let same = seen.policy.as_ref().is_some_and(|known| Arc::ptr_eq(known, &policy));
        if sizes != seen.sizes || !same || seen.turned(at) {
            self.cut_what_fell().await?;
            self.learn_host_addresses().await?;
            let turn = watcher.next_turn(at).await.map_err(|e| self.fault(&e))?;
            *seen = Seen { sizes, policy: Some(policy), at: Some(at), turn };
            self.ring();
        }
        Ok(())
    }

    async fn sizes(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.store.in_place()?;
        self.store.watcher().sizes().await
    }

    /// Cuts at once what an act has taken away. A fault is logged, and the watcher tries again.
    pub(super) async fn cut_now(&self) {
        let _ = self.cut_what_fell().await;
    }

    /// Cuts each live session of this node whose right fell, and moves the end of those whose grant ends at another time now.
    pub(super) async fn cut_what_fell(&self) -> Result<(), Fault> {
        // Before the rows: who is inside by then has a row.
        let inside: Vec<SessionId> = self.live.list().into_iter().map(|session| session.id).collect();
        if inside.is_empty() {
            return Ok(());
        }
        let live = match self.store.watcher().live(self.now()).await {
            Ok(live) => live,
            Err(error) => return Err(self.lose(&error, true).await),
        };
        // Nobody could take their right away any more: the store has them as gone.
        let rows = live.rows;
        // And of whom nobody knows what they may: they may nothing.
        for (id, why) in live.unread {
            self.fault(&format!("the live session {id} cannot be read, so it falls: {why}"));
        }
        let rowless: HashSet<&SessionId> = inside.iter().filter(|id| !rows.iter().any(|row| row.id == **id)).collect();
        self.live.cut(|session| rowless.contains(&session.id), Ending::Revoked);
        // Read after the rows: a policy that came since is asked too.
        let policy = self.policy();
        for row in rows {
            match fell(&policy, &row).or_else(|| self.lost_direct(&policy, &row)) {
                Some(why) => {
                    self.live.cut(|s| s.id == row.id, why);
                }
                None => self.follow(&row),
            }
        }
        Ok(())
    }

    /// A forward past the host's SSH stands on a rule that says `direct`.
    fn lost_direct(&self, policy: &Policy, row: &LiveRow) -> Option<Ending> {
        let (person, host) = row.person.as_ref().zip(row.host.as_ref())?;
        let direct = self.live.get(&row.id).is_some_and(|session| session.direct);
        (direct && !policy.gives_direct(person, host, &row.login, &row.channels)).then_some(Ending::Revoked)
    }

    /// What a grant says now counts in its session from now on.
    fn follow(&self, row: &LiveRow) {
        let Some(session) = self.live.get(&row.id) else { return };
        // Ends only ever move on: a reading that was overtaken must not move one back.
        if session.ends < row.ends {
            self.live.extend(&row.grant, row.ends);
        }
        if session.channels != row.channels {
            self.live.regrant(&row.id, &row.channels);
        }
    }

    /// Lapses requests that nobody answered, and tells of grants whose time is over. Each is a change with its event.
    pub async fn sweep(&self) -> Result<(), Error> {
        self.lapse_due().await?;
        for id in self.store.watcher().ending(self.now()).await.map_err(|e| self.fault(&e))? {
            self.act(Urgency::Ordinary, Actor::System, move |tx| {
                Box::pin(async move {
                    let ended = tx.end_grant(&id).await?;
                    Ok(if ended { Outcome::Changed((), Event::GrantEnded { grant: id }) } else { Outcome::Same(()) })
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Lapses each pending request whose time is over, and each for more time of a grant that is.
    pub(super) async fn lapse_due(&self) -> Result<(), Error> {
        for id in self.store.watcher().lapsing(self.now()).await.map_err(|e| self.fault(&e))? {
            let lapsed = self.act(Urgency::Ordinary, Actor::System, move |tx| {
                Box::pin(async move {
                    let Some(kept) = tx.request(&id).await? else { return Ok(Outcome::Same(())) };
                    let extended = match &kept.request.asked.extends {
                        Some(grant) => tx.grant(grant).await?,
                        None => None,
                    };
                    // Somebody may have answered since the list was read.
                    let Ok(after) = kept.request.clone().lapse(extended.as_ref(), tx.now()) else { return Ok(Outcome::Same(())) };
                    tx.move_request(&kept, &after).await?;
                    Ok(Outcome::Changed((), Event::RequestLapsed { request: id }))
                })
            });
            match lapsed.await {
                // One that cannot be read is logged, and keeps nobody else waiting.
                Err(Error::Fault(fault)) if !fault.is_store_lost() => {}
                lapsed => lapsed?,
            }
        }
        Ok(())
    }
}

/// What the last look saw.
#[derive(Default)]
pub(super) struct Seen {
    sizes: BTreeMap<String, u64>,
    policy: Option<Arc<Policy>>,
    /// When that was.
    at: Option<Timestamp>,
    /// When the next role begins or ends, or the next account ends.
    turn: Option<Timestamp>,
}

impl Seen {
    /// Has a date passed since, or was the clock set back to before one?
    fn turned(&self, now: Timestamp) -> bool {
        self.turn.is_some_and(|turn| turn <= now) || self.at.is_some_and(|at| now < at)
    }
}

fn fell(policy: &Policy, row: &LiveRow) -> Option<Ending> {
    match row.grant_state.as_str() {
        _ if row.killed => Some(Ending::Killed),
        "closed" => Some(Ending::Closed),
        "revoked" => Some(Ending::Revoked),
        _ if row.key_gone => Some(Ending::Revoked),
        // Where its time is over, the knife knows.
        _ => match (&row.person, &row.host) {
            (Some(person), Some(host)) => still_given(policy, person, host, &row.login, &row.channels).is_err().then_some(Ending::Revoked),
            // Disabled, or no longer registered.
            _ => Some(Ending::Revoked),
        },
    }
}

/// How often the watcher looks at the store. The promise for a revocation elsewhere is a second.
const LOOK: Duration = Duration::from_millis(300);
const SWEEP: Duration = Span::seconds(1).duration();
const SIGN: Duration = Span::seconds(60).duration();
