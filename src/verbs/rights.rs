//! `grants`, `close`, `revoke`: rights, and their end.

use serde_json::Value;

use super::sessions::Places;
use super::table::Table;
use super::text::left;
use super::{Answer, Caller, json, read};
use crate::access::grant::{Grant, GrantState};
use crate::access::names::{GrantId, Note};
use crate::access::policy::Act;
use crate::access::time::Timestamp;
use crate::broker::{Broker, Error, GrantFilter};

/// `grants`: mine, and those that I may revoke.
pub(super) async fn list(broker: &Broker, caller: &Caller) -> Result<Answer, Error> {
    let now = broker.now();
    let policy = broker.policy();
    let user = caller.person.as_ref().filter(|person| !policy.may_somewhere(person, Act::Revoke)).map(|person| person.user.clone());
    let mut grants = read(broker, broker.reader().grants(&GrantFilter { user, ..GrantFilter::default() }).await)?;
    if let Some(person) = &caller.person {
        let places = Places::load(broker).await?;
        grants.retain(|grant| grant.user == person.user || policy.may(person, Act::Revoke, &places.get(&grant.host)));
    }
    grants.retain(|grant| caller.sees(&grant.id));
    // What can still be used first, then by its end.
    grants.sort_by_key(|grant| (!matches!(grant.state(now), GrantState::Active | GrantState::Waiting), std::cmp::Reverse(grant.ends)));
    let human = if grants.is_empty() { "no grants\n".into() } else { table(&grants, now).print(caller.look) };
    Ok(Answer::done(human, grants.iter().map(|grant| json::grant(grant, now)).collect::<Value>()))
}

/// Grants as a table.
pub(super) fn table(grants: &[Grant], now: Timestamp) -> Table {
    let mut table = Table::new(["grant", "state", "user", "host", "login", "channels", "ends", "left"]);
    for grant in grants {
        let state = grant.state(now);
        let left = match state {
            GrantState::Active => left(grant.ends, now),
            GrantState::Waiting => format!("begins in {}", left(grant.begins, now)),
            _ => String::new(),
        };
        table.row([
            grant.id.to_string(),
            state.as_str().to_owned(),
            grant.user.to_string(),
            grant.host.to_string(),
            grant.login.to_string(),
            grant.channels.to_string(),
            grant.ends.to_string(),
            left,
        ]);
    }
    table
}

/// `close GRANT`
pub(super) async fn close(broker: &Broker, caller: &Caller, id: &GrantId) -> Result<Answer, Error> {
    let grant = broker.close_grant(&caller.actor, id).await?;
    Ok(Answer::done(format!("{id} closed\n"), json::grant(&grant, broker.now())))
}

/// `revoke GRANT --note TEXT`
pub(super) async fn revoke(broker: &Broker, caller: &Caller, id: &GrantId, note: &Note) -> Result<Answer, Error> {
    let grant = broker.revoke(&caller.actor, id, note.clone()).await?;
    Ok(Answer::done(format!("{id} revoked; its sessions end now\n"), json::grant(&grant, broker.now())))
}
