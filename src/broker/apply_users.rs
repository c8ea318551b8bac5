//! A file of users becomes what is: all of it with its events, or nothing.

use std::collections::BTreeMap;

use super::apply::{Change, changes};
use super::fault::Stop;
use super::user_keys::{NewKey, keep_key};
use super::users::{account_changed, new_user, told};
use super::{Broker, Error};
use crate::access::names::Actor;
use crate::access::person::Account;
use crate::access::person::sheet::Described;
use crate::access::policy::Policy;
use crate::audit::event::Event;
use crate::store::{Outcome, Tx, Urgency, UserRow};

/// What such a file says of a user, or what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownUser {
    /// Who, in which roles, until when.
    pub account: Account,
    /// What each key is called, by its fingerprint.
    pub keys: BTreeMap<String, String>,
    /// They may do nothing.
    pub disabled: bool,
}

impl From<&UserRow> for KnownUser {
    fn from(row: &UserRow) -> Self {
        let keys = row.keys.iter().map(|key| (key.fingerprint.clone(), key.name.clone())).collect();
        Self { account: row.account.clone(), keys, disabled: row.disabled_at.is_some() }
    }
}

impl Broker {
    /// The users become what the file describes, all of them with their events or none. Who is not in it stays, or with `prune` is
    /// disabled; who is disabled stays so. What differs comes back; `dry` changes nothing. Live sessions that would not be given any more
    /// fall.
    pub async fn apply_users(&self, by: &Actor, users: Vec<Described>, prune: bool, dry: bool) -> Result<Vec<Change<KnownUser>>, Error> {
        let (actor, policy) = (by.clone(), self.in_force());
        let applied = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let is: Vec<KnownUser> = tx.users().await?.iter().map(KnownUser::from).collect();
                let shall = wanted(&is, &users, prune);
                let found = changes(is, shall, |standing| standing.account.user.clone(), false);
                let events = if dry { Vec::new() } else { land(tx, &policy, &actor, &found, &new_keys(users)).await? };
                Ok(Outcome::Many(found, events))
            })
        });
        let found = applied.await?;
        if !dry && !found.is_empty() {
            self.rights_changed().await;
        }
        Ok(found)
    }
}

type Keys = BTreeMap<String, NewKey>;

/// What each user shall be: as described, and with what the file leaves open as it is.
fn wanted(is: &[KnownUser], users: &[Described], prune: bool) -> Vec<KnownUser> {
    let mut shall: Vec<KnownUser> = Vec::new();
    for user in users {
        let known = is.iter().find(|known| known.account.user == user.account.user);
        let had = known.map(|known| known.keys.clone()).unwrap_or_default();
        let keys = match &user.keys {
            None => had,
            Some(keys) => keys.iter().map(|(key, name)| called(NewKey { key: key.clone(), name: name.clone() }, &had)).collect(),
        };
        shall.push(KnownUser { account: user.account.clone(), keys, disabled: known.is_some_and(|known| known.disabled) });
    }
    let named = |standing: &&KnownUser| users.iter().any(|user| user.account.user == standing.account.user);
    let others = is.iter().filter(|standing| !named(standing)).cloned();
    shall.extend(others.map(|other| KnownUser { disabled: other.disabled || prune, ..other }));
    shall
}

/// A key that the file does not name keeps the name that it has.
fn called(key: NewKey, had: &BTreeMap<String, String>) -> (String, String) {
    let fingerprint = key.fingerprint();
    let name = had.get(&fingerprint).filter(|_| key.name.is_empty()).cloned().unwrap_or_else(|| key.called());
    (fingerprint, name)
}

fn new_keys(users: Vec<Described>) -> Keys {
    let keys = users.into_iter().flat_map(|user| user.keys.unwrap_or_default());
    keys.map(|(key, name)| NewKey { key, name }).map(|key| (key.fingerprint(), key)).collect()
}

/// Makes it so. Keys go before they come: one may move from a user to another.
async fn land(tx: &mut Tx, policy: &Policy, by: &Actor, found: &[Change<KnownUser>], keys: &Keys) -> Result<Vec<Event>, Stop> {
    let mut events = Vec::new();
    for (before, after) in found.iter().filter_map(|change| change.before.as_ref().zip(change.after.as_ref())) {
        for key in before.keys.keys().filter(|key| !after.keys.contains_key(*key)) {
            let user = after.account.user.clone();
            tx.remove_key(&user, key).await?;
            events.push(Event::UserKeyRemoved { user, key: key.clone() });
        }
    }
    for change in found {
        match (&change.before, &change.after) {
            (None, Some(after)) => {
                let new: Vec<NewKey> = after.keys.keys().filter_map(|key| keys.get(key).cloned()).collect();
                events.push(new_user(tx, policy, by, &after.account, &new).await?);
            }
            (Some(before), Some(after)) => events.extend(changed(tx, policy, by, before, after, keys).await?),
            _ => {}
        }
    }
    Ok(events)
}

async fn changed(tx: &mut Tx, policy: &Policy, by: &Actor, before: &KnownUser, after: &KnownUser, keys: &Keys) -> Result<Vec<Event>, Stop> {
    let user = &after.account.user;
    let mut events = account_changed(tx, policy, by, &before.account, &after.account).await?;
    for (key, name) in &after.keys {
        match before.keys.get(key) {
            None => {
                let Some(new) = keys.get(key) else { continue };
                keep_key(tx, user, new).await?;
                let told = told(tx, policy, by, &after.account, &format!("{by} gave {user} the key {key}")).await?;
                events.push(Event::UserKeyAdded { user: user.clone(), key: key.clone(), told });
            }
            Some(had) if had != name => {
                tx.name_key(user, key, name).await?;
                events.push(Event::UserKeyRenamed { user: user.clone(), key: key.clone() });
            }
            Some(_) => {}
        }
    }
    if after.disabled && !before.disabled {
        tx.disable_user(user, None).await?;
        events.push(Event::UserDisabled { user: user.clone(), note: None });
    }
    Ok(events)
}
