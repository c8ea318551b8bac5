//! `host ..`: registers machines, shows them, takes them out, and makes them those of a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::args::{AddHost, HostCommand};
use super::difference::{Difference, Fields, file_text};
use super::failure::Failure;
use super::said::{Outcome, Said, columns, table};
use super::{hostkeys, local, pubkey, setup};
use crate::access::host::{Host, HostTrust, parse_label, sheet};
use crate::access::names::HostName;
use crate::access::policy::Who;
use crate::broker::{AuditRow, Broker, SessionFilter, SessionRow};
use crate::config::Config;
use crate::store::Reader;

/// `host ..`.
pub(super) async fn run(config: &Config, broker: &Broker, command: &HostCommand) -> Outcome {
    match command {
        HostCommand::Add(words) => add(broker, words).await,
        HostCommand::List { toml } => list(&broker.reader(), *toml).await,
        HostCommand::Show { name } => show(broker, name).await,
        HostCommand::Key(words) => hostkeys::change(broker, words).await,
        HostCommand::Remove { name } => remove(broker, name).await,
        HostCommand::Apply { file, dry_run, prune } => apply(broker, file, *dry_run, *prune).await,
        // Opens the keys too, and is handled where they are opened.
        HostCommand::Audit(_) => Ok(Said::nothing(0)),
        HostCommand::Setup { name, stage } => {
            let host = registered(&broker.reader(), name).await?;
            setup::print(config, &broker.reader(), &host, *stage).await
        }
    }
}

/// The host of this name or alias.
pub(super) async fn registered(reader: &Reader, name: &str) -> Result<Host, Failure> {
    let wanted: HostName = name.parse()?;
    // A name stands before an address, and no port is 0.
    let host = reader.find_host(wanted.as_str(), 0).await.context("cannot read the hosts")?;
    host.ok_or_else(|| Failure::refused("no-such-host", format!("no host \"{wanted}\" is registered"), "`jit-bastion host list`"))
}

/// `host add`.
async fn add(broker: &Broker, words: &AddHost) -> Outcome {
    let mut host = described(words)?;
    if words.scan {
        let found = hostkeys::scanned(&words.name, &host.address, words.yes).await?;
        host.trust.splice(0..0, found);
    }
    broker.add_host(&local::actor(), host.clone()).await?;
    Ok(Said::done(columns(&[row(&host)]), json(&host)))
}

/// The host that `add` describes.
fn described(add: &AddHost) -> Result<Host, Failure> {
    let mut trust = Vec::new();
    for given in &add.key {
        trust.extend(pubkey::in_line_or_file(given)?.into_iter().map(HostTrust::Key));
    }
    for given in &add.host_ca {
        trust.extend(pubkey::in_line_or_file(given)?.into_iter().map(HostTrust::Authority));
    }
    let mut logins = Vec::new();
    for login in &add.login {
        let login = login.parse()?;
        if !logins.contains(&login) {
            logins.push(login);
        }
    }
    Ok(Host {
        name: add.name.parse()?,
        aliases: add.alias.iter().map(|alias| alias.parse()).collect::<Result<_, _>>()?,
        address: add.address.parse()?,
        trust,
        labels: add.label.iter().map(|label| parse_label(label)).collect::<Result<BTreeMap<_, _>, _>>()?,
        logins,
    })
}

/// `host list`.
async fn list(reader: &Reader, toml: bool) -> Outcome {
    let hosts = reader.hosts().await.context("cannot read the hosts")?;
    let all = hosts.iter().map(json).collect();
    if toml {
        return Ok(Said::done(sheet::print(&hosts), all));
    }
    let heads = ["host", "address", "logins", "labels", "trust"];
    let text = table(heads, hosts.iter().map(row), "no host is registered yet; `jit-bastion host add --help`");
    Ok(Said::done(text, all))
}

fn row(host: &Host) -> Vec<String> {
    let names: Vec<&str> = host.names().map(HostName::as_str).collect();
    let trust: Vec<String> = host.trust.iter().map(hostkeys::print).collect();
    vec![names.join(","), host.address.to_string(), logins(host, ","), dash(labels(host, ",")), trust.join(",")]
}

