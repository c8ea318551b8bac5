//! `policy ..`: tests a policy, says who can do what, compares two. Looks at the users and hosts of the store, and changes nothing.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::args::PolicyCommand;
use super::failure::{Failure, REFUSED};
use super::said::{Outcome, Said, table};
use super::{open, place};
use crate::access::host::Host;
use crate::access::names::{HostName, Login, User};
use crate::access::person::Person;
use crate::access::policy::{Act, Change, Direction, Policy, PolicyError, Right, Terms, Unreached};
use crate::access::time::{Clock as _, SystemClock};
use crate::config::Config;

/// `policy ..`.
pub(super) fn run(command: &PolicyCommand, named: Option<&Path>) -> Outcome {
    let config = place::config(named)?;
    let known = open::block_on(known(&config))?;
    match command {
        PolicyCommand::Test { file } => Ok(test(file.as_deref().unwrap_or(&config.policy), &known)?),
        PolicyCommand::WhoCan { host, login } => {
            let login = login.as_ref().map(|login| login.parse::<Login>()).transpose()?;
            who_can(&read(&config.policy)?, &known, &host.parse()?, login.as_ref())
        }
        PolicyCommand::WhatCan { user } => what_can(&read(&config.policy)?, &known, &user.parse()?),
        PolicyCommand::Diff { old, new } => Ok(diff(&read(old)?, &read(new)?, &known)),
    }
}

/// Who and what there is to be judged.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Everybody who is not disabled, with their roles of now.
    pub people: Vec<Person>,
    /// Every host.
    pub hosts: Vec<Host>,
}

async fn known(config: &Config) -> Result<Known, Failure> {
    let store = open::store(config).await?;
    let (reader, now) = (store.reader(), SystemClock.now());
    let users = reader.users(now).await.context("cannot read the users")?;
    let hosts = reader.hosts().await.context("cannot read the hosts")?;
    store.close().await;
    let people = users.into_iter().filter(|user| user.in_force(now)).map(|user| user.person).collect();
    Ok(Known { people, hosts })
}

fn text(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::refused("policy", format!("cannot read {}: {error}", file.display()), "name a policy file"))
}

fn read(file: &Path) -> Result<Policy, Failure> {
    Policy::parse(&text(file)?, &file.display().to_string()).map_err(|error| Failure::from_text("policy", &error.to_string()))
}

/// `policy test [FILE]`: 0 if every test passes and every quorum can be reached by those who are registered.
fn test(file: &Path, known: &Known) -> Result<Said, Failure> {
    let shown = file.display().to_string();
    let (policy, mut wrong) = match Policy::parse(&text(file)?, &shown) {
        Ok(policy) => {
            let failed = policy.run_tests(|name| known.hosts.iter().find(|host| host.name == *name).cloned());
            (Some(policy), failed)
        }
        Err(error) => (None, vec![error]),
    };
    let tests = policy.as_ref().map_or(0, Policy::test_count);
    let vain = policy.as_ref().map_or_else(Vec::new, |policy| policy.unreached(&known.people, &known.hosts));
    let failed = wrong.len();
    let mut out: String = wrong.iter().map(|error| format!("{error}\n\n")).collect();
    for vain in &vain {
        out.push_str(&format!("{}{}\n", if vain.never { "" } else { "warning: " }, in_vain(vain)));
    }
    let ok = wrong.is_empty() && !vain.iter().any(|vain| vain.never);
    match (&policy, failed) {
        (None, _) => {}
        (Some(_), 0) => out.push_str(&format!("{shown}: {tests} tests passed\n")),
        (Some(_), failed) => out.push_str(&format!("{shown}: {failed} of {tests} tests failed\n")),
    }
    let place = |error: PolicyError| json!({ "line": error.line, "column": error.column, "message": error.message, "hint": error.hint });
    let said = json!({
        "ok": ok,
        "policy": policy.as_ref().map(Policy::digest),
        "tests": tests,
        "errors": wrong.drain(..).map(place).collect::<Vec<_>>(),
        "unreached": vain.iter().map(unreached).collect::<Vec<_>>(),
    });
    Ok(Said { text: out, json: said, status: if ok { 0 } else { REFUSED } })
}

/// One sentence and what to do.
pub(super) fn in_vain(vain: &Unreached) -> String {
    let Unreached { rule, approvers, quorum, missing, askers, never } = vain;
    let whose = match never {
        true => "no request can be approved".to_owned(),
        false => format!("requests of {} cannot be approved", names(askers)),
    };
    format!(
        "rule {rule}: {whose}: it takes {quorum} of {approvers}, and {missing} of them are missing\n\
         hint: give more people these roles (nobody approves their own request, and one human counts once), or lower the quorum"
    )
}

fn unreached(vain: &Unreached) -> Value {
    json!({
        "rule": vain.rule.as_str(), "approvers": vain.approvers, "quorum": vain.quorum, "missing": vain.missing,
        "users": vain.askers, "never": vain.never,
    })
}

