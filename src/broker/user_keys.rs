//! Users' keys: given, named, taken away.

use ssh_key::{Algorithm, PublicKey};

use super::fault::Stop;
use super::people::fingerprint;
use super::users::{known, told};
use super::{Broker, Error};
use crate::access::names::{Actor, User, escaped};
use crate::access::refusal::Refusal;
use crate::audit::event::Event;
use crate::store::{KeyRow, Outcome, Tx, Urgency, UserRow};

/// A key to be given to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The key.
    pub key: PublicKey,
    /// What its owner calls it; empty takes the key's comment.
    pub name: String,
}

impl NewKey {
    /// `SHA256:..`, as OpenSSH prints it.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.key)
    }

    /// What it will be called: at most 64 characters.
    pub fn called(&self) -> String {
        let comment = self.key.comment().to_string();
        let called = if self.name.trim().is_empty() { comment.trim() } else { self.name.trim() };
        called.chars().take(LONGEST_NAME).collect()
    }
}

impl Broker {
    /// More keys for a user, all of them or none; their fingerprints. If they could approve, those who could too are told.
    pub async fn add_keys(&self, by: &Actor, user: &User, keys: Vec<NewKey>) -> Result<Vec<String>, Error> {
        keys.iter().try_for_each(acceptable)?;
        let (user, policy, actor) = (user.clone(), self.in_force(), by.clone());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let row = known(tx, &user).await?;
                let (mut added, mut events) = (Vec::new(), Vec::new());
                for key in &keys {
                    name_is_free(&row, key)?;
                    let key = keep_key(tx, &user, key).await?;
                    let told = told(tx, &policy, &actor, &row.account, &format!("{actor} gave {user} the key {key}")).await?;
                    added.push(key.clone());
                    events.push(Event::UserKeyAdded { user: user.clone(), key, told });
                }
                Ok(Outcome::Many(added, events))
            })
        })
        .await
    }

    /// A key, by its fingerprint or its name, belongs to nobody any more; its fingerprint. The live sessions that it opened fall.
    pub async fn remove_key(&self, by: &Actor, user: &User, named: &str) -> Result<String, Error> {
        let (owner, named) = (user.clone(), named.to_owned());
        let removed = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let row = known(tx, &owner).await?;
                let key = the_key(&row, &named)?.fingerprint.clone();
                tx.remove_key(&owner, &key).await?;
                Ok(Outcome::Changed(key.clone(), Event::UserKeyRemoved { user: owner, key }))
            })
        });
        let key = removed.await?;
        self.cut_now().await;
        Ok(key)
    }
}

/// The one key that `named` means.
fn the_key<'r>(row: &'r UserRow, named: &str) -> Result<&'r KeyRow, Refusal> {
    let user = &row.person.user;
    let shown: String = escaped(named).chars().take(100).collect();
    let fits = |key: &&KeyRow| key.fingerprint == named || key.name == named;
    match row.keys.iter().filter(fits).collect::<Vec<_>>().as_slice() {
        [key] => Ok(key),
        [] => Err(Refusal::new("no-such-key", format!("{user} has no key \"{shown}\""))
            .hint(format!("`jit-bastion user key list {user}` shows theirs"))),
        several => {
            let prints: Vec<&str> = several.iter().map(|key| key.fingerprint.as_str()).collect();
            Err(Refusal::new("choose-key", format!("{user} has {} keys called \"{shown}\"", several.len()))
                .hint(format!("name one by its fingerprint: {}", prints.join(", "))))
        }
    }
}

/// A name that was chosen is given once; comments of keys may be alike.
fn name_is_free(row: &UserRow, new: &NewKey) -> Result<(), Refusal> {
    let called = new.name.trim();
    let taken = !called.is_empty() && row.keys.iter().any(|key| key.name == called);
    let refusal = || Refusal::new("exists", format!("{} has a key called \"{}\" already", row.person.user, escaped(called)));
    if taken { Err(refusal().hint("choose another name")) } else { Ok(()) }
}

/// Gives a key in this transaction; its fingerprint.
pub(super) async fn keep_key(tx: &mut Tx, user: &User, new: &NewKey) -> Result<String, Stop> {
    let fingerprint = new.fingerprint();
    if let Some(owner) = tx.key_owner(&fingerprint).await? {
        let refusal = Refusal::new("key-taken", format!("the key {fingerprint} belongs to {owner} already"));
        return Err(refusal.hint("a key belongs to one user; make another").into());
    }
    let line = bare_line(&new.key)?;
    tx.add_key(user, &fingerprint, &line, &new.called()).await?;
    Ok(fingerprint)
}

/// The key as authorized_keys writes it, without its comment.
pub(super) fn bare_line(key: &PublicKey) -> Result<String, Refusal> {
    let mut bare = key.clone();
    bare.set_comment("");
    let line = bare.to_openssh();
    let line = line.map_err(|e| Refusal::new("bad-key", format!("the key {} cannot be kept: {e}", fingerprint(key))))?;
    Ok(line.trim_end().to_owned())
}

/// DSA is broken, and an RSA key below 2048 bits would be refused at the door.
pub(super) fn acceptable(new: &NewKey) -> Result<(), Refusal> {
    let short = new.key.key_data().rsa().is_some_and(|rsa| rsa.key_size() < 2048);
    match new.key.algorithm() {
        Algorithm::Dsa => Err("a DSA key"),
        Algorithm::Rsa { .. } if short => Err("an RSA key of less than 2048 bits"),
        Algorithm::Other(_) => Err("a key of an unknown kind"),
        _ => Ok(()),
    }
    .map_err(|what| Refusal::new("weak-key", format!("{what} opens nothing here")).hint("`ssh-keygen -t ed25519` makes a good one"))
}

/// Of a key's name, in characters.
const LONGEST_NAME: usize = 64;
