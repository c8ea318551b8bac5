//! The door for a forward straight through the outer connection, to a port of a host that is not SSH.

use super::super::{Broker, Error, Proof, request_command};
use super::{Admission, Sorted, clock_stands, still_given};
use crate::access::grant::{Grant, GrantState};
use crate::access::host::Host;
use crate::access::opening::Opening;
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::broker::people::fingerprint;
use crate::ca::certificate::Serial;
use crate::store::{GrantFilter, StoreError};

impl Broker {
    /// Does a grant of `who` let them be connected with `what` on `to` now, past the host's SSH? Only one whose rule has `direct = true`,
    /// when it was asked for and now. Of several the one that ends last.
    pub async fn admit_direct(&self, who: &Person, proof: &Proof, to: &Host, what: &Opening) -> Result<Admission, Error> {
        self.store_takes_writes()?;
        let fault = |e: StoreError| self.store_fault(&e);
        let (reader, now) = (self.store.door(), self.now());
        if let Some(newest) = reader.newest().await.map_err(fault)? {
            clock_stands(now, newest)?;
        }
        let person = self.standing(proof).await?.filter(|known| known.user == who.user);
        let person =
            person.ok_or_else(|| Refusal::new("unknown-user", "this key opens nothing here any more").hint("ask an administrator"))?;
        let host = reader.host(&to.name).await.map_err(fault)?;
        let held = reader.held(&person.user, Some(&to.name)).await.map_err(fault)?;
        let policy = self.policy();
        let host = policy.look(&person, host.as_ref(), held, to.name.as_str())?.clone();
        self.leads_past_ssh(&host, what)?;
        let filter = GrantFilter { user: Some(person.user.clone()), host: Some(host.name.clone()), open_at: Some(now), most: None };
        let grants = reader.grants(&filter).await.map_err(fault)?;
        let Sorted { mut grants, .. } = self.sort(grants, proof).await?;
        grants.retain(|grant| grant.state(now) == GrantState::Active && what.granted_by(&grant.channels));
        let mut grants = in_order(grants);
        while let Some(grant) = grants.pop() {
            let asked = reader.request(&grant.request).await.map_err(fault)?;
            let direct = asked.is_some_and(|kept| kept.rule.direct);
            if !direct || !policy.gives_direct(&person, &host, &grant.login, &grant.channels) {
                continue;
            }
            still_given(&policy, &person, &host, &grant.login, &grant.channels)?;
            policy.denies_now(&person, &host, &grant.login, &what.all())?;
            let session = self.free_session_id().await.map_err(fault)?;
            let serial = Serial::random(&mut *self.chance.rng());
            let (key, pass) = (fingerprint(proof.key()), proof.serial());
            return Ok(Admission { grant, host, person, key, session, serial, pass, direct: true });
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