/// The first names, and how many more.
fn names<T: ToString>(all: &[T]) -> String {
    let first: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    match all.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

const SHOWN: usize = 8;

/// `policy who-can HOST`: a line for each user, login and terms.
fn who_can(policy: &Policy, known: &Known, named: &HostName, login: Option<&Login>) -> Outcome {
    let host = known.hosts.iter().find(|host| host.names().any(|name| name == named));
    let host = host.ok_or_else(|| Failure::refused("no-such-host", format!("no host \"{named}\""), "`jit-bastion host list`"))?;
    if let Some(login) = login.filter(|login| !host.logins.contains(login)) {
        let logins: Vec<&str> = host.logins.iter().map(AsRef::as_ref).collect();
        return Err(Failure::refused(
            "no-such-login",
            format!("{} has no login {login}", host.name),
            format!("it has {}", logins.join(", ")),
        ));
    }
    let mut told = Told::new("user");
    for person in &known.people {
        let rights = policy.rights(person, host).into_iter().filter(|right| login.is_none_or(|login| right.login == *login));
        told.one(person.user.as_str(), rights.collect(), if login.is_none() { policy.acts(person, host) } else { vec![] });
    }
    Ok(told.said(&format!("nobody may ask for {}", host.name)))
}

/// `policy what-can USER`: a line for each host, login and terms.
fn what_can(policy: &Policy, known: &Known, user: &User) -> Outcome {
    let person = known.people.iter().find(|person| person.user == *user);
    let person = person
        .ok_or_else(|| Failure::refused("no-such-user", format!("no user \"{user}\" who may do anything"), "`jit-bastion user list`"))?;
    let mut told = Told::new("host");
    for host in &known.hosts {
        told.one(host.name.as_str(), policy.rights(person, host), policy.acts(person, host));
    }
    Ok(told.said(&format!("{user} may ask for no host")))
}

/// Rights as a table and as a list.
struct Told {
    head: &'static str,
    rows: Vec<Vec<String>>,
    list: Vec<Value>,
}

impl Told {
    fn new(head: &'static str) -> Self {
        Self { head, rows: vec![], list: vec![] }
    }

    fn one(&mut self, name: &str, rights: Vec<Right>, acts: Vec<Act>) {
        for Right { login, channels, terms } in rights {
            let approval = match terms.quorum {
                0 => "at once".to_owned(),
                quorum => format!("{quorum} of {}", terms.approvers),
            };
            let row =
                [name, login.as_str(), &channels.to_string(), &terms.longest.to_string(), &approval, terms.rule.as_str(), &also(&terms)];
            self.rows.push(row.map(str::to_owned).to_vec());
            self.list.push(json!({
                self.head: name, "login": login.as_str(),
                "channels": channels.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "max-duration": terms.longest.to_string(), "quorum": terms.quorum, "approvers": terms.approvers, "rule": terms.rule.as_str(),
                "signed": terms.signed, "ticket": terms.ticket, "reason-min-length": terms.reason_min_length,
                "require-cert": terms.require_cert, "record-input": terms.record_input, "idle": terms.idle.map(|idle| idle.to_string()),
                "egress": terms.egress.map(|egress| egress.as_bytes()), "keep": terms.keep, "statements": terms.statements, "direct": terms.direct,
            }));
        }
        if !acts.is_empty() {
            let words: Vec<&str> = acts.iter().map(|act| act.as_str()).collect();
            let row = [name, "-", "-", "-", "-", "-", &format!("may {}", words.join(", "))];
            self.rows.push(row.map(str::to_owned).to_vec());
            self.list.push(json!({ self.head: name, "may": words }));
        }
    }

    fn said(self, nobody: &str) -> Said {
        let heads = [self.head, "login", "channels", "up to", "approval", "rule", "also"];
        Said::done(table(heads, self.rows, nobody), Value::Array(self.list))
    }
}

/// What is demanded beside an approval.
fn also(terms: &Terms) -> String {
    let bare = Terms { quorum: 0, ..terms.clone() }.to_string();
    let mut words: Vec<String> = bare.split("; ").skip(1).map(str::to_owned).collect();
    words.extend((terms.signed && !words.iter().any(|word| word == "signed")).then(|| "signed".to_owned()));
    words.join("; ")
}

/// `policy diff OLD NEW`: a line for each change.
fn diff(old: &Policy, new: &Policy, known: &Known) -> Said {
    let difference = new.compared_with(old, &known.people, &known.hosts);
    let text = match difference.changes.is_empty() {
        true => "nobody gains or loses anything\n".to_owned(),
        false => difference.to_string(),
    };
    let of =
        |direction: Direction| -> Value { difference.changes.iter().filter(|change| change.direction == direction).map(change).collect() };
    let said = json!({
        "before": old.digest(), "after": new.digest(),
        "gains": of(Direction::Gains), "loses": of(Direction::Loses), "changes": of(Direction::Changes),
    });
    Said::done(text, said)
}

fn change(change: &Change) -> Value {
    json!({
        "users": change.users, "hosts": change.hosts, "login": change.login, "what": change.what,
        "before": change.before, "after": change.after,
    })
}
