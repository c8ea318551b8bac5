//! `explain HOST`: which rule would apply and why not the others, who can approve now, what to ask instead, and what to type.

use serde_json::{Value, json};

use super::parse::ExplainWords;
use super::{Answer, Caller, json as said, read};
use crate::access::channels::{Channels, Kind};
use crate::access::grant::{Grant, GrantState};
use crate::access::host::Host;
use crate::access::person::Person;
use crate::access::policy::{BoundRule, Explained, Saying, Terms, Who, Wish};
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error, GrantFilter};

/// `exec` is more than it looks.
const EXEC: &str = "exec includes every file right: cat, rsync and scp -O are commands";

/// `explain HOST ..`
pub(super) async fn explain(broker: &Broker, caller: &Caller, words: &ExplainWords) -> Result<Answer, Error> {
    let person = whom(broker, caller, words).await?;
    let host = broker.resolve(&person, &words.host, NO_PORT).await?.ok_or_else(|| Refusal::no_such_host(&words.host))?;
    let policy = broker.policy();
    let mine = policy.logins_for(&person, &host);
    let login = words.login.clone().or_else(|| mine.first().cloned()).or_else(|| host.logins.first().cloned());
    let login = login.ok_or_else(|| Refusal::new("not-covered", format!("{} has no logins", host.name)))?;
    let wish = Wish { login, channels: words.channels.clone(), length: words.length, why: None };
    let explained = policy.explain(&person, &host, &wish);
    let (approvers, missing) = match &explained.verdict {
        Ok(verdict) => approvers(broker, &verdict.rule, &person).await?,
        Err(_) => (Vec::new(), 0),
    };
    let held = held(broker, &person, &host).await?;
    let other = if words.login.is_none() { mine.into_iter().filter(|login| *login != wish.login).collect() } else { Vec::new() };
    let told = Told { host: &host, wish: &wish, explained: &explained, approvers, vendor: person.vendor.is_some(), missing, held, other };
    Ok(Answer::done(told.human(), told.json(broker)))
}

/// Names and aliases only: no host is registered at this port.
const NO_PORT: u16 = 0;

/// The asker; on the bastion's own command line the user that was named.
async fn whom(broker: &Broker, caller: &Caller, words: &ExplainWords) -> Result<Person, Error> {
    match (&caller.person, &words.user) {
        (Some(person), None) => Ok(person.clone()),
        (Some(_), Some(_)) => Err(Refusal::new("local-only", "--user is for the bastion's own command line")
            .hint("leave it out: over SSH it is about you")
            .into()),
        (None, Some(user)) => {
            let known = read(broker, broker.reader().user(user, broker.now()).await)?;
            let none = || Refusal::new("no-such-user", format!("no user \"{user}\"")).hint("`jit-bastion user list`");
            Ok(known.ok_or_else(none)?.person)
        }
        (None, None) => Err(Refusal::new("no-user", "say for whom").hint(format!("jit-bastion explain {} --user NAME", words.host)).into()),
    }
}

/// Who could say yes now (names for staff; vendors read roles), and how many are missing even if all of them do.
async fn approvers(broker: &Broker, rule: &BoundRule, asker: &Person) -> Result<(Vec<String>, u32), Error> {
    let users = read(broker, broker.reader().users(broker.now()).await)?;
    let can = users.into_iter().filter(|user| user.in_force(broker.now()) && rule.may_decide(&user.person, &asker.user).is_ok());
    let can: Vec<Person> = can.map(|user| user.person).collect();
    let missing = rule.missing(&asker.user, &can);
    let shown = match asker.vendor {
        Some(_) => rule.named().into_iter().map(Who::for_vendors).collect(),
        None => can.iter().map(|person| person.user.to_string()).collect(),
    };
    Ok((shown, missing))
}

/// The grants that open this host for them now.
async fn held(broker: &Broker, person: &Person, host: &Host) -> Result<Vec<Grant>, Error> {
    let now = broker.now();
    let filter = GrantFilter { user: Some(person.user.clone()), host: Some(host.name.clone()), open_at: Some(now), most: None };
    let mut grants = read(broker, broker.reader().grants(&filter).await)?;
    grants.retain(|grant| grant.state(now) == GrantState::Active);
    Ok(grants)
}

struct Told<'a> {
    host: &'a Host,
    wish: &'a Wish,
    explained: &'a Explained,
    approvers: Vec<String>,
    vendor: bool,
    missing: u32,
    held: Vec<Grant>,
    other: Vec<crate::access::names::Login>,
}

