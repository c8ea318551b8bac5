//! Users as people and programs read them.

use anyhow::Context;
use serde_json::{Value, json};

use crate::access::grant::Grant;
use crate::access::invite::Invite;
use crate::access::names::{RuleId, User, escaped};
use crate::access::person::Held;
use crate::access::time::Timestamp;
use crate::broker::{Broker, GrantFilter, KeyRow, UserRow};
use crate::cli::failure::Failure;
use crate::cli::said::{Outcome, Said, columns, table};

/// `user list`.
pub(super) async fn list(broker: &Broker) -> Outcome {
    let now = broker.now();
    let users = broker.reader().users(now).await.context("cannot read the users")?;
    let rows = users.iter().map(|user| row(user, now));
    let text = table(["user", "roles", "keys", "since"], rows, "nobody is known yet; `jit-bastion user add --help`");
    Ok(Said::done(text, users.iter().map(|user| as_json(user, now)).collect()))
}

/// The user after a change, on one line.
pub(super) async fn line(broker: &Broker, user: &User) -> Outcome {
    let (known, now) = (known(broker, user).await?, broker.now());
    Ok(Said::done(columns(&[row(&known, now)]), as_json(&known, now)))
}

/// `user key list`, and what a change of keys leaves.
pub(super) async fn keys(broker: &Broker, user: &User) -> Outcome {
    let known = known(broker, user).await?;
    let rows = known.keys.iter().map(key_row);
    let text = table(["name", "fingerprint", "added", "last used"], rows, &format!("{user} has no key: nothing opens for them"));
    Ok(Said::done(text, known.keys.iter().map(key_json).collect()))
}

/// `user show`.
pub(super) async fn user(broker: &Broker, user: &User) -> Outcome {
    let (known, now, policy) = (known(broker, user).await?, broker.now(), broker.policy());
    let filter = GrantFilter { user: Some(user.clone()), open_at: Some(now), ..GrantFilter::default() };
    let grants = broker.reader().grants(&filter).await.context("cannot read the grants")?;
    let approves: Vec<&RuleId> = policy.approves(&known.person).collect();
    let invite = broker.invite_of(user).await?;
    let mut json = as_json(&known, now);
    json["invite"] = invite.as_ref().map_or(Value::Null, invite_json);
    json["grants"] = grants.iter().map(|grant| grant_json(grant, now)).collect();
    json["approves"] = json!(approves);
    Ok(Said::done(whole(&known, &grants, &approves, invite.as_ref(), now), json))
}

fn whole(user: &UserRow, grants: &[Grant], approves: &[&RuleId], invite: Option<&Invite>, now: Timestamp) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut part = |title: &str, lines: Vec<Vec<String>>| {
        let lines = if lines.is_empty() { vec![vec!["-".to_owned()]] } else { lines };
        for (n, line) in lines.into_iter().enumerate() {
            let title = if n == 0 { title.to_owned() } else { String::new() };
            rows.push(std::iter::once(title).chain(std::iter::once(line.join("  "))).collect());
        }
    };
    let account = &user.account;
    part("user", vec![vec![account.user.to_string()]]);
    if let Some(vendor) = &account.vendor {
        part("vendor", vec![vec![vendor.to_string()]]);
    }
    if let Some(until) = account.until {
        let over = if account.stands(now) { "" } else { " (over: they may do nothing)" };
        part("contract until", vec![vec![format!("{until}{over}")]]);
    }
    if let Some(since) = user.disabled_at {
        let note = user.disabled_note.as_ref().map(|note| format!(": {}", escaped(note))).unwrap_or_default();
        part("disabled", vec![vec![format!("since {since}{note}")]]);
    }
    part("since", vec![vec![user.added_at.to_string()]]);
    part("roles", account.roles.iter().map(|held| vec![format!("{held}{}", not_now(held, now))]).collect());
    part("keys", user.keys.iter().map(key_line).collect());
    if let Some(invite) = invite {
        part("invited", vec![vec![invited(invite)]]);
    }
    part("may approve", approves.iter().map(|rule| vec![format!("rule {rule}")]).collect());
    let grant = |grant: &Grant| vec![format!("{} {} as {} until {}", grant.id, grant.host, grant.login, grant.ends)];
    part("open grants", grants.iter().map(grant).collect());
    columns(&rows)
}

