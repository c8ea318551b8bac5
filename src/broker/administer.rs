//! Users and hosts: who is known, where sessions can go. From the bastion's own command line.

use std::collections::BTreeSet;

use ssh_key::{Algorithm, PublicKey};

use super::fault::Stop;
use super::people::fingerprint;
use super::{Broker, Error};
use crate::access::host::Host;
use crate::access::names::{Actor, HostName, Role, User};
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::audit::event::{Event, list};
use crate::session::Ending;
use crate::store::{Outcome, Tx, Urgency, UserRow};

/// A key to be given to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The key.
    pub key: PublicKey,
    /// What its owner calls it; empty takes the key's comment.
    pub name: String,
}

impl Broker {
    /// A new user with roles and keys. A key belongs to one user.
    pub async fn add_user(&self, by: &Actor, person: Person, keys: Vec<NewKey>) -> Result<(), Error> {
        keys.iter().try_for_each(acceptable)?;
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                if tx.user(&person.user).await?.is_some() {
                    return Err(exists("user", person.user.as_str()).into());
                }
                tx.add_user(&person).await?;
                let mut fingerprints = Vec::new();
                for key in &keys {
                    fingerprints.push(keep_key(tx, &person.user, key).await?);
                }
                let event = Event::UserAdded {
                    roles: list(&person.roles),
                    keys: list(fingerprints),
                    vendor: person.vendor.as_ref().map(ToString::to_string),
                    user: person.user,
                };
                Ok(Outcome::Changed((), event))
            })
        })
        .await
    }

    /// One more key for a user; its fingerprint.
    pub async fn add_key(&self, by: &Actor, user: &User, key: NewKey) -> Result<String, Error> {
        acceptable(&key)?;
        let user = user.clone();
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                known(tx, &user).await?;
                let key = keep_key(tx, &user, &key).await?;
                Ok(Outcome::Changed(key.clone(), Event::UserKeyAdded { user, key }))
            })
        })
        .await
    }

    /// A key, by its fingerprint, belongs to nobody any more. The live sessions that it opened fall.
    pub async fn remove_key(&self, by: &Actor, user: &User, fingerprint: &str) -> Result<(), Error> {
        let (owner, key) = (user.clone(), fingerprint.to_owned());
        let removed = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let row = known(tx, &owner).await?;
                if !row.keys.iter().any(|known| known.fingerprint == key) {
                    let refusal = Refusal::new("no-such-key", format!("{owner} has no key {key}"));
                    return Err(refusal.hint(format!("`jit-bastion user show {owner}` lists them")).into());
                }
                tx.remove_key(&owner, &key).await?;
                Ok(Outcome::Changed((), Event::UserKeyRemoved { user: owner, key }))
            })
        });
        removed.await?;
        self.cut_now().await;
        Ok(())
    }

    /// These roles and no others. Live sessions that the new ones would not be given fall.
    pub async fn set_roles(&self, by: &Actor, user: &User, roles: BTreeSet<Role>) -> Result<(), Error> {
        let user = user.clone();
        let set = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let before = known(tx, &user).await?.person.roles;
                if before == roles {
                    return Ok(Outcome::Same(()));
                }
                tx.set_roles(&user, &roles).await?;
                Ok(Outcome::Changed((), Event::UserRolesChanged { user, before: list(before), roles: list(roles) }))
            })
        });
        set.await?;
        self.cut_now().await;
        Ok(())
    }

    /// The user may do nothing any more, and their live sessions fall; or may again.
    pub async fn disable_user(&self, by: &Actor, user: &User) -> Result<(), Error> {
        let gone = user.clone();
        let disabled = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                if known(tx, &gone).await?.disabled_at.is_some() {
                    return Ok(Outcome::Same(()));
                }
                tx.disable_user(&gone).await?;
                Ok(Outcome::Changed((), Event::UserDisabled { user: gone }))
            })
        });
        disabled.await?;
        self.live.cut(|s| s.user == *user, Ending::Revoked);
        Ok(())
    }

    /// A disabled user may again.
    pub async fn enable_user(&self, by: &Actor, user: &User) -> Result<(), Error> {
        let user = user.clone();
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                if known(tx, &user).await?.disabled_at.is_none() {
                    return Ok(Outcome::Same(()));
                }
                tx.enable_user(&user).await?;
                Ok(Outcome::Changed((), Event::UserEnabled { user }))
            })
        })
        .await
    }

    /// A new host. Its names, and its address with its port, lead to it alone.
    pub async fn add_host(&self, by: &Actor, host: Host) -> Result<(), Error> {
        whole(&host)?;
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                if tx.host(&host.name).await?.is_some() {
                    return Err(exists("host", host.name.as_str()).into());
                }
                leads_here_alone(tx, &host).await?;
                tx.add_host(&host).await?;
                let event = Event::HostAdded {
                    address: host.address.to_string(),
                    trust: trust(&host),
                    logins: in_order(&host.logins),
                    labels: labels(&host),
                    aliases: list(&host.aliases),
                    host: host.name,
                };
                Ok(Outcome::Changed((), event))
            })
        })
        .await
    }

    /// A registered host has this address, these aliases, labels and logins from here on. Its trusted keys stay: see
    /// [`Broker::trust_host`]. Live sessions there that would not be given any more fall.
    pub async fn change_host(&self, by: &Actor, mut host: Host) -> Result<(), Error> {
        let changed = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let before = registered(tx, &host.name).await?;
                host.trust = before.trust.clone();
                whole(&host)?;
                if before == host {
                    return Ok(Outcome::Same(()));
                }
                leads_here_alone(tx, &host).await?;
                tx.change_host(&host).await?;
                let event = Event::HostChanged {
                    address: host.address.to_string(),
                    logins: in_order(&host.logins),
                    labels: labels(&host),
                    aliases: list(&host.aliases),
                    host: host.name,
                };
                Ok(Outcome::Changed((), event))
            })
        });
        changed.await?;
        self.cut_now().await;
        Ok(())
    }

    /// A registered host speaks with these keys from here on.
    pub async fn trust_host(&self, by: &Actor, name: &HostName, lines: Vec<crate::access::host::HostTrust>) -> Result<(), Error> {
        let name = name.clone();
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let before = registered(tx, &name).await?;
                let after = Host { trust: lines, ..before.clone() };
                whole(&after)?;
                if before == after {
                    return Ok(Outcome::Same(()));
                }
                tx.change_host(&after).await?;
                Ok(Outcome::Changed((), Event::HostKeyChanged { host: name, before: trust(&before), trust: trust(&after) }))
            })
        })
        .await
    }

    /// A host is no longer registered; live sessions there fall.
    pub async fn remove_host(&self, by: &Actor, name: &HostName) -> Result<(), Error> {
        let gone = name.clone();
        let removed = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                registered(tx, &gone).await?;
                tx.remove_host(&gone).await?;
                Ok(Outcome::Changed((), Event::HostRemoved { host: gone }))
            })
        });
        removed.await?;
        self.live.cut(|s| s.host == *name, Ending::Revoked);
        Ok(())
    }
}

