//! How a connection was proven: by a user's key, or by that key under an access certificate, which sees its grant alone.

use ssh_key::{Certificate, PublicKey};

use super::fault::Stop;
use super::people::{fingerprint, present};
use super::{Broker, Error, Fault};
use crate::access::grant::{Grant, GrantState};
use crate::access::host::Host;
use crate::access::names::{Actor, GrantId};
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::access::time::Timestamp;
use crate::audit::event::{CertificateKind, Event};
use crate::ca::access::{AccessCert, AccessClaim, PRINCIPAL};
use crate::ca::certificate::{KeyId, Serial, Validity};
use crate::ca::turning::KeyRole;
use crate::store::{IssuedCertificate, Outcome, Tx, Urgency};

/// What proved a user. Made by the door alone, from a signature that was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    key: PublicKey,
    limit: Option<Limit>,
}

/// An access certificate that counted when it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    grant: GrantId,
    serial: u64,
    authority: String,
}

impl Proof {
    /// The plain key.
    pub fn plain(key: PublicKey) -> Self {
        Self { key, limit: None }
    }

    /// The key that signed.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The one grant that this connection may see, if an access certificate opened it.
    pub fn limit(&self) -> Option<&GrantId> {
        self.limit.as_ref().map(|limit| &limit.grant)
    }

    /// The access certificate's number.
    pub fn serial(&self) -> Option<u64> {
        self.limit.as_ref().map(|limit| limit.serial)
    }

    /// This proof inside of a connection that `outer` opened: limited if either is. None where the two name different grants.
    pub fn inside(mut self, outer: &Self) -> Option<Self> {
        match (&self.limit, &outer.limit) {
            (Some(own), Some(around)) if own.grant != around.grant => None,
            (None, Some(_)) => {
                self.limit.clone_from(&outer.limit);
                Some(self)
            }
            _ => Some(self),
        }
    }
}

/// An access certificate that was just signed.
#[derive(Debug, Clone)]
pub struct AccessPass {
    /// The certificate, ready for `-cert.pub`.
    pub certificate: Certificate,
    /// The grant.
    pub grant: Grant,
}

impl Broker {
    /// Whose access certificate is this, and does it count now: signed by us and kept as signed, over a key that is still theirs, for a grant
    /// that is active. Its own signature over the connection is the caller's business.
    pub async fn recognise_certificate(&self, certificate: &Certificate) -> Result<(Person, Proof), Error> {
        let authorities = self.access_authorities()?;
        let claim = AccessClaim::read(certificate, &authorities, self.now()).map_err(|why| worthless(&why.to_string()))?;
        let limit = Limit { grant: claim.grant, serial: claim.serial, authority: claim.authority };
        let person = self.holder(&claim.key, &limit).await?;
        Ok((person, Proof { key: claim.key, limit: Some(limit) }))
    }

    /// Whom this proof proves now: the user of the key, none if they may do nothing any more, or if the access certificate counts no more.
    pub async fn standing(&self, proof: &Proof) -> Result<Option<Person>, Fault> {
        let Some(limit) = &proof.limit else { return self.recognise(&proof.key).await };
        let trusted = self.access_authorities()?.iter().any(|authority| fingerprint(authority) == limit.authority);
        if !trusted {
            return Ok(None);
        }
        match self.holder(&proof.key, limit).await {
            Ok(person) => Ok(Some(person)),
            Err(Error::Refused(_)) => Ok(None),
            Err(Error::Fault(fault)) => Err(fault),
        }
    }

    /// The host that `target` and `port` mean, as [`Broker::resolve`] finds it, if this proof may go there.
    pub async fn resolve_for(&self, who: &Person, proof: &Proof, target: &str, port: u16) -> Result<Option<Host>, Fault> {
        let host = self.resolve(who, target, port).await?;
        let Some(limit) = proof.limit() else { return Ok(host) };
        let grant = self.store.door().grant(limit).await.map_err(|e| self.store_fault(&e))?;
        Ok(host.filter(|host| grant.is_some_and(|grant| grant.host == host.name)))
    }

    async fn holder(&self, key: &PublicKey, limit: &Limit) -> Result<Person, Error> {
        let (reader, key) = (self.store.door(), fingerprint(key));
        let fault = |e| self.store_fault(&e);
        let issued = reader.certificate(limit.serial).await.map_err(fault)?;
        let issued = issued.filter(|issued| issued.key == key && issued.grant == limit.grant && issued.authority == limit.authority);
        let issued = issued.ok_or_else(|| worthless("the bastion has not signed it"))?;
        let person = reader.user_by_key(&key, self.now()).await.map_err(fault)?.filter(|person| person.user == issued.user);
        let person = person.ok_or_else(|| worthless("its key is not its user's any more"))?;
        let grant = reader.grant(&limit.grant).await.map_err(fault)?.filter(|grant| grant.user == person.user);
        match grant.map(|grant| grant.state(self.now())) {
            Some(GrantState::Active) => Ok(person),
            Some(state) => Err(worthless(&format!("{} is {}", limit.grant, state.as_str())).into()),
            None => Err(worthless("its grant is not its user's").into()),
        }
    }

