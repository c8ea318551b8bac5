//! The floors of now under what was filed before: approvals, extensions and visits are judged by them.

use super::fault::Stop;
use super::{Broker, Fault};
use crate::access::host::Host;
use crate::access::person::Person;
use crate::access::policy::{BoundRule, Policy};
use crate::access::request::Request;
use crate::store::Tx;

impl Broker {
    /// The rule that a request is bound to, with the floors of now under it: how many must say yes, who they can be, and how visits go.
    pub async fn rule_now(&self, request: &Request) -> Result<BoundRule, Fault> {
        let ask = &request.asked;
        let reader = self.reader();
        let read = async { Ok((reader.user(&ask.user, self.now()).await?, reader.host(&ask.host).await?)) };
        let (user, host) = read.await.map_err(|e: crate::store::StoreError| self.fault(&e))?;
        Ok(tightened(&self.policy(), request, user.map(|user| user.person).as_ref(), host.as_ref()))
    }
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
