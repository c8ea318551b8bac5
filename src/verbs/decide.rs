//! `approve`, `deny`: an approver's yes or no.

use super::request::{counts_no_more, outcome};
use super::{Answer, Caller, json};
use crate::access::channels::Channels;
use crate::access::names::{Note, RequestId};
use crate::access::time::Span;
use crate::broker::{Broker, Decided, Error, Yes};

/// `approve ID ..`
pub(super) async fn approve(
    broker: &Broker,
    caller: &Caller,
    id: &RequestId,
    note: Option<&Note>,
    length: Option<Span>,
    channels: Option<&Channels>,
) -> Result<Answer, Error> {
    let person = caller.human("approve", "ID")?;
    let yes = Yes { note: note.cloned(), length, channels: channels.cloned(), ..Yes::default() };
    let Decided { request, grant, lost } = broker.approve(person, id, yes).await?;
    let now = broker.now();
    let ask = &request.asked;
    let human = match &grant {
        Some(grant) => format!(
            "{id} approved, {}: {} as {} on {} until {} ({})\n",
            grant.id, grant.user, grant.login, grant.host, grant.ends, grant.channels
        ),
        None => {
            let mut text = format!("{}; {} as {} on {}\n", outcome(&request, now), ask.user, ask.login, ask.host);
            text.push_str(&counts_no_more(&lost));
            text
        }
    };
    Ok(Answer::done(human, json::request(&request, now)))
}

/// `deny ID --note TEXT`
pub(super) async fn deny(broker: &Broker, caller: &Caller, id: &RequestId, note: &Note) -> Result<Answer, Error> {
    let person = caller.human("deny", "ID --note WHY")?;
    let request = broker.deny(person, id, note.clone()).await?;
    Ok(Answer::done(format!("{id} denied\n"), json::request(&request, broker.now())))
}