impl Told<'_> {
    fn human(&self) -> String {
        let (host, login) = (&self.host.name, &self.wish.login);
        let mut out = match &self.explained.verdict {
            Ok(verdict) => {
                let terms = self.terms(&verdict.rule);
                let head = format!("{host} as {login} for {} ({}): rule {} binds\n", verdict.length, verdict.channels, verdict.rule.id);
                head + &format!("terms: {terms}\n{}", self.who(&verdict.rule))
            }
            Err(refusal) => format!("{host} as {login}: refused: {}\n", refusal.message),
        };
        for grant in &self.held {
            out.push_str(&format!("you hold {} until {}: ssh -J jit-bastion {}@{host}\n", grant.id, grant.ends, grant.login));
        }
        if !self.other.is_empty() {
            let names: Vec<&str> = self.other.iter().map(AsRef::as_ref).collect();
            out.push_str(&format!("this is about {login}; you may also ask for {}\n", names.join(", ")));
        }
        for (title, sayings) in [("rules", &self.explained.rules), ("floors", &self.explained.floors), ("denies", &self.explained.denies)] {
            section(&mut out, title, sayings);
        }
        if self.channels().covers(&Kind::Exec) {
            out.push_str(&format!("note: {EXEC}\n"));
        }
        match (&self.explained.command, &self.explained.verdict) {
            (Some(command), _) => out.push_str(&format!("ask: {command}\n")),
            (None, Err(Refusal { next: Some(next), .. })) => out.push_str(&format!("hint: {next}\n")),
            (None, _) => {}
        }
        out
    }

    fn terms(&self, rule: &BoundRule) -> Terms {
        let terms = Terms::of(rule);
        if self.vendor { Terms { approvers: self.approvers.join(", "), ..terms } } else { terms }
    }

    fn channels(&self) -> Channels {
        self.explained.verdict.as_ref().map(|verdict| verdict.channels.clone()).unwrap_or_default()
    }

    fn who(&self, rule: &BoundRule) -> String {
        match (rule.quorum(), self.approvers.as_slice()) {
            (0, _) => String::new(),
            (quorum, names) if self.missing > 0 => {
                let names = if names.is_empty() { "nobody".into() } else { names.join(", ") };
                let takes = format!("it takes {quorum} of {} and {} are missing", self.terms(rule).approvers, self.missing);
                format!("who can approve now: {names}, but {takes}: tell an administrator\n")
            }
            (quorum, names) => format!("who can approve now: {quorum} of {}\n", names.join(", ")),
        }
    }

    fn json(&self, broker: &Broker) -> Value {
        let sayings = |list: &[Saying], id: &str| -> Value {
            list.iter().map(|saying| json!({ id: saying.id.as_str(), "applies": saying.applies, "because": saying.words })).collect()
        };
        let (verdict, refusal) = match &self.explained.verdict {
            Ok(verdict) => (Some(verdict), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let decision = match verdict.map(|verdict| verdict.rule.quorum()) {
            None => "refuse",
            Some(0) => "grant",
            Some(_) => "approve",
        };
        json!({
            "host": self.host.name.as_str(),
            "login": self.wish.login.as_str(),
            "decision": decision,
            "rule": verdict.map(|verdict| verdict.rule.id.as_str()),
            "channels": verdict.map(|verdict| verdict.channels.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "for": verdict.map(|verdict| verdict.length.to_string()),
            "terms": verdict.map(|verdict| terms(&self.terms(&verdict.rule))),
            "quorum": verdict.map(|verdict| verdict.rule.quorum()),
            "approvers": self.approvers,
            "missing": self.missing,
            "error": refusal.map(|refusal| said::refusal(refusal)["error"].clone()),
            "rules": sayings(&self.explained.rules, "rule"),
            "floors": sayings(&self.explained.floors, "floor"),
            "denies": sayings(&self.explained.denies, "deny"),
            "grants": self.held.iter().map(|grant| said::grant(grant, broker.now())).collect::<Vec<_>>(),
            "logins": self.other.iter().chain([&self.wish.login]).map(AsRef::as_ref).collect::<Vec<&str>>(),
            "note": self.channels().covers(&Kind::Exec).then_some(EXEC),
            "command": self.explained.command,
        })
    }
}

/// Terms, field by field.
fn terms(terms: &Terms) -> Value {
    json!({
        "max-duration": terms.longest.to_string(),
        "signed": terms.signed,
        "idle": terms.idle.map(|idle| idle.to_string()),
        "record-input": terms.record_input,
        "require-cert": terms.require_cert,
        "egress": terms.egress.map(|egress| egress.as_bytes()),
        "keep": terms.keep,
        "statements": terms.statements,
        "direct": terms.direct,
        "ticket": terms.ticket,
        "reason-min-length": terms.reason_min_length,
        "extend": terms.extend.map(|own| json!({ "self": own.length.to_string(), "times": own.times })),
    })
}

fn section(out: &mut String, title: &str, sayings: &[Saying]) {
    if sayings.is_empty() {
        return;
    }
    let width = sayings.iter().map(|saying| saying.id.as_str().len()).max().unwrap_or(0);
    out.push_str(&format!("{title}:\n"));
    for Saying { id, applies, words } in sayings {
        let mark = if *applies { '*' } else { ' ' };
        out.push_str(&format!("{mark} {:<width$}  {words}\n", id.as_str()));
    }
}
