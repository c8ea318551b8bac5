//! `request`, `requests`, `show`, `withdraw`: what is asked for, by me and of me.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::parse::RequestWords;
use super::sink::Sink;
use super::table::Table;
use super::text::left;
use super::{Answer, Caller, json, read};
use crate::access::host::Host;
use crate::access::names::{RequestId, User, escaped};
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::access::request::{Approval, Request, State};
use crate::access::time::Timestamp;
use crate::broker::{Asking, Broker, Error, RequestFilter};

/// How often `--wait` says that it still waits.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// `request HOST ..`
pub(super) async fn file(
    broker: &Broker,
    caller: &Caller,
    words: &RequestWords,
    sink: &mut dyn Sink,
    quiet: bool,
) -> Result<Answer, Error> {
    let person = caller.human("request", "HOST --reason WHY")?;
    let asking = Asking {
        host: words.host.clone(),
        login: words.login.clone(),
        from: None,
        channels: words.channels.clone(),
        length: words.length,
        reason: words.reason.clone(),
        ticket: words.ticket.clone(),
    };
    let request = broker.request(person, asking).await?.request;
    if !words.wait {
        return filed(broker, &request, caller).await;
    }
    if !quiet {
        let text = filed(broker, &request, caller).await?.human;
        let _ = sink.err(text.as_bytes()).await;
    }
    wait(broker, request, sink, quiet).await
}

/// What the asker reads: what was filed, and who can decide; or how to go on.
async fn filed(broker: &Broker, request: &Request, caller: &Caller) -> Result<Answer, Error> {
    let ask = &request.asked;
    let what = format!("{} as {} for {} ({})", ask.host, ask.login, ask.when.length, ask.channels);
    let human = match &request.state {
        State::Approved { grant, .. } => {
            format!("{} granted at once, {grant}: {what}\nhint: ssh -J jit-bastion {}@{}\n", request.id, ask.login, ask.host)
        }
        _ => format!("{} filed: {what}\n{}", request.id, who_can(broker, request, caller.person.as_ref()).await?),
    };
    Ok(Answer::done(human, json::request(request, broker.now())))
}

/// Who can say yes: names for staff, roles for vendors.
async fn who_can(broker: &Broker, request: &Request, asker: Option<&Person>) -> Result<String, Error> {
    let quorum = request.rule.quorum();
    let users = read(broker, broker.reader().users().await)?;
    let can: Vec<&User> = users
        .iter()
        .filter(|user| user.disabled_at.is_none() && request.rule.may_decide(&user.person, &request.asked.user).is_ok())
        .map(|user| &user.person.user)
        .collect();
    let lost: BTreeSet<User> = request.approvals().iter().map(|yes| &yes.by).filter(|by| !can.contains(by)).cloned().collect();
    let counting = u32::try_from(request.approvals().len() - lost.len()).unwrap_or(u32::MAX);
    let missing = quorum.saturating_sub(counting);
    let (lapses, lost) = (request.lapses_at(), counts_no_more(&lost));
    let words = request.rule.approver_words();
    if asker.is_none_or(|asker| asker.vendor.is_some()) {
        return Ok(format!("{lost}waits for {missing} of: {words} (lapses {lapses})\n"));
    }
    if can.len() < quorum as usize {
        return Ok(format!("{lost}waits for {missing} of: {words}; nobody holds that now, tell an administrator (lapses {lapses})\n"));
    }
    let names: Vec<&str> = can.iter().map(|user| user.as_str()).collect();
    Ok(format!("{lost}waits for {missing} of: {} (lapses {lapses})\n", names.join(", ")))
}

/// The sentence about those who have said yes and may not decide any more; empty where there are none.
pub(super) fn counts_no_more(lost: &BTreeSet<User>) -> String {
    let names: Vec<&str> = lost.iter().map(User::as_str).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("the yes of {} does not count any more: they may not decide now\n", names.join(", ")),
    }
}

