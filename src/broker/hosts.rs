//! Hosts: where sessions can go. From the bastion's own command line.

use std::collections::BTreeMap;

use super::apply::{Change, changes};
use super::fault::Stop;
use super::people::fingerprint;
use super::{Broker, Error};
use crate::access::host::{Host, HostTrust, distinct};
use crate::access::names::{Actor, HostName};
use crate::access::policy::Policy;
use crate::access::refusal::Refusal;
use crate::audit::event::{Cause, Event, list};
use crate::session::Ending;
use crate::store::{Outcome, Tx, Urgency};

/// How a host's trusted keys change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trusting {
    /// These and no others.
    These(Vec<HostTrust>),
    /// These, if what somebody compared them with is still what is trusted.
    Instead {
        /// What was shown as trusted so far.
        of: Vec<HostTrust>,
        /// What is trusted from here on.
        these: Vec<HostTrust>,
    },
    /// These too.
    Also(Vec<HostTrust>),
    /// All but the one with this fingerprint, `SHA256:..`.
    Without(String),
}

/// What went with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Live sessions there, on any node: they fall.
    pub sessions: u64,
    /// Grants there that have not ended: they are revoked with it.
    pub grants: u64,
}

impl Broker {
    /// A new host. Its names, and its address with its port, lead to it alone.
    pub async fn add_host(&self, by: &Actor, host: Host) -> Result<(), Error> {
        host.whole()?;
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                if tx.host(&host.name).await?.is_some() {
                    return Err(exists("host", host.name.as_str()).into());
                }
                leads_here_alone(tx, &host).await?;
                tx.add_host(&host).await?;
                Ok(Outcome::Changed((), added(host)))
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
                host.whole()?;
                if before == host {
                    return Ok(Outcome::Same(()));
                }
                leads_here_alone(tx, &host).await?;
                tx.change_host(&host).await?;
                Ok(Outcome::Changed((), changed(&host)))
            })
        });
        changed.await?;
        self.rights_changed().await;
        Ok(())
    }

    /// A registered host speaks with other keys from here on: what was trusted, and what is. A visit that is being set up at this moment
    /// does not begin.
    pub async fn trust_host(&self, by: &Actor, name: &HostName, how: Trusting) -> Result<Change<Vec<HostTrust>>, Error> {
        let (name, who, policy) = (name.clone(), by.clone(), self.in_force());
        self.act(Urgency::Ordinary, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let before = registered(tx, &name).await?;
                let mut after = Host { trust: how.of(&before)?, ..before.clone() };
                after.trust.sort_by_key(|line| matches!(line, HostTrust::Authority(_)));
                after.whole()?;
                let change = Change { before: Some(before.trust.clone()), after: Some(after.trust.clone()) };
                if before == after {
                    return Ok(Outcome::Same(change));
                }
                tx.change_host(&after).await?;
                let event = trusted(tx, &policy, &who, &before, &after).await?;
                Ok(Outcome::Changed(change, event))
            })
        })
        .await
    }

    /// A host is no longer registered; live sessions there fall.
    pub async fn remove_host(&self, by: &Actor, name: &HostName) -> Result<Removed, Error> {
        let (gone, who) = (name.clone(), by.clone());
        let removed = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                registered(tx, &gone).await?;
                let (sessions, grants) = tx.host_in_use(&gone).await?;
                tx.remove_host(&gone).await?;
                Ok(Outcome::Many(Removed { sessions, grants }, removal(tx, &who, gone).await?))
            })
        });
        let removed = removed.await?;
        self.live.cut(|s| s.host == *name, Ending::Revoked);
        Ok(removed)
    }

    /// The registered hosts become `hosts`, all of them with their events or none; with `prune` those that are not named go. What differs
    /// comes back; `dry` changes nothing. Live sessions that would not be given any more fall.
    pub async fn apply_hosts(&self, by: &Actor, hosts: Vec<Host>, prune: bool, dry: bool) -> Result<Vec<Change<Host>>, Error> {
        hosts.iter().try_for_each(Host::whole)?;
        let (who, policy) = (by.clone(), self.in_force());
        let applied = self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let is = tx.hosts().await?;
                let mut will: BTreeMap<&HostName, &Host> = is.iter().filter(|_| !prune).map(|host| (&host.name, host)).collect();
                will.extend(hosts.iter().map(|host| (&host.name, host)));
                distinct(will.into_values())?;
                let found = changes(is, hosts, |host| host.name.clone(), prune);
                let events = if dry { Vec::new() } else { land(tx, &policy, &who, &found).await? };
                Ok(Outcome::Many(found, events))
            })
        });
        let found = applied.await?;
        if !dry && !found.is_empty() {
            self.rights_changed().await;
        }
        Ok(found)
    }
}