/// `host show`.
async fn show(broker: &Broker, name: &str) -> Outcome {
    let reader = broker.reader();
    let host = registered(&reader, name).await?;
    let policy = broker.policy();
    let asks: Vec<(String, String)> = policy.asks_for(&host).map(|(rule, who)| (rule.to_string(), words(who))).collect();
    let filter = SessionFilter { host: Some(host.name.clone()), most: Some(1), ..SessionFilter::default() };
    let last = reader.sessions(&filter).await.context("cannot read the sessions")?.into_iter().next();
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<9} {value}");
    };
    line("host", host.name.to_string());
    line("aliases", dash(host.aliases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
    line("address", host.address.to_string());
    line("labels", dash(labels(&host, ", ")));
    line("logins", format!("{} (the first is the default)", logins(&host, ", ")));
    for (n, trust) in host.trust.iter().enumerate() {
        line(if n == 0 { "keys" } else { "" }, hostkeys::print(trust));
    }
    for (n, (rule, who)) in asks.iter().enumerate() {
        line(if n == 0 { "may ask" } else { "" }, format!("{who} (rule {rule})"));
    }
    if asks.is_empty() {
        line("may ask", "nobody: no rule covers this host".into());
    }
    let audit = reader.last_audit(&host.name).await.context("cannot read the audits")?;
    line("audit", audit.as_ref().map_or_else(|| format!("none so far; `jit-bastion host audit {}`", host.name), look));
    line("session", last.as_ref().map_or_else(|| "none so far".into(), visit));
    let mut said = json(&host);
    said["keys"] = hostkeys::list(&host.trust);
    said["rules"] = asks.iter().map(|(rule, who)| json!({ "rule": rule, "who": who })).collect();
    said["last_audit"] = audit.map_or(
        Value::Null,
        |row| json!({ "session": row.id, "started": row.started_at.to_string(), "keys": row.keys, "unread": row.unread }),
    );
    said["last_session"] =
        last.map_or(Value::Null, |row| json!({ "session": row.id, "user": row.user, "started": row.started_at.to_string() }));
    Ok(Said::done(text, said))
}

fn visit(row: &SessionRow) -> String {
    let until = row.ended.map_or_else(|| "live".to_owned(), |(at, why)| format!("until {at} ({why})"));
    format!("{}: {} as {} from {}, {until}", row.id, row.user, row.login, row.started_at)
}

fn look(row: &AuditRow) -> String {
    let (keys, unread) = (row.keys.unwrap_or(0), row.unread.unwrap_or(0));
    format!("{}: {keys} standing keys, {unread} things not read, {} as {}", row.id, row.started_at, row.login)
}

fn words(who: &[Who]) -> String {
    who.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `host remove`.
async fn remove(broker: &Broker, name: &str) -> Outcome {
    let host = registered(&broker.reader(), name).await?;
    let removed = broker.remove_host(&local::actor(), &host.name).await?;
    let text = format!(
        "{} is registered no more; live sessions that fall: {}; grants that end with it: {}\n",
        host.name, removed.sessions, removed.grants
    );
    Ok(Said::done(text, json!({ "host": host.name, "sessions": removed.sessions, "grants": removed.grants })))
}

/// `host apply`.
async fn apply(broker: &Broker, file: &Path, dry: bool, prune: bool) -> Outcome {
    let named = if file == Path::new("-") { "(standard input)".to_owned() } else { file.display().to_string() };
    let hosts = sheet::parse(&file_text(file)?, &named).map_err(|wrong| Failure::from_text("hosts-file", &wrong.to_string()))?;
    let applied = broker.apply_hosts(&local::actor(), hosts, prune, dry).await?;
    let mut difference = Difference::new("host");
    for change in &applied {
        let name = change.after.as_ref().or(change.before.as_ref()).map(|host| host.name.to_string()).unwrap_or_default();
        difference.step(name, change.before.as_ref().map(fields), change.after.as_ref().map(fields));
    }
    Ok(Said::done(difference.text(!dry), difference.json(!dry)))
}

fn fields(host: &Host) -> Fields {
    vec![
        ("address", host.address.to_string()),
        ("logins", logins(host, ", ")),
        ("keys", host.trust.iter().map(hostkeys::print).collect::<Vec<_>>().join(", ")),
        ("labels", labels(host, ", ")),
        ("aliases", host.aliases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    ]
}

fn logins(host: &Host, between: &str) -> String {
    host.logins.iter().map(AsRef::<str>::as_ref).collect::<Vec<_>>().join(between)
}

fn labels(host: &Host, between: &str) -> String {
    host.label_words().collect::<Vec<_>>().join(between)
}

fn dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// A host as JSON, in the words of `host add`.
fn json(host: &Host) -> Value {
    json!({
        "host": host.name,
        "aliases": host.aliases,
        "address": host.address.to_string(),
        "logins": host.logins,
        "labels": host.labels,
        "trust": host.trust.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