/// What stands behind a role that is not in force.
fn not_now(held: &Held, now: Timestamp) -> &'static str {
    match held.from {
        _ if held.at(now) => "",
        Some(from) if now < from => " (not yet)",
        _ => " (over)",
    }
}

fn invited(invite: &Invite) -> String {
    let sponsor = invite.sponsor.as_ref().map(|sponsor| format!(", sponsor {sponsor}")).unwrap_or_default();
    match &invite.offer {
        Some(offer) => format!("{} is to be confirmed, offered {} from {}{sponsor}", offer.fingerprint, offer.at, offer.client),
        None => format!("until {}, no key yet{sponsor}", invite.ends_at),
    }
}

fn invite_json(invite: &Invite) -> Value {
    json!({
        "invite": invite.id,
        "state": invite.state.as_str(),
        "sponsor": invite.sponsor,
        "ends_at": invite.ends_at.to_string(),
        "fingerprint": invite.offer.as_ref().map(|offer| &offer.fingerprint),
        "offered_at": invite.offer.as_ref().map(|offer| offer.at.to_string()),
        "client": invite.offer.as_ref().map(|offer| &offer.client),
    })
}

fn key_line(key: &KeyRow) -> Vec<String> {
    let used = key.last_used.map_or_else(|| "never used".to_owned(), |at| format!("last used {at}"));
    vec![escaped(&key.name), key.fingerprint.clone(), format!("added {}", day(key.added_at)), used]
}

fn key_row(key: &KeyRow) -> Vec<String> {
    let used = key.last_used.map_or_else(|| "never".to_owned(), |at| at.to_string());
    vec![dash(&escaped(&key.name)), key.fingerprint.clone(), day(key.added_at), used]
}

async fn known(broker: &Broker, user: &User) -> Result<UserRow, Failure> {
    let known = broker.reader().user(user, broker.now()).await.context("cannot read the user")?;
    known.ok_or_else(|| Failure::refused("no-such-user", format!("no user \"{user}\""), "`jit-bastion user list`"))
}

fn row(user: &UserRow, now: Timestamp) -> Vec<String> {
    let account = &user.account;
    let roles: Vec<String> = account.roles.iter().map(|held| format!("{}{}", held.role, not_now(held, now))).collect();
    let vendor = account.vendor.as_ref().map(|vendor| format!(" (of {vendor})")).unwrap_or_default();
    let state = match (user.disabled_at, account.stands(now)) {
        (Some(_), _) => " (disabled)",
        (None, false) => " (contract over)",
        (None, true) => "",
    };
    let keys: Vec<&str> = user.keys.iter().map(|key| key.fingerprint.as_str()).collect();
    vec![format!("{}{vendor}{state}", account.user), dash(&roles.join(",")), dash(&keys.join(",")), day(user.added_at)]
}

fn day(at: Timestamp) -> String {
    let text = at.to_string();
    text.split('T').next().unwrap_or(&text).to_owned()
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn told(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn key_json(key: &KeyRow) -> Value {
    json!({
        "fingerprint": key.fingerprint,
        "key": key.authorized_key,
        "name": key.name,
        "added_at": key.added_at.to_string(),
        "last_used": told(key.last_used),
    })
}

fn grant_json(grant: &Grant, now: Timestamp) -> Value {
    json!({
        "grant": grant.id,
        "host": grant.host,
        "login": grant.login,
        "channels": grant.channels.to_string(),
        "state": grant.state(now).as_str(),
        "begins": grant.begins.to_string(),
        "ends": grant.ends.to_string(),
    })
}

fn as_json(user: &UserRow, now: Timestamp) -> Value {
    let held = |held: &Held| json!({ "role": held.role, "from": told(held.from), "until": told(held.until), "in_force": held.at(now) });
    json!({
        "user": user.person.user,
        "roles": user.person.roles,
        "held_roles": user.account.roles.iter().map(held).collect::<Vec<_>>(),
        "vendor": user.account.vendor,
        "until": told(user.account.until),
        "keys": user.keys.iter().map(key_json).collect::<Vec<_>>(),
        "added_at": user.added_at.to_string(),
        "disabled_at": told(user.disabled_at),
        "disabled_note": user.disabled_note,
    })
}