impl Trusting {
    /// What is trusted afterwards.
    fn of(self, host: &Host) -> Result<Vec<HostTrust>, Refusal> {
        match self {
            Self::These(these) => Ok(these),
            Self::Instead { of, these } if of == host.trust => Ok(these),
            Self::Instead { .. } => Err(super::fault::overtaken(&format!("the trusted keys of {}", host.name))),
            Self::Also(more) => {
                let mut trust = host.trust.clone();
                more.into_iter().for_each(|line| {
                    if !trust.contains(&line) {
                        trust.push(line)
                    }
                });
                Ok(trust)
            }
            Self::Without(gone) => {
                let left: Vec<_> = host.trust.iter().filter(|line| fingerprint(line.key()) != gone).cloned().collect();
                if left.len() == host.trust.len() {
                    let shown = crate::access::names::escaped(&gone);
                    let refusal = Refusal::new("no-such-key", format!("{} trusts no key {shown}", host.name));
                    return Err(refusal.hint(format!("`jit-bastion host show {}` lists them", host.name)));
                }
                Ok(left)
            }
        }
    }
}

/// Writes what differs; the events, in the order of the changes. Names may move from one host to another, so all are freed first.
async fn land(tx: &mut Tx, policy: &Policy, by: &Actor, found: &[Change<Host>]) -> Result<Vec<Event>, Stop> {
    for change in found {
        match (&change.before, &change.after) {
            (Some(before), None) => tx.remove_host(&before.name).await?,
            (Some(before), Some(_)) => tx.free_names(&before.name).await?,
            _ => {}
        }
    }
    let mut events = Vec::new();
    for change in found {
        match (&change.before, &change.after) {
            (None, Some(after)) => {
                tx.add_host(after).await?;
                events.push(added(after.clone()));
            }
            (Some(before), Some(after)) => {
                tx.change_host(after).await?;
                if (Host { trust: before.trust.clone(), ..after.clone() }) != *before {
                    events.push(changed(after));
                }
                if before.trust != after.trust {
                    events.push(trusted(tx, policy, by, before, after).await?);
                }
            }
            (Some(before), None) => events.extend(removal(tx, by, before.name.clone()).await?),
            (None, None) => {}
        }
    }
    Ok(events)
}

/// What the removal of a host is told as: the rights there end with it, each with its event, so that no machine that gets the name later
/// inherits them.
async fn removal(tx: &mut Tx, by: &Actor, host: HostName) -> Result<Vec<Event>, Stop> {
    let (grants, requests) = tx.end_rights_on(&host, by).await?;
    let mut events = vec![Event::HostRemoved { host }];
    events.extend(grants.into_iter().map(|grant| Event::GrantRevoked { grant, cause: Cause::Host, note: None }));
    events.extend(requests.into_iter().map(|request| Event::RequestLapsed { request }));
    Ok(events)
}

fn added(host: Host) -> Event {
    Event::HostAdded {
        address: host.address.to_string(),
        trust: trust(&host),
        logins: in_order(&host.logins),
        labels: list(host.label_words()),
        aliases: list(&host.aliases),
        host: host.name,
    }
}

fn changed(host: &Host) -> Event {
    Event::HostChanged {
        address: host.address.to_string(),
        logins: in_order(&host.logins),
        labels: list(host.label_words()),
        aliases: list(&host.aliases),
        host: host.name.clone(),
    }
}

/// The event, and a notice to everybody who could approve: who holds the new key reads what is typed there.
async fn trusted(tx: &mut Tx, policy: &Policy, by: &Actor, before: &Host, after: &Host) -> Result<Event, Stop> {
    let (was, is) = (trust(before), trust(after));
    let text = format!("{by} changed the trusted keys of {} from {was} to {is}", after.name);
    let told = tx.tell_approvers(policy, by, None, &text).await?;
    Ok(Event::HostKeyChanged { host: after.name.clone(), before: was, trust: is, told })
}

pub(super) async fn registered(tx: &mut Tx, host: &HostName) -> Result<Host, Stop> {
    let unknown = || Refusal::new("no-such-host", format!("no host \"{host}\"")).hint("`jit-bastion host list` shows them");
    Ok(tx.host(host).await?.ok_or_else(unknown)?)
}

async fn leads_here_alone(tx: &mut Tx, host: &Host) -> Result<(), Stop> {
    let others = tx.hosts().await?;
    Ok(distinct(others.iter().filter(|other| other.name != host.name).chain([host]))?)
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
