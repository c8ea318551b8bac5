//! `request`, `requests`, `withdraw`: what is asked for, by me and of me.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::parse::RequestWords;
use super::show::outcome;
use super::sink::Sink;
use super::table::Table;
use super::{Answer, Caller, json, read};
use crate::access::names::{RequestId, User};
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::access::request::{Ask, Request, State};
use crate::access::time::{Span, Timestamp};
use crate::access::zone::Typed;
use crate::broker::{Asking, Broker, Error, Filed, RequestFilter, UserRow};

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
    let (from, length) = stretch(broker, words)?;
    let asking = Asking {
        host: words.host.clone(),
        login: words.login.clone(),
        from,
        channels: words.channels.clone(),
        length,
        reason: words.reason.clone(),
        ticket: words.ticket.clone(),
    };
    let asked = broker.request(person, asking).await?;
    if !words.wait {
        return filed(broker, &asked, caller).await;
    }
    if !quiet {
        let text = filed(broker, &asked, caller).await?.human;
        let _ = sink.err(text.as_bytes()).await;
    }
    wait(broker, caller, asked.request, sink, quiet, HEARTBEAT).await
}

/// From when, if that was said, and for how long.
fn stretch(broker: &Broker, words: &RequestWords) -> Result<(Option<Timestamp>, Option<Span>), Refusal> {
    let zone = &broker.settings().zone;
    let moment = |typed: &Typed| {
        typed.in_zone(zone).map_err(|e| {
            let hint = format!("write it like 2026-11-21T22:00 (in {zone}) or 2026-11-21T22:00:00Z");
            Refusal::new("bad-time", e.to_string()).hint(hint)
        })
    };
    let (Some(from), Some(until)) = (&words.from, &words.until) else { return Ok((None, words.length)) };
    let (from, until) = (moment(from)?, moment(until)?);
    match until.since(from) {
        length if length.as_seconds() > 0 => Ok((Some(from), Some(length))),
        _ => Err(Refusal::new("bad-time", format!("--until {until} is not after --from {from}")).hint("name the end after the begin")),
    }
}

/// What the asker reads: what was filed, and who can decide; or how to go on.
pub(super) async fn filed(broker: &Broker, asked: &Filed, caller: &Caller) -> Result<Answer, Error> {
    let (request, now) = (&asked.request, broker.now());
    let (id, what) = (&request.id, what(&request.asked));
    let human = match &request.state {
        State::Approved { grant, .. } => format!("{id} granted at once, {grant}: {what}\n{}", go_in(request, now)),
        _ => {
            let said = if asked.attached { format!("attached to {id}, filed at {}", request.filed_at) } else { format!("{id} filed") };
            format!("{said}: {what}\n{}", who_can(broker, request, caller.person.as_ref()).await?)
        }
    };
    let mut told = json::request(request, now);
    told["attached"] = Value::Bool(asked.attached);
    Ok(Answer::done(human, told))
}

/// `phi-db as postgres for 1h (shell)`, or from when until when; or more time of a grant.
fn what(ask: &Ask) -> String {
    let (host, login, channels) = (&ask.host, &ask.login, &ask.channels);
    match (&ask.extends, ask.when.from, ask.when.until()) {
        (Some(grant), Some(from), Some(until)) => {
            format!("{} more of {grant}, {host} as {login} until {until} instead of {from}", ask.when.length)
        }
        (None, Some(from), Some(until)) => format!("{host} as {login} from {from} until {until} ({channels})"),
        _ => format!("{host} as {login} for {} ({channels})", ask.when.length),
    }
}

/// The command that uses what was granted; or when it begins.
fn go_in(request: &Request, now: Timestamp) -> String {
    let ask = &request.asked;
    match ask.when.from.filter(|from| ask.extends.is_none() && *from > now) {
        Some(begins) => format!("hint: it begins at {begins}; then ssh -J jit-bastion {}@{}\n", ask.login, ask.host),
        None => format!("hint: ssh -J jit-bastion {}@{}\n", ask.login, ask.host),
    }
}

/// Who can say yes: names for staff, roles for vendors.
pub(super) async fn who_can(broker: &Broker, request: &Request, asker: Option<&Person>) -> Result<String, Error> {
    let rule = broker.rule_now(&broker.reader(), request).await?;
    let quorum = rule.quorum();
    let users = read(broker, broker.reader().users(broker.now()).await)?;
    let can: Vec<&User> = users
        .iter()
        .filter(|user| user.in_force(broker.now()) && rule.may_decide(&user.person, &request.asked.user).is_ok())
        .map(|user| &user.person.user)
        .collect();
    let lost: BTreeSet<User> = request.approvals().iter().map(|yes| &yes.by).filter(|by| !can.contains(by)).cloned().collect();
    let said_yes = |user: &&UserRow| request.approvals().iter().any(|yes| yes.by == user.person.user && can.contains(&&yes.by));
    let yeses: Vec<Person> = users.iter().filter(said_yes).map(|user| user.person.clone()).collect();
    let missing = rule.missing(&request.asked.user, &yeses);
    let (lapses, lost) = (request.lapses_at(), counts_no_more(&lost));
    let words = asker.map_or_else(|| rule.approver_words(), |asker| rule.approver_words_for(asker));
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

/// Waits until it is decided, or the asker goes; the request stays either way. Says every `beat` for whom it waits.
pub(super) async fn wait(
    broker: &Broker,
    caller: &Caller,
    mut request: Request,
    sink: &mut dyn Sink,
    quiet: bool,
    beat: Duration,
) -> Result<Answer, Error> {
    let id = request.id.clone();
    let _waits = caller.person.as_ref().map(|person| broker.begin_wait(&person.user, &id)).transpose()?;
    let decided = broker.decided(&id);
    tokio::pin!(decided);
    loop {
        tokio::select! {
            done = &mut decided => {
                request = done?;
                break;
            }
            () = sink.closed() => break,
            () = tokio::time::sleep(beat) => {
                if !quiet && sink.err(still_waits(broker, caller, &id).await?.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    }
    let now = broker.now();
    let (status, human) = match &request.state {
        State::Approved { grant, .. } => (0, format!("{id} approved, {grant}\n{}", go_in(&request, now))),
        _ => (1, format!("{}\n", outcome(&request, now))),
    };
    Ok(Answer { human, json: json::request(&request, now), status })
}

/// `r-7k2m9q waits for 1 of: bob (lapses ..)`, as it is now: who may decide changes while somebody waits.
async fn still_waits(broker: &Broker, caller: &Caller, id: &RequestId) -> Result<String, Error> {
    let request = read(broker, broker.reader().request(id).await)?.ok_or_else(|| Refusal::no_such("request", id))?;
    Ok(format!("{id} {}", who_can(broker, &request, caller.person.as_ref()).await?))
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
    broker.under_floors(&mut requests).await?;
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
            how_long(ask),
            ask.channels.to_string(),
            request.filed_at.to_string(),
            ask.reason.to_string(),
        ]);
    }
    table
}

fn how_long(ask: &Ask) -> String {
    match (&ask.extends, ask.when.from) {
        (Some(grant), _) => format!("{} more of {grant}", ask.when.length),
        (None, Some(from)) => format!("{} from {from}", ask.when.length),
        (None, None) => ask.when.length.to_string(),
    }
}

/// `withdraw ID`
pub(super) async fn withdraw(broker: &Broker, caller: &Caller, id: &RequestId) -> Result<Answer, Error> {
    let person = caller.human("withdraw", "ID")?;
    let request = broker.withdraw(person, id).await?;
    Ok(Answer::done(format!("{id} withdrawn\n"), json::request(&request, broker.now())))
}