    /// The authorities whose access certificates count now.
    fn access_authorities(&self) -> Result<Vec<PublicKey>, Fault> {
        Ok(self.keys()?.trusted(KeyRole::Access, self.now()))
    }

    /// Signs an access certificate for the key of `proof`, for the time of a grant that `who` holds: from its begin to its end.
    pub async fn access_certificate(&self, who: &Person, proof: &Proof, id: &GrantId) -> Result<AccessPass, Error> {
        let unknown = || Refusal::no_such("grant", id);
        let grant = self.store.door().grant(id).await.map_err(|e| self.store_fault(&e))?;
        let grant = grant.filter(|grant| grant.user == who.user).ok_or_else(unknown)?;
        still_open(&grant, self.now())?;
        let validity = Validity::of_grant(grant.begins, grant.ends).map_err(|_| too_short(&grant))?;
        self.keys_are_good()?;
        let key_id = KeyId::of_access(&who.user, id);
        let serial = Serial::random(&mut *self.chance.rng());
        let ask = AccessCert { key: proof.key(), grant: id, key_id: key_id.clone(), serial, validity };
        let keys = self.keys()?;
        let certificate = keys.access.certify(&ask, &mut *self.chance.rng()).map_err(|e| self.fault(&e))?;
        let seconds = |at: u64| Timestamp::from_micros(i64::try_from(at).unwrap_or(i64::MAX).saturating_mul(1_000_000));
        let issued = IssuedCertificate {
            serial: serial.get(),
            grant: id.clone(),
            user: who.user.clone(),
            key: fingerprint(proof.key()),
            authority: fingerprint(keys.access.public_key()),
            begins: seconds(validity.from),
            ends: seconds(validity.until),
        };
        let (read, by) = (grant.clone(), Actor::User(who.user.clone()));
        self.act(Urgency::Ordinary, by, move |tx| {
            Box::pin(async move {
                keep(tx, &issued, &read).await?;
                Ok(Outcome::Changed((), issued_event(issued, key_id)))
            })
        })
        .await?;
        Ok(AccessPass { certificate, grant })
    }
}

/// Keeps what was signed, if what was read for it still stands.
async fn keep(tx: &mut Tx, issued: &IssuedCertificate, read: &Grant) -> Result<(), Stop> {
    let person = present(tx, &issued.user).await?;
    if tx.key_owner(&issued.key).await?.as_ref() != Some(&person.user) {
        let refusal = Refusal::new("unknown-user", "this key opens nothing here any more");
        return Err(refusal.hint("ask an administrator").into());
    }
    let grant = tx.grant(&issued.grant).await?.ok_or_else(|| Refusal::no_such("grant", &issued.grant))?;
    still_open(&grant, tx.now())?;
    if (grant.begins, grant.ends) != (read.begins, read.ends) {
        let refusal = Refusal::new("overtaken", format!("the time of {} was changed at this moment", grant.id));
        return Err(refusal.hint(format!("again: ssh jit-bastion cert {}", grant.id)).into());
    }
    tx.add_certificate(issued).await?;
    Ok(())
}

fn issued_event(issued: IssuedCertificate, key_id: KeyId) -> Event {
    Event::CertificateIssued {
        kind: CertificateKind::Access,
        serial: issued.serial.to_string(),
        key_id: key_id.to_string(),
        key: issued.key,
        principals: PRINCIPAL.into(),
        until_us: issued.ends,
    }
}

fn still_open(grant: &Grant, now: Timestamp) -> Result<(), Refusal> {
    match grant.state(now) {
        GrantState::Waiting | GrantState::Active => Ok(()),
        over => {
            let refusal = Refusal::new("already-over", format!("{} is {}: there is nothing to certify", grant.id, over.as_str()));
            Err(refusal.hint("`ssh jit-bastion grants` lists yours"))
        }
    }
}

fn too_short(grant: &Grant) -> Refusal {
    Refusal::new("too-late", format!("{} ends at {}: too late for a certificate", grant.id, grant.ends))
        .hint(format!("ssh jit-bastion extend {} --for D --reason WHY", grant.id))
}

fn worthless(why: &str) -> Refusal {
    Refusal::new("access-certificate", format!("this access certificate opens nothing: {why}"))
        .hint("`ssh jit-bastion cert GRANT` with the plain key makes one")
}
