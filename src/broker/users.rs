//! Users: who is known, in which roles and until when. From the bastion's own command line.

use std::collections::BTreeSet;

use super::fault::Stop;
use super::hosts::exists;
use super::user_keys::{NewKey, acceptable, keep_key};
use super::{Broker, Error};
use crate::access::names::{Actor, Note, Role, User};
use crate::access::person::{Account, Held};
use crate::access::policy::Policy;
use crate::access::refusal::Refusal;
use crate::access::time::Timestamp;
use crate::audit::event::{Event, list};
use crate::session::Ending;
use crate::store::{Outcome, Tx, Urgency, UserRow};

impl Broker {
    /// A new user with roles and keys. A key belongs to one user. If they could approve, those who could too are told.
    pub async fn add_user(&self, by: &Actor, account: impl Into<Account>, keys: Vec<NewKey>) -> Result<(), Error> {
        let account = account.into();
        keys.iter().try_for_each(acceptable)?;
        let (policy, actor) = (self.in_force(), by.clone());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                in_time(&account, tx.now())?;
                let event = new_user(tx, &policy, &actor, &account, &keys).await?;
                Ok(Outcome::Changed((), event))
            })
        })
        .await
    }

    /// These roles more for a user, of which one that they hold gets these dates, and those less; all of it or nothing. Live sessions that
    /// the others would not be given fall.
    pub async fn change_roles(&self, by: &Actor, user: &User, more: Vec<Held>, less: Vec<Role>) -> Result<(), Error> {
        self.change_user(by, user, move |account, now| {
            for role in less {
                let before = account.roles.len();
                account.roles.retain(|held| held.role != role);
                if account.roles.len() == before {
                    let refusal = Refusal::new("no-such-role", format!("{} does not hold the role {role}", account.user));
                    return Err(refusal.hint(format!("`jit-bastion user show {}` lists theirs", account.user)));
                }
            }
            for held in &more {
                account.roles.retain(|known| known.role != held.role);
            }
            account.roles.extend(more);
            in_time(account, now)
        })
        .await
    }

    /// These roles, without dates, and no others. Live sessions that the new ones would not be given fall.
    pub async fn set_roles(&self, by: &Actor, user: &User, roles: BTreeSet<Role>) -> Result<(), Error> {
        self.change_user(by, user, move |account, _| {
            account.roles = roles.into_iter().map(Held::always).collect();
            Ok(())
        })
        .await
    }

    /// The account ends then, or has no end any more.
    pub async fn set_contract(&self, by: &Actor, user: &User, until: Option<Timestamp>) -> Result<(), Error> {
        self.change_user(by, user, move |account, now| {
            account.until = until;
            in_time(account, now)
        })
        .await
    }

    /// Changes what an account says of a user, and cuts what it no longer gives.
    async fn change_user(
        &self,
        by: &Actor,
        user: &User,
        change: impl FnOnce(&mut Account, Timestamp) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<(), Error> {
        let (user, policy, actor) = (user.clone(), self.in_force(), by.clone());
        let changed = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let before = known(tx, &user).await?.account;
                let mut after = before.clone();
                change(&mut after, tx.now())?;
                after.roles.sort();
                Ok(Outcome::Many((), account_changed(tx, &policy, &actor, &before, &after).await?))
            })
        });
        changed.await?;
        self.rights_changed().await;
        Ok(())
    }

    /// The user may do nothing any more, and their live sessions fall.
    pub async fn disable_user(&self, by: &Actor, user: &User, note: Option<Note>) -> Result<(), Error> {
        let (gone, salt) = (user.clone(), self.salt());
        let disabled = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                if known(tx, &gone).await?.disabled_at.is_some() {
                    return Ok(Outcome::Same(()));
                }
                let note = match note {
                    Some(note) => Some(tx.keep_text(note.as_str(), &salt).await?),
                    None => None,
                };
                tx.disable_user(&gone, note).await?;
                Ok(Outcome::Changed((), Event::UserDisabled { user: gone, note }))
            })
        });
        disabled.await?;
        self.live.cut(|s| s.user == *user, Ending::Revoked);
        Ok(())
    }

    /// A disabled user may again.
    pub async fn enable_user(&self, by: &Actor, user: &User) -> Result<(), Error> {
        let (user, policy, actor) = (user.clone(), self.in_force(), by.clone());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let row = known(tx, &user).await?;
                if row.disabled_at.is_none() {
                    return Ok(Outcome::Same(()));
                }
                tx.enable_user(&user).await?;
                let told = told(tx, &policy, &actor, &row.account, &format!("{actor} let {user} in again")).await?;
                Ok(Outcome::Changed((), Event::UserEnabled { user, told }))
            })
        })
        .await
    }
}

