//! Users: who is known, by which keys, in which roles. From the bastion's own command line.

use std::collections::BTreeSet;

use ssh_key::{Algorithm, PublicKey};

use super::fault::Stop;
use super::hosts::exists;
use super::people::fingerprint;
use super::{Broker, Error};
use crate::access::names::{Actor, Role, User};
use crate::access::person::Person;
use crate::access::policy::Policy;
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
        let (policy, actor) = (self.policy(), by.clone());
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
                let told = told(tx, &policy, &actor, &person, &format!("{actor} added the user {}", person.user)).await?;
                let event = Event::UserAdded {
                    told,
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
        let (user, policy, actor) = (user.clone(), self.policy(), by.clone());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let person = known(tx, &user).await?.person;
                let key = keep_key(tx, &user, &key).await?;
                let told = told(tx, &policy, &actor, &person, &format!("{actor} gave {user} the key {key}")).await?;
                Ok(Outcome::Changed(key.clone(), Event::UserKeyAdded { user, key, told }))
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
        let (user, policy, actor) = (user.clone(), self.policy(), by.clone());
        let set = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let mut person = known(tx, &user).await?.person;
                if person.roles == roles {
                    return Ok(Outcome::Same(()));
                }
                tx.set_roles(&user, &roles).await?;
                let before = std::mem::replace(&mut person.roles, roles);
                let gained = list(person.roles.difference(&before));
                let told = match gained.is_empty() {
                    true => String::new(),
                    false => told(tx, &policy, &actor, &person, &format!("{actor} gave {user} the role {gained}")).await?,
                };
                Ok(Outcome::Changed((), Event::UserRolesChanged { user, before: list(before), roles: list(person.roles), told }))
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
}

/// Where `person` could approve, those who could too are told `text`.
async fn told(tx: &mut Tx, policy: &Policy, by: &Actor, person: &Person, text: &str) -> Result<String, Stop> {
    if !policy.could_approve(person) {
        return Ok(String::new());
    }
    Ok(tx.tell_approvers(policy, by, Some(&person.user), &format!("{text}, who could approve")).await?)
}

async fn known(tx: &mut Tx, user: &User) -> Result<UserRow, Stop> {
    let unknown = || Refusal::new("no-such-user", format!("no user \"{user}\"")).hint("`jit-bastion user list` shows them");
    Ok(tx.user(user).await?.ok_or_else(unknown)?)
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
