//! `whoami`, `hosts`, `known-hosts`: who I am, and where I may ask to go.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::table::Table;
use super::{Answer, Caller, read};
use crate::access::host::Host;
use crate::access::names::{GrantId, HostName, Login, Role, Vendor};
use crate::access::person::Person;
use crate::access::policy::{Act, Policy};
use crate::broker::{Broker, Error, GrantFilter, KnownHosts};

/// `whoami`.
pub(super) fn whoami(broker: &Broker, caller: &Caller) -> Answer {
    let Some(person) = &caller.person else {
        let actor = caller.actor.to_string();
        return Answer::done(
            format!("{actor}, on the bastion's own command line: may read, close, revoke and kill\n"),
            json!({ "actor": actor }),
        );
    };
    let policy = broker.policy();
    let roles: Vec<&str> = person.roles.iter().map(Role::as_str).collect();
    let may: Vec<&str> = Act::ALL.into_iter().filter(|act| policy.may_somewhere(person, *act)).map(Act::as_str).collect();
    let vendor = person.vendor.as_ref().map(Vendor::as_str);
    let mut human = person.user.to_string();
    if let Some(vendor) = vendor {
        human.push_str(&format!(" of {vendor}"));
    }
    human.push_str(&match roles.is_empty() {
        true => ", no roles".into(),
        false => format!(", roles: {}", roles.join(", ")),
    });
    if !may.is_empty() {
        human.push_str(&format!(", may: {}", may.join(", ")));
    }
    let limit = caller.limit();
    if let Some(limit) = limit {
        human.push_str(&format!(", by an access certificate: this connection sees {limit} alone"));
    }
    let limit = limit.map(GrantId::as_str);
    Answer::done(human + "\n", json!({ "user": person.user.as_str(), "roles": roles, "vendor": vendor, "may": may, "limited_to": limit }))
}

/// `hosts`.
pub(super) async fn hosts(broker: &Broker, caller: &Caller) -> Result<Answer, Error> {
    let policy = broker.policy();
    let mut all = read(broker, broker.reader().hosts().await)?;
    let held = held(broker, caller.person.as_ref()).await?;
    if let Some(person) = &caller.person {
        all.retain(|host| held.contains(&host.name) || policy.visible(person, host));
    }
    if let Some(grant) = caller.limited_to(broker).await? {
        all.retain(|host| host.name == grant.host);
    }
    let mut table = Table::new(["host", "logins", "aliases", "address", "labels"]);
    let mut rows = Vec::new();
    for host in &all {
        let logins = logins(&policy, caller.person.as_ref(), host);
        let words = |list: Vec<String>| list.join(",");
        let address = host.address.to_string();
        let aliases: Vec<String> = host.aliases.iter().map(ToString::to_string).collect();
        let names: Vec<String> = logins.iter().map(ToString::to_string).collect();
        table.row([host.name.to_string(), words(names), words(aliases.clone()), address.clone(), words(host.label_words().collect())]);
        rows.push(json!({ "host": host.name.as_str(), "logins": logins, "aliases": aliases, "address": address, "labels": host.labels }));
    }
    let human = if table.is_empty() { "there is no host that you may ask for\n".into() } else { table.print(caller.look) };
    Ok(Answer::done(human, Value::Array(rows)))
}

/// The logins that this person may ask for; all of them for the bastion's own command line.
fn logins(policy: &Arc<Policy>, person: Option<&Person>, host: &Host) -> Vec<Login> {
    person.map_or_else(|| host.logins.clone(), |person| policy.logins_for(person, host))
}

async fn held(broker: &Broker, person: Option<&Person>) -> Result<BTreeSet<HostName>, Error> {
    let Some(person) = person else { return Ok(BTreeSet::new()) };
    let filter = GrantFilter { user: Some(person.user.clone()), ..GrantFilter::default() };
    Ok(read(broker, broker.reader().grants(&filter).await)?.into_iter().map(|grant| grant.host).collect())
}

/// `known-hosts [--plain]`.
pub(super) fn known_hosts(broker: &Broker, plain: bool) -> Result<Answer, Error> {
    let lines = broker.known_hosts(if plain { KnownHosts::Plain } else { KnownHosts::Authority })?;
    let mut human = lines.join("\n");
    human.push('\n');
    Ok(Answer::done(human, json!({ "lines": lines })))
}