/// Adds a user in this transaction; its event.
pub(super) async fn new_user(tx: &mut Tx, policy: &Policy, by: &Actor, account: &Account, keys: &[NewKey]) -> Result<Event, Stop> {
    if tx.user(&account.user).await?.is_some() {
        return Err(exists("user", account.user.as_str()).into());
    }
    tx.add_user(account).await?;
    let mut fingerprints = Vec::new();
    for key in keys {
        fingerprints.push(keep_key(tx, &account.user, key).await?);
    }
    let told = told(tx, policy, by, account, &format!("{by} added the user {}", account.user)).await?;
    Ok(Event::UserAdded {
        user: account.user.clone(),
        roles: list(&account.roles),
        keys: list(fingerprints),
        vendor: account.vendor.as_ref().map(ToString::to_string),
        until_us: account.until,
        told,
    })
}

/// Makes an account another in this transaction; an event for what its roles are, and one for its firm and its end.
pub(super) async fn account_changed(
    tx: &mut Tx,
    policy: &Policy,
    by: &Actor,
    before: &Account,
    after: &Account,
) -> Result<Vec<Event>, Stop> {
    if before == after {
        return Ok(Vec::new());
    }
    tx.change_user(after).await?;
    let (user, mut events) = (after.user.clone(), Vec::new());
    if before.roles != after.roles {
        let gained = list(after.roles.iter().filter(|held| !before.roles.contains(held)));
        let told = match gained.is_empty() {
            true => String::new(),
            false => told(tx, policy, by, after, &format!("{by} gave {user} the role {gained}")).await?,
        };
        events.push(Event::UserRolesChanged { user: user.clone(), before: list(&before.roles), roles: list(&after.roles), told });
    }
    if (&before.vendor, before.until) != (&after.vendor, after.until) {
        let told = told(tx, policy, by, after, &format!("{by} changed the firm or the contract of {user}")).await?;
        events.push(Event::UserChanged { user, vendor: after.vendor.as_ref().map(ToString::to_string), until_us: after.until, told });
    }
    Ok(events)
}

/// Where the user could approve, now or by a role that is still to begin, those who could too are told `text`.
pub(super) async fn told(tx: &mut Tx, policy: &Policy, by: &Actor, account: &Account, text: &str) -> Result<String, Stop> {
    if !policy.could_approve(&account.some_day()) {
        return Ok(String::new());
    }
    Ok(tx.tell_approvers(policy, by, Some(&account.user), &format!("{text}, who could approve")).await?)
}

pub(super) async fn known(tx: &mut Tx, user: &User) -> Result<UserRow, Stop> {
    let unknown = || Refusal::new("no-such-user", format!("no user \"{user}\"")).hint("`jit-bastion user list` shows them");
    Ok(tx.user(user).await?.ok_or_else(unknown)?)
}

/// Dates that can come about: each begins before it ends, and nothing that is new is over already.
pub(super) fn in_time(account: &Account, now: Timestamp) -> Result<(), Refusal> {
    let over = |what: String, at: Timestamp| {
        Refusal::new("over", format!("{what} would have ended at {at} already"))
            .hint("name a time that is still to come, or leave --until out")
    };
    for held in &account.roles {
        let (from, until) = (held.from, held.until);
        if let (Some(from), Some(until)) = (from, until)
            && until <= from
        {
            let refusal = Refusal::new("backwards", format!("the role {} would end at {until}, before it begins at {from}", held.role));
            return Err(refusal.hint("--until is later than --from"));
        }
        if let Some(until) = until.filter(|until| *until <= now) {
            return Err(over(format!("the role {}", held.role), until));
        }
    }
    match account.until.filter(|until| *until <= now) {
        Some(until) => Err(over(format!("the account of {}", account.user), until)),
        None => Ok(()),
    }
}
