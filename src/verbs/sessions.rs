//! `sessions`, `kill`: who is and was inside, and ending one visit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::table::Table;
use super::text::left;
use super::{Answer, Caller, read};
use crate::access::host::Host;
use crate::access::names::{HostName, Note, SessionId};
use crate::access::policy::Act;
use crate::access::refusal::Refusal;
use crate::access::time::Timestamp;
use crate::broker::{Broker, Error, SessionFilter, SessionRow};

/// The hosts of rows that may be older than their host.
pub(super) struct Places(BTreeMap<HostName, Host>);

impl Places {
    pub(super) async fn load(broker: &Broker) -> Result<Self, Error> {
        let hosts = read(broker, broker.reader().hosts().await)?;
        Ok(Self(hosts.into_iter().map(|host| (host.name.clone(), host)).collect()))
    }

    pub(super) fn get(&self, name: &HostName) -> Host {
        self.0.get(name).cloned().unwrap_or_else(|| Host::unregistered(name))
    }
}

/// `sessions [--live]`: my own, what came of my approvals, and those on hosts where I may see them.
pub(super) async fn list(broker: &Broker, caller: &Caller, live: bool) -> Result<Answer, Error> {
    let policy = broker.policy();
    let concerns = caller.person.as_ref().filter(|person| !policy.may_somewhere(person, Act::Sessions)).map(|person| person.user.clone());
    let filter = SessionFilter { live, concerns, ..SessionFilter::default() };
    let mut rows = read(broker, broker.reader().sessions(&filter).await)?;
    if let Some(person) = &caller.person {
        let places = Places::load(broker).await?;
        // What they said yes to they may end, so they may see it.
        let approved = read(broker, broker.reader().said_yes(&person.user).await)?;
        rows.retain(|row| {
            row.user == person.user || approved.contains(&row.request) || policy.may(person, Act::Sessions, &places.get(&row.host))
        });
    }
    rows.retain(|row| caller.sees(&row.grant));
    let human = if rows.is_empty() { "no sessions\n".into() } else { table(&rows, broker.now()).print(caller.look) };
    Ok(Answer::done(human, rows.iter().map(super::json::session).collect::<Value>()))
}

/// One session, if this caller would find it in that list.
pub(super) async fn visible(broker: &Broker, caller: &Caller, id: &SessionId) -> Result<SessionRow, Error> {
    let none = || Error::from(Refusal::no_such("session", id));
    let row = read(broker, broker.reader().session(id).await)?.filter(|row| caller.sees(&row.grant)).ok_or_else(none)?;
    let Some(person) = &caller.person else { return Ok(row) };
    let may = person.user == row.user
        || broker.policy().may(person, Act::Sessions, &Places::load(broker).await?.get(&row.host))
        || read(broker, broker.reader().said_yes(&person.user).await)?.contains(&row.request);
    if may { Ok(row) } else { Err(none()) }
}

fn table(rows: &[SessionRow], now: Timestamp) -> Table {
    let mut table = Table::new(["session", "state", "user", "host", "login", "grant", "started", "length", "ending"]);
    for row in rows {
        let end = row.ended.map_or(now, |(at, _)| at);
        table.row([
            row.id.to_string(),
            if row.ended.is_some() { "ended" } else { "live" }.to_owned(),
            row.user.to_string(),
            row.host.to_string(),
            row.login.to_string(),
            row.grant.to_string(),
            row.started_at.to_string(),
            if end > row.started_at { left(end, row.started_at) } else { "0s".into() },
            row.ended.map_or_else(String::new, |(_, why)| why.to_string()),
        ]);
    }
    table
}

/// `kill SESSION --note TEXT`
pub(super) async fn kill(broker: &Broker, caller: &Caller, id: &SessionId, note: &Note) -> Result<Answer, Error> {
    let row = broker.kill(&caller.actor, id, note.clone()).await?;
    Ok(Answer::done(
        format!("{id} ends now; {} stays\n", row.grant),
        json!({ "session": id.as_str(), "ending": "killed", "grant": row.grant.as_str() }),
    ))
}
