//! Tables of cases, and the laws of the policy as properties, judged against a slow and obvious reference.

mod cases;
mod defaults;
mod floors;
mod keys;
mod laws;
mod quorum;
mod reading;
mod reference;

use std::collections::BTreeMap;

use super::*;
use crate::access::host::{Address, Host};
use crate::access::names::{HostName, Login, Role, User, Vendor};
use crate::access::person::Person;

fn person(user: &str, roles: &[&str], vendor: Option<&str>) -> Person {
    Person {
        user: User::parse(user).unwrap(),
        roles: roles.iter().map(|role| Role::parse(role).unwrap()).collect(),
        vendor: vendor.map(|name| Vendor::parse(name).unwrap()),
    }
}

fn host(name: &str, labels: &[&str], logins: &[&str]) -> Host {
    Host {
        name: HostName::parse(name).unwrap(),
        aliases: vec![],
        address: Address { host: "10.0.0.5".into(), port: 22 },
        trust: vec![],
        labels: labels.iter().map(|label| crate::access::host::parse_label(label).unwrap()).collect::<BTreeMap<_, _>>(),
        logins: logins.iter().map(|login| Login::parse(login).unwrap()).collect(),
    }
}

fn wish(login: &str, channels: Option<&str>, length: Option<&str>) -> Wish {
    Wish {
        login: Login::parse(login).unwrap(),
        channels: channels.map(|c| c.parse().unwrap()),
        length: length.map(|l| l.parse().unwrap()),
        why: None,
    }
}

const POLICY: &str = r#"
# the databases
[[allow]]
id = "dba-phi"
who = ["role:dba"]
hosts = ["label:phi"]
logins = ["postgres"]
channels = ["shell", "exec", "sftp-read"]
max-duration = "4h"
approve = { by = ["role:phi-owner"], quorum = 2 }

# the vendor's own box
[[allow]]
id = "vendor"
who = ["vendor:acme", "user:vera"]
hosts = ["pacs-*"]
logins = ["*"]
channels = ["*"]
max-duration = "30m"
approve = { by = ["user:bob"] }

[[allow]]
id = "lab"
who = ["*"]
hosts = ["label:env=lab"]
logins = ["*"]
channels = ["*"]
max-duration = "8h"
default-duration = "2h"

[[deny]]
id = "no-vendor-writes"
who = ["vendor:*"]
channels = ["sftp-write"]
because = "vendors hand files over at the desk"

[[deny]]
id = "frozen"
hosts = ["pacs-frozen"]
because = "frozen until the audit ends"

[[may]]
who = ["role:auditor"]
do = ["sessions", "recordings", "replay"]
hosts = ["*"]

[[test]]
given = { user = "alice", roles = ["dba"], host = "phi-db", labels = ["phi"], login = "postgres", channels = ["shell"] }
expect = { decision = "approve", rule = "dba-phi", quorum = 2 }

[[test]]
given = { user = "vera", vendor = "acme", host = "pacs-frozen", login = "root" }
expect = { decision = "refuse" }
"#;

fn policy() -> Policy {
    Policy::parse(POLICY, "policy.toml").unwrap_or_else(|e| panic!("{e}"))
}