/// Waits until it is decided, or the asker goes; the request stays either way.
async fn wait(broker: &Broker, mut request: Request, sink: &mut dyn Sink, quiet: bool) -> Result<Answer, Error> {
    let id = request.id.clone();
    let decided = broker.decided(&id);
    tokio::pin!(decided);
    loop {
        tokio::select! {
            done = &mut decided => {
                request = done?;
                break;
            }
            () = sink.closed() => break,
            () = tokio::time::sleep(HEARTBEAT) => {
                let beat = format!("{id} still waits, lapses in {}\n", left(request.lapses_at(), broker.now()));
                if !quiet && sink.err(beat.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    }
    let now = broker.now();
    let ask = &request.asked;
    let (status, human) = match &request.state {
        State::Approved { grant, .. } => {
            (0, format!("{} approved, {grant}\nhint: ssh -J jit-bastion {}@{}\n", request.id, ask.login, ask.host))
        }
        _ => (1, format!("{}\n", outcome(&request, now))),
    };
    Ok(Answer { human, json: json::request(&request, now), status })
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

/// Which requests a caller wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Their own, and those that they may decide.
    Both,
    /// Their own.
    Mine,
    /// Those that wait for them.
    ForMe,
}

/// The requests that this caller may see, the newest first.
pub(super) async fn queue(broker: &Broker, caller: &Caller, pending: bool, side: Side) -> Result<Vec<Request>, Error> {
    let now = broker.now();
    let mine = |request: &Request| caller.person.as_ref().is_some_and(|person| person.user == request.asked.user);
    let for_me = |request: &Request| match &caller.person {
        Some(person) => request.rule.may_decide(person, &request.asked.user).is_ok(),
        None => true,
    };
    let me = |shown: bool| caller.person.as_ref().filter(|_| shown).map(|person| person.user.clone());
    let filter = RequestFilter { user: me(side != Side::ForMe), decider: me(side != Side::Mine), pending, most: None };
    let mut requests = read(broker, broker.reader().requests(&filter).await)?;
    // The store has chosen by the roles of now already; the rule has the last word.
    requests.retain(|request| {
        let shown = match side {
            Side::Both => mine(request) || for_me(request),
            Side::Mine => mine(request),
            Side::ForMe => for_me(request),
        };
        shown && (!pending || request.is_open(now))
    });
    Ok(requests)
}

/// `requests [--pending] [--mine]`
pub(super) async fn list(broker: &Broker, caller: &Caller, pending: bool, mine: bool) -> Result<Answer, Error> {
    let requests = queue(broker, caller, pending, if mine { Side::Mine } else { Side::Both }).await?;
    let now = broker.now();
    let human = match requests.is_empty() {
        true => "no requests\n".into(),
        false => table(&requests, now).print(caller.look),
    };
    Ok(Answer::done(human, requests.iter().map(|request| json::request(request, now)).collect::<Value>()))
}

/// Requests as a table.
pub(super) fn table(requests: &[Request], now: Timestamp) -> Table {
    let mut table = Table::new(["request", "state", "user", "host", "login", "for", "channels", "filed", "reason"]);
    for request in requests {
        let ask = &request.asked;
        table.row([
            request.id.to_string(),
            json::state(request, now).to_owned(),
            ask.user.to_string(),
            ask.host.to_string(),
            ask.login.to_string(),
            ask.when.length.to_string(),
            ask.channels.to_string(),
            request.filed_at.to_string(),
            ask.reason.to_string(),
        ]);
    }
    table
}

/// The request, if this caller may see it: its asker, whoever may decide it, whoever may see sessions or revoke on its host, the bastion's own
/// command line.
async fn visible(broker: &Broker, caller: &Caller, id: &RequestId) -> Result<Request, Error> {
    let none = || Error::from(Refusal::no_such("request", id));
    let request = read(broker, broker.reader().request(id).await)?.ok_or_else(none)?;
    let Some(person) = &caller.person else { return Ok(request) };
    let host = read(broker, broker.reader().host(&request.asked.host).await)?;
    let host = host.unwrap_or_else(|| Host::unregistered(&request.asked.host));
    if broker.may_see(person, &request, Some(&host)) { Ok(request) } else { Err(none()) }
}

/// `show ID`: the exact text, then what became of it.
pub(super) async fn show(broker: &Broker, caller: &Caller, id: &RequestId) -> Result<Answer, Error> {
    let request = visible(broker, caller, id).await?;
    let now = broker.now();
    let mut human = request.canonical_text();
    human.push_str(&format!("\nsha256 of the text above: {}\n", request.digest()));
    for yes in request.approvals() {
        let note = yes.note.as_ref().map_or_else(String::new, |note| format!(": {}", escaped(note.as_str())));
        let length = yes.length.map_or_else(String::new, |length| format!(", for {length} at most"));
        let only = yes.channels.as_ref().map_or_else(String::new, |channels| format!(", only {channels}"));
        human.push_str(&format!("yes: {} at {}{length}{only}{note}\n", yes.by, yes.at));
    }
    human.push_str(&outcome(&request, now));
    human.push('\n');
    if request.is_open(now) {
        human.push_str(&who_can(broker, &request, caller.person.as_ref()).await?);
        if caller.person.as_ref().is_some_and(|person| request.rule.may_decide(person, &request.asked.user).is_ok()) {
            human.push_str(&format!("hint: ssh jit-bastion approve {id}, or deny {id} --note WHY\n"));
        }
    }
    Ok(Answer::done(human, json::request(&request, now)))
}

/// `withdraw ID`
pub(super) async fn withdraw(broker: &Broker, caller: &Caller, id: &RequestId) -> Result<Answer, Error> {
    let person = caller.human("withdraw", "ID")?;
    let request = broker.withdraw(person, id).await?;
    Ok(Answer::done(format!("{id} withdrawn\n"), json::request(&request, broker.now())))
}
