//! Hosts: where sessions can go. From the bastion's own command line.

use std::collections::BTreeSet;

use super::fault::Stop;
use super::people::fingerprint;
use super::{Broker, Error};
use crate::access::host::Host;
use crate::access::names::{Actor, HostName};
use crate::access::refusal::Refusal;
use crate::audit::event::{Event, list};
use crate::session::Ending;
use crate::store::{Outcome, Tx, Urgency};

impl Broker {
    /// A new host. Its names, and its address with its port, lead to it alone.
    pub async fn add_host(&self, by: &Actor, host: Host) -> Result<(), Error> {
        whole(&host)?;
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                if tx.host(&host.name).await?.is_some() {
                    return Err(exists("host", host.name.as_str()).into());
                }
                leads_here_alone(tx, &host).await?;
                tx.add_host(&host).await?;
                let event = Event::HostAdded {
                    address: host.address.to_string(),
                    trust: trust(&host),
                    logins: in_order(&host.logins),
                    labels: labels(&host),
                    aliases: list(&host.aliases),
                    host: host.name,
                };
                Ok(Outcome::Changed((), event))
            })
        })
        .await
    }

    /// A registered host has this address, these aliases, labels and logins from here on. Its trusted keys stay: see
    /// [`Broker::trust_host`]. Live sessions there that would not be given any more fall.
    pub async fn change_host(&self, by: &Actor, mut host: Host) -> Result<(), Error> {
        let changed = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let before = registered(tx, &host.name).await?;
                host.trust = before.trust.clone();
                whole(&host)?;
                if before == host {
                    return Ok(Outcome::Same(()));
                }
                leads_here_alone(tx, &host).await?;
                tx.change_host(&host).await?;
                let event = Event::HostChanged {
                    address: host.address.to_string(),
                    logins: in_order(&host.logins),
                    labels: labels(&host),
                    aliases: list(&host.aliases),
                    host: host.name,
                };
                Ok(Outcome::Changed((), event))
            })
        });
        changed.await?;
        self.cut_now().await;
        Ok(())
    }

    /// A registered host speaks with these keys from here on.
    pub async fn trust_host(&self, by: &Actor, name: &HostName, lines: Vec<crate::access::host::HostTrust>) -> Result<(), Error> {
        let name = name.clone();
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let before = registered(tx, &name).await?;
                let after = Host { trust: lines, ..before.clone() };
                whole(&after)?;
                if before == after {
                    return Ok(Outcome::Same(()));
                }
                tx.change_host(&after).await?;
                Ok(Outcome::Changed((), Event::HostKeyChanged { host: name, before: trust(&before), trust: trust(&after) }))
            })
        })
        .await
    }

    /// A host is no longer registered; live sessions there fall.
    pub async fn remove_host(&self, by: &Actor, name: &HostName) -> Result<(), Error> {
        let gone = name.clone();
        let removed = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                registered(tx, &gone).await?;
                tx.remove_host(&gone).await?;
                Ok(Outcome::Changed((), Event::HostRemoved { host: gone }))
            })
        });
        removed.await?;
        self.live.cut(|s| s.host == *name, Ending::Revoked);
        Ok(())
    }
}

async fn registered(tx: &mut Tx, host: &HostName) -> Result<Host, Stop> {
    let unknown = || Refusal::new("no-such-host", format!("no host \"{host}\"")).hint("`jit-bastion host list` shows them");
    Ok(tx.host(host).await?.ok_or_else(unknown)?)
}

/// A host that a session can go to: somebody to be there, and a key to know it by.
fn whole(host: &Host) -> Result<(), Refusal> {
    if host.logins.is_empty() {
        return Err(Refusal::new("no-login", format!("{} has no login", host.name)).hint("--login NAME, the default first"));
    }
    if host.trust.is_empty() {
        return Err(Refusal::new("no-host-key", format!("{} has no trusted key, so nobody could reach it", host.name))
            .hint("--key FILE or --key 'ssh-ed25519 AAAA..'"));
    }
    let logins: BTreeSet<_> = host.logins.iter().collect();
    let names: BTreeSet<_> = host.names().collect();
    if logins.len() != host.logins.len() || names.len() != host.aliases.len() + 1 {
        return Err(Refusal::new("doubled", format!("a login or a name of {} stands there twice", host.name)).hint("name each once"));
    }
    Ok(())
}

async fn leads_here_alone(tx: &mut Tx, host: &Host) -> Result<(), Stop> {
    for called in host.names() {
        if let Some(other) = tx.host_named(called).await?.filter(|other| *other != host.name) {
            return Err(Refusal::new("exists", format!("\"{called}\" leads to {other} already")).hint("choose another name").into());
        }
    }
    if let Some(other) = tx.host_addressed(&host.address).await?.filter(|other| *other != host.name) {
        let refusal = Refusal::new("exists", format!("{} is the address of {other} already", host.address));
        return Err(refusal.hint("give that host an alias instead").into());
    }
    Ok(())
}

pub(super) fn exists(what: &str, name: &str) -> Refusal {
    Refusal::new("exists", format!("there is a {what} \"{name}\" already")).hint(format!("`jit-bastion {what} list` shows it"))
}

fn trust(host: &Host) -> String {
    list(host.trust.iter().map(|trust| fingerprint(trust.key())))
}

/// The first is the default, so the order is told.
fn in_order(logins: &[crate::access::names::Login]) -> String {
    logins.iter().map(AsRef::<str>::as_ref).collect::<Vec<_>>().join(",")
}

fn labels(host: &Host) -> String {
    list(host.labels.iter().map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key}={value}") }))
}
