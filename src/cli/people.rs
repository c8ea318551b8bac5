//! `user ..`: makes people known, gives and takes roles and keys, shows who may what.

mod apply;
mod invite;
mod show;

use std::path::PathBuf;

use super::args::{AddUser, KeyCommand, KeyWords, RoleWords, UserCommand};
use super::failure::Failure;
use super::said::Outcome;
use super::{local, pubkey};
use crate::access::date::{self, Edge};
use crate::access::names::{Note, User};
use crate::access::person::{Account, Held};
use crate::access::zone::Zone;
use crate::broker::{Broker, NewKey};
use crate::config::Config;

/// `user ..`.
pub(super) async fn run(config: &Config, broker: &Broker, command: &UserCommand) -> Outcome {
    let (by, zone) = (local::actor(), &config.zone);
    match command {
        UserCommand::Add(add) => {
            let account = account(add, zone)?;
            let user = account.user.clone();
            broker.add_user(&by, account, keys(&add.key, None)?).await?;
            show::line(broker, &user).await
        }
        UserCommand::List => show::list(broker).await,
        UserCommand::Show { name } => show::user(broker, &name.parse()?).await,
        UserCommand::Role(words) => role(broker, words, zone).await,
        UserCommand::Key(words) => key(broker, words).await,
        UserCommand::Contract { name, until, open: _ } => {
            let user = name.parse()?;
            broker.set_contract(&by, &user, until.as_deref().map(|text| date::read(text, Edge::End, zone)).transpose()?).await?;
            show::line(broker, &user).await
        }
        UserCommand::Disable { name, note } => {
            let user = name.parse()?;
            broker.disable_user(&by, &user, note.as_deref().map(Note::parse).transpose()?).await?;
            show::line(broker, &user).await
        }
        UserCommand::Enable { name } => {
            let user = name.parse()?;
            broker.enable_user(&by, &user).await?;
            show::line(broker, &user).await
        }
        UserCommand::Invite(words) => invite::invite(broker, words, zone).await,
        UserCommand::Confirm { name, fingerprint } => invite::confirm(broker, &name.parse()?, fingerprint.as_deref()).await,
        UserCommand::Apply { file, dry_run, prune } => apply::apply(broker, file, zone, *dry_run, *prune).await,
        UserCommand::Refuse { name, note } => invite::refuse(broker, &name.parse()?, note.as_deref().map(Note::parse).transpose()?).await,
    }
}

fn account(add: &AddUser, zone: &Zone) -> Result<Account, Failure> {
    let mut roles: Vec<Held> = add.role.iter().map(|role| role.parse().map(Held::always)).collect::<Result<_, _>>()?;
    roles.sort();
    roles.dedup();
    Ok(Account {
        user: add.name.parse()?,
        vendor: add.vendor.as_ref().map(|vendor| vendor.parse()).transpose()?,
        until: add.until.as_deref().map(|text| date::read(text, Edge::End, zone)).transpose()?,
        roles,
    })
}

async fn role(broker: &Broker, words: &RoleWords, zone: &Zone) -> Outcome {
    let (by, user) = (local::actor(), words.name.parse()?);
    let mut more = Vec::new();
    if let Some(role) = &words.add {
        let from = words.from.as_deref().map(|text| date::read(text, Edge::Begin, zone)).transpose()?;
        let until = words.until.as_deref().map(|text| date::read(text, Edge::End, zone)).transpose()?;
        more.push(Held { role: role.parse()?, from, until });
    }
    let less = words.remove.iter().map(|role| role.parse()).collect::<Result<_, _>>()?;
    broker.change_roles(&by, &user, more, less).await?;
    show::line(broker, &user).await
}

async fn key(broker: &Broker, words: &KeyWords) -> Outcome {
    match (&words.command, &words.name) {
        (Some(KeyCommand::Add { name, key, called }), _) => more_keys(broker, &name.parse()?, keys(key, called.as_deref())?).await,
        (Some(KeyCommand::Remove { name, key }), _) => {
            let user = name.parse()?;
            broker.remove_key(&local::actor(), &user, key).await?;
            show::keys(broker, &user).await
        }
        (Some(KeyCommand::List { name }), _) => show::keys(broker, &name.parse()?).await,
        (None, Some(name)) => more_keys(broker, &name.parse()?, keys(&words.add, None)?).await,
        (None, None) => Err(Failure::Usage("whose key? `jit-bastion user key add NAME --key FILE`".into())),
    }
}

async fn more_keys(broker: &Broker, user: &User, keys: Vec<NewKey>) -> Outcome {
    broker.add_keys(&local::actor(), user, keys).await?;
    show::keys(broker, user).await
}

/// The keys of these files; `called` names the only one.
fn keys(files: &[PathBuf], called: Option<&str>) -> Result<Vec<NewKey>, Failure> {
    let mut keys = Vec::new();
    for file in files {
        keys.extend(pubkey::in_file(file, pubkey::Form::User)?);
    }
    if called.is_some() && keys.len() > 1 {
        return Err(Failure::Usage("--name names one key, and there are several".into()));
    }
    Ok(keys.into_iter().map(|key| NewKey { key, name: called.unwrap_or_default().to_owned() }).collect())
}
