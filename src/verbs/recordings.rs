//! `recordings`: find what was seen.

use serde_json::Value;

use super::parse::RecordingWords;
use super::sessions::Places;
use super::table::Table;
use super::{Answer, Caller, json, read, search};
use crate::access::names::HostName;
use crate::access::policy::Act;
use crate::access::refusal::Refusal;
use crate::access::time::Span;
use crate::broker::{AuditRow, Broker, Error, SessionFilter};

/// `recordings [--user --host --login --since --until --text]`, on the hosts where a rule lets me.
pub(super) async fn list(broker: &Broker, caller: &Caller, words: &RecordingWords) -> Result<Answer, Error> {
    let policy = broker.policy();
    if let Some(person) = &caller.person
        && !policy.may_somewhere(person, Act::Recordings)
    {
        return Err(Refusal::may_not(Act::Recordings.sentence(), None).into());
    }
    let filter = SessionFilter {
        user: words.user.clone(),
        host: named(broker, words.host.as_ref()).await?,
        login: words.login.clone(),
        since: words.since,
        until: words.until,
        recorded: true,
        ..SessionFilter::default()
    };
    if let Some(text) = &words.text {
        return search::find(broker, caller, text, &filter, words.because.as_ref()).await;
    }
    let mut rows = read(broker, broker.reader().sessions(&filter).await)?;
    if let Some(person) = &caller.person {
        let places = Places::load(broker).await?;
        rows.retain(|row| policy.may(person, Act::Recordings, &places.get(&row.host)));
    }
    rows.retain(|row| caller.sees(&row.grant));
    let mut table = Table::new(["recording", "kind", "user", "host", "login", "started", "length", "bytes", "ending"]);
    for row in &rows {
        for channel in &row.channels {
            table.row([
                format!("{}.{}", row.id, channel.number),
                channel.kind.clone(),
                row.user.to_string(),
                row.host.to_string(),
                row.login.to_string(),
                row.started_at.to_string(),
                Span::seconds(channel.duration.as_secs()).to_string(),
                channel.bytes.to_string(),
                row.ended.map_or_else(String::new, |(_, why)| why.to_string()),
            ]);
        }
    }
    let looks = looks(broker, caller, words, filter.host.as_ref()).await?;
    for look in &looks {
        table.row([
            format!("{}.1", look.id),
            "audit".to_owned(),
            look.actor.to_string(),
            look.host.to_string(),
            look.login.to_string(),
            look.started_at.to_string(),
            String::new(),
            String::new(),
            look.ended.map_or_else(String::new, |(_, why)| why.to_string()),
        ]);
    }
    let human = if table.is_empty() { "no recordings\n".into() } else { table.print(caller.look) };
    Ok(Answer::done(human, rows.iter().flat_map(json::recordings).chain(looks.iter().map(json::look)).collect::<Value>()))
}

/// What was recorded of `host audit`, after the visits: no user's, and none of a connection that sees one grant alone.
async fn looks(broker: &Broker, caller: &Caller, words: &RecordingWords, host: Option<&HostName>) -> Result<Vec<AuditRow>, Error> {
    if words.user.is_some() || caller.limit().is_some() {
        return Ok(Vec::new());
    }
    let mut looks = read(broker, broker.reader().audits(host, words.login.as_ref(), words.since, words.until).await)?;
    if let Some(person) = &caller.person {
        let (policy, places) = (broker.policy(), Places::load(broker).await?);
        looks.retain(|look| policy.may(person, Act::Recordings, &places.get(&look.host)));
    }
    Ok(looks)
}

/// An alias is a name too; a name that is registered no more still has recordings.
async fn named(broker: &Broker, typed: Option<&HostName>) -> Result<Option<HostName>, Error> {
    let Some(typed) = typed else { return Ok(None) };
    let found = read(broker, broker.reader().find_host(typed.as_str(), 22).await)?;
    Ok(Some(found.map_or_else(|| typed.clone(), |host| host.name)))
}
