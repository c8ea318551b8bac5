//! `show`: one request, the exact text that is approved, what was said to it and what came of it. Of a session see [`super::account`].

use serde_json::json as object;

use super::parse::{ShowWords, Shown};
use super::request::who_can;
use super::text::left;
use super::{Answer, Caller, account, json, read};
use crate::access::grant::{Grant, GrantState};
use crate::access::host::Host;
use crate::access::names::{RequestId, escaped};
use crate::access::refusal::Refusal;
use crate::access::request::{Approval, Request, State};
use crate::access::time::Timestamp;
use crate::broker::{Broker, Error};

/// `show ID [--text ..]`: the exact text, then what became of it; with `--text` nothing else.
pub(super) async fn show(broker: &Broker, caller: &Caller, words: &ShowWords) -> Result<Answer, Error> {
    let request = match &words.id {
        Shown::Request(id) => visible(broker, caller, id).await?,
        Shown::Session(id) if words.text => {
            let refusal = Refusal::new("no-text", format!("{id} is a session, and only of a request a text is approved"));
            return Err(refusal.hint(format!("ssh jit-bastion show {id}")).into());
        }
        Shown::Session(id) => return account::show(broker, caller, id).await,
    };
    if words.text {
        let text = request.approval_text(words.length, words.channels.as_ref());
        let told = object!({ "request": request.id.as_str(), "text": text });
        return Ok(Answer::done(text, told));
    }
    let now = broker.now();
    let mut human = request.canonical_text();
    human.push_str(&format!("\nsha256 of the text above: {}\n", request.digest()));
    for yes in request.approvals() {
        human.push_str(&said(&request, yes));
    }
    human.push_str(&outcome(&request, now));
    human.push('\n');
    if let State::Approved { grant, .. } = &request.state
        && let Some(grant) = read(broker, broker.reader().grant(grant).await)?
    {
        human.push_str(&standing(&grant, now));
        if let Some(limit) = request.rule.egress {
            let taken = read(broker, broker.reader().egress(&grant.id).await)?;
            human.push_str(&format!("{} bytes of {limit} went to the client or are set aside for who is inside\n", taken));
        }
    }
    if request.is_open(now) {
        human.push_str(&who_can(broker, &request, caller.person.as_ref()).await?);
        if caller.person.as_ref().is_some_and(|person| request.rule.may_decide(person, &request.asked.user).is_ok()) {
            human.push_str(&how_to_decide(&request));
        }
    }
    Ok(Answer::done(human, json::request(&request, now)))
}

/// The request, if this caller may see it: its asker, whoever may decide it, whoever may see sessions or revoke on its host, the bastion's own
/// command line.
async fn visible(broker: &Broker, caller: &Caller, id: &RequestId) -> Result<Request, Error> {
    let none = || Error::from(Refusal::no_such("request", id));
    let mut request = read(broker, broker.reader().request(id).await)?.ok_or_else(none)?;
    broker.under_floors(std::slice::from_mut(&mut request)).await?;
    let Some(person) = &caller.person else { return Ok(request) };
    let host = read(broker, broker.reader().host(&request.asked.host).await)?;
    let host = host.unwrap_or_else(|| Host::unregistered(&request.asked.host));
    if broker.may_see(person, &request, Some(&host)) { Ok(request) } else { Err(none()) }
}

/// One yes on a line; a signature is checked again here.
fn said(request: &Request, yes: &Approval) -> String {
    let note = yes.note.as_ref().map_or_else(String::new, |note| format!(": {}", escaped(note.as_str())));
    let length = yes.length.map_or_else(String::new, |length| format!(", for {length} at most"));
    let only = yes.channels.as_ref().map_or_else(String::new, |channels| format!(", only {channels}"));
    let signed = match &yes.signature {
        None => String::new(),
        Some(signature) if signature_stands(request, yes) => format!(", signed by {}", signature.key()),
        Some(signature) => format!(", with a signature of {} that is NOT over the text as it is now", signature.key()),
    };
    format!("yes: {} at {}{length}{only}{signed}{note}\n", yes.by, yes.at)
}

/// Is the yes's signature over this request's text, with what the yes shortens and narrows?
pub(super) fn signature_stands(request: &Request, yes: &Approval) -> bool {
    let text = request.approval_text(yes.length, yes.channels.as_ref());
    yes.signature.as_ref().is_some_and(|signature| signature.verify(&text).is_ok())
}

fn how_to_decide(request: &Request) -> String {
    let id = &request.id;
    match request.rule.signed {
        true => format!("hint: {}\nhint: or ssh jit-bastion deny {id} --note WHY\n", request.signing_command(None, None)),
        false => format!("hint: ssh jit-bastion approve {id}, or deny {id} --note WHY\n"),
    }
}

/// One sentence: where a request stands, and by whom.
pub(super) fn outcome(request: &Request, now: Timestamp) -> String {
    let said = |yes: &Approval| yes.note.as_ref().map_or_else(String::new, |note| format!(": {}", escaped(note.as_str())));
    match &request.state {
        State::Pending { .. } if !request.is_open(now) => format!("{} lapsed at {}", request.id, request.lapses_at()),
        State::Pending { approvals } => format!("{} is pending, {} of {} said yes", request.id, approvals.len(), request.rule.quorum()),
        State::Approved { grant, approvals } => match approvals.last() {
            Some(last) => format!("{} approved by {} at {}, {grant}{}", request.id, last.by, last.at, said(last)),
            None => format!("{} granted at once, {grant}", request.id),
        },
        State::Denied { by } => format!("{} denied by {} at {}{}", request.id, by.by, by.at, said(by)),
        State::Withdrawn => format!("{} withdrawn by {}", request.id, request.asked.user),
        State::Lapsed => format!("{} lapsed at {}", request.id, request.lapses_at()),
    }
}

/// One line: where a grant stands.
fn standing(grant: &Grant, now: Timestamp) -> String {
    let id = &grant.id;
    match grant.state(now) {
        GrantState::Waiting => format!("{id} is waiting: it begins at {} and ends at {}\n", grant.begins, grant.ends),
        GrantState::Active => format!("{id} is active until {}, {} left\n", grant.ends, left(grant.ends, now)),
        GrantState::Ended => format!("{id} ended at {}\n", grant.ends),
        GrantState::Closed | GrantState::Revoked => match &grant.finished {
            Some(end) => format!("{id} was {} by {} at {}\n", grant.state(now).as_str(), end.by, end.at),
            None => String::new(),
        },
    }
}
