//! Who is this, and which host do they mean.

use std::net::IpAddr;
use std::sync::PoisonError;

use ssh_key::{HashAlg, PublicKey};

use super::fault::Stop;
use super::{Broker, Fault};
use crate::access::host::Host;
use crate::access::names::{Actor, HostName, User};
use crate::access::opening::SshPorts;
use crate::access::person::Person;
use crate::access::policy::{Act, Policy};
use crate::access::refusal::Refusal;
use crate::access::request::Request;
use crate::store::{StoreError, Tx};

impl Broker {
    /// The user whose key this is, with their roles now; none for a stranger and for a disabled user. The key proves nothing yet.
    pub async fn recognise(&self, key: &PublicKey) -> Result<Option<Person>, Fault> {
        self.store_answers()?;
        self.store.door().user_by_key(&fingerprint(key), self.now()).await.map_err(|e| self.store_fault(&e))
    }

    /// Notes that this key has proven somebody.
    pub async fn proven(&self, key: &PublicKey) -> Result<(), Fault> {
        self.store_takes_writes()?;
        self.store.key_used(&fingerprint(key), self.now()).await.map_err(|e| self.store_fault(&e))
    }

    /// The host that `target` and `port` mean (its name, an alias, its registered address), if `who` may see it. Unknown and invisible
    /// are one answer.
    pub async fn resolve(&self, who: &Person, target: &str, port: u16) -> Result<Option<Host>, Fault> {
        let reader = self.store.door();
        let look = async {
            let host = reader.find_host(target, port).await?;
            let held = reader.held(&who.user, host.as_ref().map(|host| &host.name)).await?;
            let seen = self.policy().look(who, host.as_ref(), held, target).is_ok();
            Ok::<_, StoreError>(host.filter(|_| seen))
        };
        look.await.map_err(|e| self.store_fault(&e))
    }

    /// Is this the registered address of a host? Nobody may come in from there. Loopback addresses never are, and hosts registered by a
    /// DNS name are not resolved. As the watcher last saw the store.
    pub fn is_host_address(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        !ip.is_loopback() && self.host_addresses.read().unwrap_or_else(PoisonError::into_inner).contains(&ip)
    }

    /// Reads where the registered hosts are again.
    pub(super) async fn learn_host_addresses(&self) -> Result<(), Fault> {
        let places = self.store.watcher().host_places().await.map_err(|e| self.fault(&e))?;
        let addresses = places.iter().filter_map(|(_, at)| at.host.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical()).collect();
        let ports = SshPorts::of(places.iter().map(|(name, at)| (name.as_str(), at.host.as_str(), at.port)));
        *self.host_addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
        *self.ssh_ports.write().unwrap_or_else(PoisonError::into_inner) = ports;
        Ok(())
    }

    /// May `who` see this request: its asker, who decides about it, who has decided, who may see or end what happens on its host.
    /// `host` is the request's, if it is still registered.
    pub fn may_see(&self, who: &Person, request: &Request, host: Option<&Host>) -> bool {
        may_see(&self.policy(), who, request, host)
    }
}

pub(super) fn may_see(policy: &Policy, who: &Person, request: &Request, host: Option<&Host>) -> bool {
    let overseer = |host| policy.may(who, Act::Sessions, host) || policy.may(who, Act::Revoke, host);
    request.asked.user == who.user
        || request.rule.may_decide(who, &request.asked.user).is_ok()
        || request.approvals().iter().any(|yes| yes.by == who.user)
        || host.is_some_and(overseer)
}

/// The user as they are in this transaction.
pub(super) async fn present(tx: &mut Tx, user: &User) -> Result<Person, Stop> {
    match tx.person(user).await? {
        Some(person) => Ok(person),
        None => Err(Refusal::new("unknown-user", format!("{user} may do nothing here any more")).hint("ask an administrator").into()),
    }
}

/// Who acts, as policy sees them: a user with their roles now, or somebody on the bastion's own command line (none).
pub(super) async fn actor(tx: &mut Tx, by: &Actor) -> Result<Option<Person>, Stop> {
    match by {
        Actor::User(user) => present(tx, user).await.map(Some),
        Actor::Local(_) | Actor::System => Ok(None),
    }
}

/// The host of a name or an alias as typed, in this transaction.
pub(super) async fn host_typed(tx: &mut Tx, typed: &str) -> Result<Option<Host>, Stop> {
    let Ok(named) = HostName::parse(typed) else { return Ok(None) };
    Ok(tx.find_host(&named).await?)
}

/// The host of a row that may be older than it: as registered now, or by its name alone, so that a right over some hosts never becomes one
/// over a host that is gone.
pub(super) async fn place(tx: &mut Tx, name: &HostName) -> Result<Host, Stop> {
    Ok(tx.host(name).await?.unwrap_or_else(|| Host::unregistered(name)))
}

/// `SHA256:..`, as OpenSSH prints it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}
