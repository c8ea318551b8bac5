//! `host audit`: what access stands on a host without the bastion, as the host itself tells it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::args::HostAudit;
use super::failure::Failure;
use super::said::{Outcome, Said};
use super::{local, machines, open, place};
use crate::access::names::{Note, escaped};
use crate::access::time::{Clock, SystemClock};
use crate::serve::archive;
use crate::ssh::inspect::report::{KeyFile, Report, StandingKey};
use crate::ssh::inspect::{InspectError, inspect};

/// `host audit`: opens the keys, looks, and prints the report. A running bastion is not needed and not disturbed.
pub(super) fn run(words: &HostAudit, named: Option<&Path>) -> Outcome {
    let config = place::config(named)?;
    let login = words.login.as_deref().map(str::parse).transpose()?;
    let note = words.note.as_deref().map(Note::parse).transpose()?;
    open::block_on(async {
        let store = open::store(&config).await?;
        let broker = open::broker_with_keys(&config, store.clone()).await?;
        let host = machines::registered(&broker.reader(), &words.name).await?;
        broker.take_over_log().await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let archive = Arc::new(archive(&config, &broker, &clock)?);
        let admission = broker.admit_audit(&local::actor(), &host.name, login, note).await?;
        let (session, login) = (admission.meta().session.clone(), admission.login().clone());
        let looked = inspect(&broker, &archive, &clock, admission).await;
        store.close().await;
        let report = looked.map_err(|error| failed(&host.name, error))?;
        let head = format!("{} as {login}, {session}: what opens it without the bastion\n", host.name);
        let mut said = json(&report);
        said["host"] = json!(host.name);
        said["login"] = json!(login);
        said["session"] = json!(session);
        Ok(Said::done(head + &text(&report), said))
    })
}

fn failed(host: &crate::access::names::HostName, error: InspectError) -> Failure {
    match error {
        InspectError::Broker(error) => error.into(),
        InspectError::Dial(text) => Failure::from_text("not-entered", &text),
        InspectError::Record(_) => Failure::Fault(error.into()),
        other => {
            let next = format!("`ssh` to {host} by another way and look yourself; the login's shell must be one that runs /bin/sh");
            Failure::refused("not-audited", other.to_string(), next)
        }
    }
}

/// For a human. Everything that the host said is escaped.
fn text(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "read as {}", escaped(&report.ran_as));
    let _ = writeln!(out, "\nstanding keys: {}", report.standing());
    for file in &report.files {
        keys(file, &mut out);
    }
    if !report.settings.is_empty() {
        out.push_str("\nsshd, for somebody from anywhere\n");
    }
    for settings in &report.settings {
        let _ = writeln!(out, "  {}", escaped(&settings.accounts.join(", ")));
        for (key, value) in &settings.values {
            let _ = writeln!(out, "    {} {}", escaped(key), escaped(value));
        }
    }
    if let Some(passwords) = &report.passwords {
        let _ = writeln!(out, "\naccounts with a password: {}", none(&escaped(&passwords.join(", "))));
    }
    out.push_str("\ngroups\n");
    for (group, members) in &report.groups {
        let _ = writeln!(out, "  {}: {}", escaped(group), none(&escaped(&members.join(", "))));
    }
    listed("sshd's files", &report.config, &mut out);
    listed("sudoers", &report.sudoers, &mut out);
    out.push_str("\nlast logins\n");
    for line in report.logins.iter().take(LOGINS) {
        let _ = writeln!(out, "  {}", escaped(line));
    }
    out.push_str("\nnot read\n");
    for why in &report.unread {
        let _ = writeln!(out, "  {}", escaped(why));
    }
    if report.unread.is_empty() {
        out.push_str("  (nothing was kept from us)\n");
    }
    out
}

fn keys(file: &KeyFile, out: &mut String) {
    let _ = writeln!(out, "  {}  {}", escaped(&file.account), escaped(&file.path));
    for key in &file.keys {
        let robot = if key.forced() { "  (a robot's: it has a forced command)" } else { "" };
        let options = if key.options.is_empty() { String::new() } else { format!("  {}", escaped(&key.options)) };
        let _ = writeln!(out, "    {} {}  {}{options}{robot}", escaped(&key.kind), key.fingerprint, escaped(&key.comment));
    }
    for line in &file.odd {
        let _ = writeln!(out, "    not a key that we can read: {}", escaped(line));
    }
}

fn listed(what: &str, files: &[(String, Vec<String>)], out: &mut String) {
    if files.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{what}");
    for (path, lines) in files {
        let _ = writeln!(out, "  {}", escaped(path));
        for line in lines {
            let _ = writeln!(out, "    {}", escaped(line));
        }
    }
}

fn none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

/// For a program, the same; control characters are JSON's business.
fn json(report: &Report) -> Value {
    let key = |key: &StandingKey| json!({ "kind": key.kind, "fingerprint": key.fingerprint, "options": key.options, "comment": key.comment, "robot": key.forced() });
    let file = |file: &KeyFile| {
        let keys: Vec<Value> = file.keys.iter().map(key).collect();
        json!({ "account": file.account, "file": file.path, "keys": keys, "odd": file.odd })
    };
    let named =
        |files: &[(String, Vec<String>)]| files.iter().map(|(path, lines)| json!({ "file": path, "lines": lines })).collect::<Value>();
    json!({
        "ran_as": report.ran_as,
        "standing": report.standing(),
        "files": report.files.iter().map(file).collect::<Value>(),
        "sshd": report.settings.iter().map(|one| json!({ "accounts": one.accounts, "settings": one.values })).collect::<Value>(),
        "config": named(&report.config),
        "passwords": report.passwords,
        "accounts": report.accounts.iter().map(|a| json!({ "account": a.name, "uid": a.uid, "home": a.home, "shell": a.shell })).collect::<Value>(),
        "groups": report.groups.iter().map(|(group, members)| json!({ "group": group, "members": members })).collect::<Value>(),
        "sudoers": named(&report.sudoers),
        "logins": report.logins,
        "unread": report.unread,
    })
}

/// Last logins that a human reads; a program gets all.
const LOGINS: usize = 20;
