//! Runs a parsed verb and prints its answer: text or JSON, status 0, 1, 2 or 70.

use super::parse::{Parsed, Usage, Verb};
use super::sink::Sink;
use super::{
    Answer, Caller, decide, explain, extend, invites, json, limited, notices, recordings, replay, request, rights, sessions, show, watch,
    whereto,
};
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error};

/// Refused, with a reason and a next step.
const REFUSED: u8 = 1;
/// Wrong usage.
const USAGE: u8 = 2;
/// Our fault, with an id that is in the log.
const FAULT: u8 = 70;

/// Runs one verb for `caller` and answers on `sink`. Returns the exit status.
pub async fn run(broker: &Broker, caller: &Caller, parsed: &Parsed, sink: &mut dyn Sink) -> u8 {
    let outsider = caller.person.as_ref().is_some_and(|person| person.vendor.is_some());
    let (text, status, to_stderr) = match answer(broker, caller, parsed, sink).await {
        // A replay has written its answer already, and so has whoever watched.
        Ok(answer) if matches!(parsed.verb, Verb::Replay(_) | Verb::Watch(_)) => (String::new(), answer.status, false),
        Ok(answer) if parsed.json && outsider => (json::print(&json::nameless(answer.json)), answer.status, false),
        Ok(answer) if parsed.json => (json::print(&answer.json), answer.status, false),
        Ok(answer) => (answer.human, answer.status, false),
        Err(error) => failed(&error, parsed.json),
    };
    let written = if to_stderr { sink.err(text.as_bytes()).await } else { sink.out(text.as_bytes()).await };
    if written.is_ok() && !parsed.json {
        notices::tell(broker, caller, sink).await;
    }
    match written {
        Ok(()) => status,
        // The reader is gone; nobody reads the status either.
        Err(_) => REFUSED,
    }
}

/// Answers words that could not be read: help, or one line and status 2.
pub async fn wrong_usage(usage: &Usage, sink: &mut dyn Sink) -> u8 {
    let (written, status) = match usage {
        Usage::Help(text) => (sink.out(text.as_bytes()).await, 0),
        Usage::Wrong { line, json: true } => (sink.out(json::print(&json::error("usage", line, None)).as_bytes()).await, USAGE),
        Usage::Wrong { line, json: false } => (sink.err(format!("{line}\n").as_bytes()).await, USAGE),
    };
    written.map_or(REFUSED, |()| status)
}

async fn answer(broker: &Broker, caller: &Caller, parsed: &Parsed, sink: &mut dyn Sink) -> Result<Answer, Error> {
    limited::gate(broker, caller, &parsed.verb).await?;
    match &parsed.verb {
        Verb::Whoami => Ok(whereto::whoami(broker, caller)),
        Verb::Hosts => whereto::hosts(broker, caller).await,
        Verb::Explain(words) => explain::explain(broker, caller, words).await,
        Verb::KnownHosts { plain } => whereto::known_hosts(broker, *plain),
        Verb::Request(words) => request::file(broker, caller, words, sink, parsed.json).await,
        Verb::Requests { pending, mine } => request::list(broker, caller, *pending, *mine).await,
        Verb::Show(words) => show::show(broker, caller, words).await,
        Verb::Withdraw { id } => request::withdraw(broker, caller, id).await,
        Verb::Approve(words) => decide::approve(broker, caller, words, sink).await,
        Verb::Deny { id, note } => decide::deny(broker, caller, id, note).await,
        Verb::Confirm(words) => invites::confirm(broker, caller, words).await,
        Verb::Refuse(words) => invites::refuse(broker, caller, words).await,
        Verb::Grants => rights::list(broker, caller).await,
        Verb::Cert { grant } => limited::cert(broker, caller, grant).await,
        Verb::Extend(words) => extend::extend(broker, caller, words).await,
        Verb::Close { id } => rights::close(broker, caller, id).await,
        Verb::Revoke { id, note } => rights::revoke(broker, caller, id, note).await,
        Verb::Kill { id, note } => sessions::kill(broker, caller, id, note).await,
        Verb::Sessions { live } => sessions::list(broker, caller, *live).await,
        Verb::Recordings(words) => recordings::list(broker, caller, words).await,
        Verb::Watch(words) => watch::watch(broker, caller, words, parsed.json, sink).await,
        Verb::Replay(words) => replay::play(broker, caller, words, parsed.json, sink).await,
    }
}

/// What the caller reads instead of an answer, the status, and whether it goes to standard error.
fn failed(error: &Error, as_json: bool) -> (String, u8, bool) {
    match error {
        Error::Refused(refusal) if as_json => (json::print(&json::refusal(refusal)), status_of(refusal), false),
        Error::Refused(refusal) => (format!("{refusal}\n"), status_of(refusal), true),
        Error::Fault(fault) if as_json => (json::print(&json::error("fault", &fault.message(), Some(fault.next()))), FAULT, false),
        Error::Fault(fault) => (format!("{fault}\n"), FAULT, true),
    }
}

/// To leave out a login where there are several is wrong usage, not a refusal.
fn status_of(refusal: &Refusal) -> u8 {
    if refusal.code == "choose-login" { USAGE } else { REFUSED }
}
