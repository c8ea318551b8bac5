//! Grants and access certificates at the door: a certificate sees its grant alone, and some rules want one.

use super::{Broker, Error, Proof};
use crate::access::grant::{Grant, GrantState};
use crate::access::names::{GrantId, Login};
use crate::access::refusal::Refusal;

/// Grants on one host, by what the proof makes of them.
pub(super) struct Sorted {
    /// That may admit.
    pub(super) grants: Vec<Grant>,
    /// Active ones whose rule wants an access certificate of theirs, which was not shown.
    pub(super) certified: Vec<Grant>,
}

impl Broker {
    /// Leaves out what this proof may not use: with an access certificate every other grant, without one those whose rule wants it.
    pub(super) async fn sort(&self, mut grants: Vec<Grant>, proof: &Proof) -> Result<Sorted, Error> {
        if let Some(limit) = proof.limit() {
            grants.retain(|grant| grant.id == *limit);
            return Ok(Sorted { grants, certified: Vec::new() });
        }
        let (reader, now) = (self.store.door(), self.now());
        let mut sorted = Sorted { grants: Vec::new(), certified: Vec::new() };
        let (active, waiting): (Vec<_>, Vec<_>) = grants.into_iter().partition(|grant| grant.state(now) == GrantState::Active);
        // Each costs a few statements at a door where anybody with a key may knock: those that end last are enough.
        for grant in active.into_iter().take(LOOKED_AT) {
            let request = reader.request(&grant.request).await.map_err(|e| self.store_fault(&e))?;
            // A grant without its request has no rule that could let it in without.
            let rule = match &request {
                Some(request) => Some(self.rule_now(&reader, request).await?),
                None => None,
            };
            let wants = rule.is_none_or(|rule| rule.require_cert);
            if wants { sorted.certified.push(grant) } else { sorted.grants.push(grant) }
        }
        sorted.grants.extend(waiting);
        Ok(sorted)
    }
}

/// No grant admits: says so in terms of certificates where that is why. `login` and `named` are what the inner user name said.
pub(super) fn explain(refusal: Refusal, certified: &[Grant], proof: &Proof, login: Option<&Login>, named: Option<&GrantId>) -> Refusal {
    if let Some(limit) = proof.limit() {
        let limited = Refusal::new("limited", format!("{}; your access certificate opens {limit} alone", refusal.message));
        return limited.hint(without(limit));
    }
    let meant = |grant: &&Grant| login.is_none_or(|login| grant.login == *login) && named.is_none_or(|id| grant.id == *id);
    match certified.iter().find(meant) {
        Some(grant) => {
            let refusal = Refusal::new(CERTIFICATE_NEEDED, format!("the rule of {} wants an access certificate of it", grant.id));
            refusal.hint(format!(
                "ssh jit-bastion cert {} > ~/.ssh/id_ed25519-cert.pub\nthen: ssh -J jit-bastion {}@{}",
                grant.id, grant.login, grant.host
            ))
        }
        None => refusal,
    }
}

/// How to come in without the certificate that limits a connection.
pub fn without(limit: &GrantId) -> String {
    format!("to see more than {limit}, come in by the plain key: ssh -o 'PubkeyAcceptedAlgorithms=-*-cert-v01@openssh.com' jit-bastion ..")
}

/// The code of the refusal that an access certificate would turn into a yes.
pub const CERTIFICATE_NEEDED: &str = "certificate-needed";

/// Active grants on one host whose rules are read for one visit.
const LOOKED_AT: usize = 16;
