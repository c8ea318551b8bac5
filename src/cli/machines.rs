//! `host ..`: registers machines, lists them, prints what their sshd must be told.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::json;
use ssh_key::HashAlg;

use super::args::{AddHost, HostCommand, Stage};
use super::failure::Failure;
use super::said::{Outcome, Said, columns};
use super::setup::Setup;
use super::{local, open, pubkey};
use crate::access::host::{Host, HostTrust, parse_label};
use crate::access::names::HostName;
use crate::broker::Broker;
use crate::config::Config;
use crate::store::Reader;

/// `host ..`.
pub(super) async fn run(config: &Config, broker: &Broker, command: &HostCommand) -> Outcome {
    match command {
        HostCommand::Add(add) => {
            let host = described(add)?;
            broker.add_host(&local::actor(), host.clone()).await?;
            Ok(Said::done(columns(&[row(&host)]), json(&host)))
        }
        HostCommand::List => list(&broker.reader()).await,
        HostCommand::Setup { name, stage } => setup(config, &broker.reader(), name, *stage).await,
    }
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
async fn list(reader: &Reader) -> Outcome {
    let hosts = reader.hosts().await.context("cannot read the hosts")?;
    let mut rows = vec![["HOST", "ADDRESS", "LOGINS", "LABELS", "TRUST"].map(str::to_owned).to_vec()];
    rows.extend(hosts.iter().map(row));
    let text = if hosts.is_empty() { "no host is registered yet; `jit-bastion host add --help`\n".to_owned() } else { columns(&rows) };
    Ok(Said::done(text, hosts.iter().map(json).collect()))
}

fn row(host: &Host) -> Vec<String> {
    let names: Vec<&str> = host.names().map(HostName::as_str).collect();
    let logins: Vec<&str> = host.logins.iter().map(AsRef::as_ref).collect();
    let trust: Vec<String> = host.trust.iter().map(print).collect();
    vec![names.join(","), host.address.to_string(), logins.join(","), labels(host), trust.join(",")]
}

fn labels(host: &Host) -> String {
    let shown = |(key, value): (&String, &String)| if value.is_empty() { key.clone() } else { format!("{key}={value}") };
    let labels: Vec<String> = host.labels.iter().map(shown).collect();
    if labels.is_empty() { "-".to_owned() } else { labels.join(",") }
}

fn print(trust: &HostTrust) -> String {
    let fingerprint = trust.key().fingerprint(HashAlg::Sha256);
    if matches!(trust, HostTrust::Authority(_)) { format!("CA {fingerprint}") } else { fingerprint.to_string() }
}

/// A host as JSON, in the words of `host add`.
fn json(host: &Host) -> serde_json::Value {
    json!({
        "host": host.name,
        "aliases": host.aliases,
        "address": host.address.to_string(),
        "logins": host.logins,
        "labels": host.labels,
        "trust": host.trust.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// `host setup`.
async fn setup(config: &Config, reader: &Reader, name: &str, stage: Stage) -> Outcome {
    let wanted: HostName = name.parse()?;
    let host = reader.host(&wanted).await.context("cannot read the hosts")?;
    let host =
        host.ok_or_else(|| Failure::refused("no-such-host", format!("no host \"{wanted}\" is registered"), "`jit-bastion host list`"))?;
    let ring = open::keyring(config, reader).await?;
    let ca = ring.sessions.public_key().to_openssh().context("the session CA cannot be written")?;
    let sources: Vec<String> = config.source_addresses.iter().map(ToString::to_string).collect();
    let setup = Setup::new(&host, stage, &ca, &sources);
    Ok(Said::done(setup.text(), setup.json()))
}
