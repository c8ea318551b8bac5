//! `user ..`: makes people known, lists them, gives them keys.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::args::UserCommand;
use super::failure::Failure;
use super::said::{Outcome, Said, columns};
use super::{local, pubkey};
use crate::access::names::User;
use crate::access::person::Person;
use crate::broker::{Broker, KeyRow, NewKey, UserRow};
use crate::store::Reader;

/// `user ..`.
pub(super) async fn run(broker: &Broker, command: &UserCommand) -> Outcome {
    match command {
        UserCommand::Add { name, key, role, vendor } => {
            let roles = role.iter().map(|role| role.parse()).collect::<Result<_, _>>()?;
            let vendor = vendor.as_ref().map(|vendor| vendor.parse()).transpose()?;
            add(broker, Person { user: name.parse()?, roles, vendor }, key).await
        }
        UserCommand::List => list(&broker.reader()).await,
        UserCommand::Key { name, add } => more_keys(broker, &name.parse()?, add).await,
    }
}

async fn add(broker: &Broker, person: Person, files: &[PathBuf]) -> Outcome {
    let user = person.user.clone();
    broker.add_user(&local::actor(), person, keys(files)?).await?;
    told(broker, &user).await
}

async fn more_keys(broker: &Broker, user: &User, files: &[PathBuf]) -> Outcome {
    for key in keys(files)? {
        broker.add_key(&local::actor(), user, key).await?;
    }
    told(broker, user).await
}

fn keys(files: &[PathBuf]) -> Result<Vec<NewKey>, Failure> {
    let mut keys = Vec::new();
    for file in files {
        keys.extend(pubkey::in_file(file, pubkey::Form::User)?.into_iter().map(|key| NewKey { key, name: String::new() }));
    }
    Ok(keys)
}

/// The user as they are now.
async fn told(broker: &Broker, user: &User) -> Outcome {
    let known = broker.reader().user(user).await.context("cannot read the user")?;
    let known = known.ok_or_else(|| Failure::refused("no-such-user", format!("no user \"{user}\""), "`jit-bastion user list`"))?;
    Ok(Said::done(columns(&[row(&known)]), json(&known)))
}

/// `user list`.
async fn list(reader: &Reader) -> Outcome {
    let users = reader.users().await.context("cannot read the users")?;
    let mut rows = vec![["USER", "ROLES", "KEYS", "SINCE"].map(str::to_owned).to_vec()];
    rows.extend(users.iter().map(row));
    let text = if users.is_empty() { "nobody is known yet; `jit-bastion user add --help`\n".to_owned() } else { columns(&rows) };
    Ok(Said::done(text, users.iter().map(json).collect()))
}

fn row(user: &UserRow) -> Vec<String> {
    let roles: Vec<&str> = user.person.roles.iter().map(AsRef::as_ref).collect();
    let vendor = user.person.vendor.as_ref().map(|vendor| format!(" (of {vendor})")).unwrap_or_default();
    let disabled = if user.disabled_at.is_some() { " (disabled)" } else { "" };
    let keys: Vec<&str> = user.keys.iter().map(|key| key.fingerprint.as_str()).collect();
    let since = user.added_at.to_string();
    let day = since.split('T').next().unwrap_or(&since).to_owned();
    vec![format!("{}{vendor}{disabled}", user.person.user), dash(&roles.join(",")), dash(&keys.join(",")), day]
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn json(user: &UserRow) -> serde_json::Value {
    let key = |key: &KeyRow| {
        json!({
            "fingerprint": key.fingerprint,
            "key": key.authorized_key,
            "name": key.name,
            "added_at": key.added_at.to_string(),
            "last_used": key.last_used.map(|at| at.to_string()),
        })
    };
    json!({
        "user": user.person.user,
        "roles": user.person.roles,
        "vendor": user.person.vendor,
        "keys": user.keys.iter().map(key).collect::<Vec<_>>(),
        "added_at": user.added_at.to_string(),
        "disabled_at": user.disabled_at.map(|at| at.to_string()),
    })
}
