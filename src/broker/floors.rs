//! The floors of now under what was filed before: approvals, extensions and visits are judged by them.

use std::collections::BTreeMap;

use super::fault::Stop;
use super::{Broker, Fault};
use crate::access::host::Host;
use crate::access::names::{HostName, User};
use crate::access::person::Person;
use crate::access::policy::{BoundRule, Policy};
use crate::access::request::{Request, State};
use crate::access::time::Timestamp;
use crate::store::{Reader, StoreError, Tx};

impl Broker {
    /// The rule that a request is bound to, with the floors of now under it: how many must say yes, who they can be, and how visits go.
    /// `reader` is the caller's: the door has connections of its own.
    pub async fn rule_now(&self, reader: &Reader, request: &Request) -> Result<BoundRule, Fault> {
        let ask = &request.asked;
        let read = async { Ok((reader.user(&ask.user, self.now()).await?, reader.host(&ask.host).await?)) };
        let (user, host) = read.await.map_err(|e: StoreError| self.fault(&e))?;
        Ok(tightened(&self.policy(), request, user.map(|user| user.person).as_ref(), host.as_ref()))
    }

    /// Puts the floors of now under those that are still to be decided, as whoever decides will be judged by them.
    pub async fn under_floors(&self, requests: &mut [Request]) -> Result<(), Fault> {
        let policy = self.policy();
        if policy.floors().is_empty() || !requests.iter().any(is_pending) {
            return Ok(());
        }
        let world = World::read(&self.reader(), self.now()).await.map_err(|e| self.fault(&e))?;
        for request in requests.iter_mut().filter(|request| is_pending(request)) {
            request.rule = world.tightened(&policy, request);
        }
        Ok(())
    }

    /// After the policy, a host's labels or somebody's roles have changed: cuts what fell, and only then names those whom the floors of now
    /// let decide what waits, so that nobody's right is taken away later because many requests wait.
    pub(super) async fn rights_changed(&self) {
        self.cut_now().await;
        if let Err(error) = self.name_deciders().await {
            // What they would decide, they may; it is not in their list until the next change.
            self.store_fault(&error);
        }
    }

    /// Names those whom the floors of now let decide what waits; they find it in their list. A request that cannot be read is logged and
    /// left as it is.
    async fn name_deciders(&self) -> Result<(), StoreError> {
        let policy = self.policy();
        if policy.floors().is_empty() {
            return Ok(());
        }
        let reader = self.reader();
        let pending = reader.pending().await?;
        if pending.is_empty() {
            return Ok(());
        }
        let world = World::read(&reader, self.now()).await?;
        let mut new = Vec::new();
        for id in pending {
            let read = async { Ok((reader.request(&id).await?, reader.deciders(&id).await?)) };
            let (request, known) = match read.await {
                Ok((Some(request), known)) => (request, known),
                Ok((None, _)) => continue,
                Err(error @ StoreError::Row { .. }) => {
                    self.fault(&error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let rule = world.tightened(&policy, &request);
            let named = rule.named().into_iter().map(ToString::to_string).filter(|who| !known.contains(who));
            new.extend(named.map(|who| (id.clone(), who)));
            if new.len() >= AT_ONCE {
                self.store.name_deciders(std::mem::take(&mut new), self.now()).await?;
            }
        }
        if !new.is_empty() {
            self.store.name_deciders(new, self.now()).await?;
        }
        Ok(())
    }
}

fn is_pending(request: &Request) -> bool {
    matches!(request.state, State::Pending { .. })
}

/// Puts the floors of now under the rule of a request that is to be judged.
pub(super) async fn tighten(tx: &mut Tx, policy: &Policy, request: &mut Request) -> Result<(), Stop> {
    let (person, host) = (tx.person(&request.asked.user).await?, tx.host(&request.asked.host).await?);
    request.rule = tightened(policy, request, person.as_ref(), host.as_ref());
    Ok(())
}

/// Without the person or the host of now nothing is judged any more, and the rule stays as it was.
pub(super) fn tightened(policy: &Policy, request: &Request, person: Option<&Person>, host: Option<&Host>) -> BoundRule {
    let ask = &request.asked;
    match (person, host) {
        (Some(person), Some(host)) => policy.tightened(&request.rule, person, host, &ask.login, &ask.channels),
        _ => request.rule.clone(),
    }
}

/// Users and hosts as they are, each read once for many requests.
struct World {
    people: BTreeMap<User, Person>,
    hosts: BTreeMap<HostName, Host>,
}

impl World {
    async fn read(reader: &Reader, now: Timestamp) -> Result<Self, StoreError> {
        let people = reader.users(now).await?.into_iter().map(|row| (row.person.user.clone(), row.person)).collect();
        let hosts = reader.hosts().await?.into_iter().map(|host| (host.name.clone(), host)).collect();
        Ok(Self { people, hosts })
    }

    fn tightened(&self, policy: &Policy, request: &Request) -> BoundRule {
        tightened(policy, request, self.people.get(&request.asked.user), self.hosts.get(&request.asked.host))
    }
}

/// Names that are written in one change.
const AT_ONCE: usize = 64;