async fn known(tx: &mut Tx, user: &User) -> Result<UserRow, Stop> {
    let unknown = || Refusal::new("no-such-user", format!("no user \"{user}\"")).hint("`jit-bastion user list` shows them");
    Ok(tx.user(user).await?.ok_or_else(unknown)?)
}

async fn registered(tx: &mut Tx, host: &HostName) -> Result<Host, Stop> {
    let unknown = || Refusal::new("no-such-host", format!("no host \"{host}\"")).hint("`jit-bastion host list` shows them");
    Ok(tx.host(host).await?.ok_or_else(unknown)?)
}

async fn keep_key(tx: &mut Tx, user: &User, new: &NewKey) -> Result<String, Stop> {
    let fingerprint = fingerprint(&new.key);
    if let Some(owner) = tx.key_owner(&fingerprint).await? {
        let refusal = Refusal::new("key-taken", format!("the key {fingerprint} belongs to {owner} already"));
        return Err(refusal.hint("a key belongs to one user; make another").into());
    }
    let mut bare = new.key.clone();
    bare.set_comment("");
    let line = bare.to_openssh().map_err(|e| Refusal::new("bad-key", format!("the key {fingerprint} cannot be kept: {e}")))?;
    let comment = new.key.comment().to_string();
    let called = if new.name.trim().is_empty() { comment.trim() } else { new.name.trim() };
    tx.add_key(user, &fingerprint, line.trim_end(), &called.chars().take(100).collect::<String>()).await?;
    Ok(fingerprint)
}

/// DSA is broken, and an RSA key below 2048 bits would be refused at the door.
fn acceptable(new: &NewKey) -> Result<(), Refusal> {
    let short = new.key.key_data().rsa().is_some_and(|rsa| rsa.key_size() < 2048);
    match new.key.algorithm() {
        Algorithm::Dsa => Err("a DSA key"),
        Algorithm::Rsa { .. } if short => Err("an RSA key of less than 2048 bits"),
        Algorithm::Other(_) => Err("a key of an unknown kind"),
        _ => Ok(()),
    }
    .map_err(|what| Refusal::new("weak-key", format!("{what} opens nothing here")).hint("`ssh-keygen -t ed25519` makes a good one"))
}

/// A host that a session can go to: somebody to be there, and a key to know it by.
fn whole(host: &Host) -> Result<(), Refusal> {
    if host.logins.is_empty() {
        return Err(Refusal::new("no-login", format!("{} has no login", host.name)).hint("--login NAME, the default first"));
    }
    if host.trust.is_empty() {
        return Err(Refusal::new("no-host-key", format!("{} has no trusted key, so nobody could reach it", host.name))
            .hint("--key FILE or --key 'ssh-ed25519 AAAA..'"));
    }
    let logins: BTreeSet<_> = host.logins.iter().collect();
    let names: BTreeSet<_> = host.names().collect();
    if logins.len() != host.logins.len() || names.len() != host.aliases.len() + 1 {
        return Err(Refusal::new("doubled", format!("a login or a name of {} stands there twice", host.name)).hint("name each once"));
    }
    Ok(())
}

async fn leads_here_alone(tx: &mut Tx, host: &Host) -> Result<(), Stop> {
    for called in host.names() {
        if let Some(other) = tx.host_named(called).await?.filter(|other| *other != host.name) {
            return Err(Refusal::new("exists", format!("\"{called}\" leads to {other} already")).hint("choose another name").into());
        }
    }
    if let Some(other) = tx.host_addressed(&host.address).await?.filter(|other| *other != host.name) {
        let refusal = Refusal::new("exists", format!("{} is the address of {other} already", host.address));
        return Err(refusal.hint("give that host an alias instead").into());
    }
    Ok(())
}

fn exists(what: &str, name: &str) -> Refusal {
    Refusal::new("exists", format!("there is a {what} \"{name}\" already")).hint(format!("`jit-bastion {what} list` shows it"))
}

fn trust(host: &Host) -> String {
    list(host.trust.iter().map(|trust| fingerprint(trust.key())))
}

/// The first is the default, so the order is told.
fn in_order(logins: &[crate::access::names::Login]) -> String {
    logins.iter().map(AsRef::<str>::as_ref).collect::<Vec<_>>().join(",")
}

fn labels(host: &Host) -> String {
    list(host.labels.iter().map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key}={value}") }))
}
