//! The door for a forward straight through the outer connection, to a port of a host that is not SSH.

use super::super::{Broker, Error, Proof, request_command};
use super::{Admission, Arrived, Sorted, still_given};
use crate::access::grant::{Grant, GrantState};
use crate::access::host::Host;
use crate::access::opening::Opening;
use crate::access::person::Person;
use crate::access::refusal::Refusal;

impl Broker {
    /// Does a grant of `who` let them be connected with `what` on `to` now, past the host's SSH? Only one whose rule has `direct = true`,
    /// when it was asked for and now. Of several the one that ends last.
    pub async fn admit_direct(&self, who: &Person, proof: &Proof, to: &Host, what: &Opening) -> Result<Admission, Error> {
        let Arrived { person, host, policy, grants } = self.arrive(who, proof, to).await?;
        self.leads_past_ssh(&host, what)?;
        let (reader, now) = (self.store.door(), self.now());
        let Sorted { mut grants, .. } = self.sort(grants, proof).await?;
        grants.retain(|grant| grant.state(now) == GrantState::Active && what.granted_by(&grant.channels));
        let mut grants = in_order(grants);
        while let Some(grant) = grants.pop() {
            let asked = reader.request(&grant.request).await.map_err(|e| self.store_fault(&e))?;
            let direct = asked.is_some_and(|kept| kept.rule.direct);
            if !direct || !policy.gives_direct(&person, &host, &grant.login, &grant.channels) {
                continue;
            }
            still_given(&policy, &person, &host, &grant.login, &grant.channels)?;
            policy.denies_now(&person, &host, &grant.login, &what.all())?;
            return self.admitted(person, host, grant, proof, true).await;
        }
        Err(not_direct(&host, what).into())
    }
}

/// The one that ends last is the last; of equals the newest.
fn in_order(mut grants: Vec<Grant>) -> Vec<Grant> {
    grants.sort_by(|a, b| (a.ends, a.begins, &a.id).cmp(&(b.ends, b.begins, &b.id)));
    grants
}

fn not_direct(host: &Host, what: &Opening) -> Refusal {
    let kind = what.kind();
    let refusal =
        Refusal::new("not-direct", format!("no such host or not permitted: no grant of yours gives {kind} on {} directly", host.name));
    let login = host.logins.first().map_or_else(String::new, |login| request_command(&host.name, login, super::DEFAULT_LENGTH));
    refusal.hint(format!("through a session on the host it may go: ssh -J jit-bastion -L .. {} ({login})", host.name))
}
