//! The floors of now under what was filed before: approvals, extensions and visits are judged by them.

use super::fault::Stop;
use super::{Broker, Fault};
use crate::access::host::Host;
use crate::access::person::Person;
use crate::access::policy::{BoundRule, Policy};
use crate::access::request::{Request, State};
use crate::store::{StoreError, Tx};

impl Broker {
    /// The rule that a request is bound to, with the floors of now under it: how many must say yes, who they can be, and how visits go.
    pub async fn rule_now(&self, request: &Request) -> Result<BoundRule, Fault> {
        let ask = &request.asked;
        let reader = self.reader();
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
        let (reader, now) = (self.reader(), self.now());
        let read = async { Ok((reader.users(now).await?, reader.hosts().await?)) };
        let (users, hosts) = read.await.map_err(|e: StoreError| self.fault(&e))?;
        for request in requests.iter_mut().filter(|request| is_pending(request)) {
            let asker = users.iter().find(|user| user.person.user == request.asked.user).map(|user| &user.person);
            let host = hosts.iter().find(|host| host.name == request.asked.host);
            request.rule = tightened(&policy, request, asker, host);
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

/// Names those whom the floors of now let decide what waits. The policy, a host's labels or a user's roles have changed, and so may have the
/// floors that lie under a pending request; its approvers find it in their list.
pub(super) async fn name_deciders(tx: &mut Tx, policy: &Policy) -> Result<(), Stop> {
    if policy.floors().is_empty() {
        return Ok(());
    }
    for id in tx.pending().await? {
        let Some(mut kept) = tx.request(&id).await? else { continue };
        let before = kept.request.rule.named().len();
        tighten(tx, policy, &mut kept.request).await?;
        let named = kept.request.rule.named();
        if named.len() > before {
            tx.name_deciders(&id, &named).await?;
        }
    }
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
