//! Whoever looks may look for as long as they could begin to: it is asked again while they do, whenever something has changed.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Caller, Waiting, read};
use crate::access::host::Host;
use crate::access::names::{HostName, RequestId};
use crate::access::policy::Act;
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error, SessionRow};

/// It is asked at most so often.
const ASKED: Duration = Duration::from_millis(500);

/// A right that somebody uses for a while.
pub(super) struct Still<'a> {
    broker: &'a Broker,
    caller: &'a Caller,
    act: Act,
    host: HostName,
    /// Whoever said yes to this may too.
    request: Option<RequestId>,
    unmasked: bool,
    changes: watch::Receiver<u64>,
    asked: Instant,
}

impl<'a> Still<'a> {
    /// To play what was recorded on `host`.
    pub(super) fn replays(broker: &'a Broker, caller: &'a Caller, host: HostName, unmasked: bool) -> Self {
        let mut changes = broker.changes();
        // Something may have changed between the yes and this line.
        changes.mark_changed();
        Self { broker, caller, act: Act::Replay, host, request: None, unmasked, changes, asked: Instant::now() }
    }

    /// To look over the shoulder of who is inside.
    pub(super) fn watches(broker: &'a Broker, caller: &'a Caller, row: &SessionRow, unmasked: bool) -> Self {
        let Self { changes, asked, .. } = Self::replays(broker, caller, row.host.clone(), unmasked);
        Self { broker, caller, act: Act::Watch, host: row.host.clone(), request: Some(row.request.clone()), unmasked, changes, asked }
    }

    /// Does something while they may. The refusal comes as soon as they may no longer, and what was being done is given up.
    pub(super) async fn during<T>(&mut self, mut doing: Waiting<'_, T>) -> Result<T, Error> {
        loop {
            tokio::select! {
                biased;
                () = self.due() => {
                    self.asked = Instant::now();
                    if !self.may().await? {
                        return Err(self.no_longer().into());
                    }
                }
                done = &mut doing => return Ok(done),
            }
        }
    }

    /// Comes when there is something to ask. A call that is given up loses nothing.
    async fn due(&mut self) {
        sleep_until(self.asked + ASKED).await;
        if self.changes.changed().await.is_err() {
            pending::<()>().await;
        }
    }

    /// Would they be let in now?
    pub(super) async fn may(&self) -> Result<bool, Error> {
        let Some(proof) = &self.caller.proof else { return Ok(false) };
        let Some(person) = self.broker.standing(proof).await? else { return Ok(false) };
        let host = read(self.broker, self.broker.reader().host(&self.host).await)?.unwrap_or_else(|| Host::unregistered(&self.host));
        let policy = self.broker.policy();
        if self.unmasked && !policy.may(&person, Act::Unmask, &host) {
            return Ok(false);
        }
        if policy.may(&person, self.act, &host) {
            return Ok(true);
        }
        let Some(request) = &self.request else { return Ok(false) };
        Ok(read(self.broker, self.broker.reader().said_yes(&person.user).await)?.contains(request))
    }

    fn no_longer(&self) -> Refusal {
        let (verb, hint) = match self.act {
            Act::Watch => ("watch", "`ssh jit-bastion sessions` lists what you may see"),
            _ => ("replay", "`ssh jit-bastion recordings` lists what you may see"),
        };
        let masked = if self.unmasked { " unmasked" } else { "" };
        Refusal::new("no-longer", format!("you may {verb} this{masked} no longer")).hint(hint)
    }
}
