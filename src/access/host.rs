//! A machine behind the bastion: where it is, how its key is trusted, its logins and labels.

pub mod sheet;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ssh_key::{Algorithm, PublicKey};

use super::names::{BadName, HostName, Login};
use super::refusal::Refusal;

/// A machine that sessions go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its one name, in events, grants and certificates.
    pub name: HostName,
    /// Other names that people may type.
    pub aliases: Vec<HostName>,
    /// Where it is dialled.
    pub address: Address,
    /// The keys and authorities that may speak for it; empty trusts nobody.
    pub trust: Vec<HostTrust>,
    /// What policy selects it by; a label without a value has an empty one.
    pub labels: BTreeMap<String, String>,
    /// Its accounts; the first is the default.
    pub logins: Vec<Login>,
}

impl Host {
    /// A host of this name that is registered no more: without logins, labels or trust. Rules that speak of `*` still speak of it.
    pub fn unregistered(name: &HostName) -> Self {
        let address = Address { host: name.to_string(), port: 22 };
        Self { name: name.clone(), aliases: vec![], address, trust: vec![], labels: BTreeMap::new(), logins: vec![] }
    }

    /// Is `text` its name, one of its aliases, or (with `port`) its registered address?
    pub fn answers_to(&self, text: &str, port: u16) -> bool {
        let text = text.to_ascii_lowercase();
        self.names().any(|name| name.as_str() == text) || (self.address.port == port && self.address.host.eq_ignore_ascii_case(&text))
    }

    /// Its name, then its aliases.
    pub fn names(&self) -> impl Iterator<Item = &HostName> {
        std::iter::once(&self.name).chain(&self.aliases)
    }

    /// Its labels as they are written: `phi`, `env=prod`.
    pub fn label_words(&self) -> impl Iterator<Item = String> {
        self.labels.iter().map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key}={value}") })
    }

    /// Can a session go there: there is somebody to be, a key to know it by, and nothing stands there twice.
    pub fn whole(&self) -> Result<(), Refusal> {
        if self.logins.is_empty() {
            return Err(Refusal::new("no-login", format!("{} has no login", self.name)).hint("--login NAME, the default first"));
        }
        if self.trust.is_empty() {
            let refusal = Refusal::new("no-host-key", format!("{} would have no trusted key, so nobody could reach it", self.name));
            return Err(refusal.hint("--scan, --key FILE or --key 'ssh-ed25519 AAAA..'"));
        }
        if let Some(why) = self.trust.iter().find_map(|trust| weakness(trust.key())) {
            return Err(Refusal::new("weak-key", format!("{why} cannot vouch for {}", self.name)).hint("register its Ed25519 or ECDSA key"));
        }
        let logins: BTreeSet<_> = self.logins.iter().collect();
        let names: BTreeSet<_> = self.names().collect();
        let trust: BTreeSet<_> = self.trust.iter().map(ToString::to_string).collect();
        if logins.len() != self.logins.len() || names.len() != self.aliases.len() + 1 || trust.len() != self.trust.len() {
            let refusal = Refusal::new("doubled", format!("a login, a name or a key of {} stands there twice", self.name));
            return Err(refusal.hint("name each once"));
        }
        if [self.logins.len(), self.aliases.len(), self.labels.len(), self.trust.len()].iter().any(|n| *n > MOST) {
            let refusal = Refusal::new("too-many", format!("{} has more than {MOST} logins, names, labels or keys", self.name));
            return Err(refusal.hint("register it as several hosts"));
        }
        Ok(())
    }
}

/// Why a key proves too little, if it does: DSA is broken, and so is a short RSA key.
pub fn weakness(key: &PublicKey) -> Option<String> {
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => None,
        Algorithm::Rsa { .. } => {
            let bits = key.key_data().rsa().map_or(0, |rsa| rsa.key_size());
            (bits < RSA_BITS).then(|| format!("an RSA key of {bits} bits (of {RSA_BITS} at least)"))
        }
        other => Some(format!("a key of type {other}")),
    }
}

/// Names, aliases and addresses are one name space: what somebody types leads to one of `hosts`, or to none.
pub fn distinct<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> Result<(), Refusal> {
    let (mut names, mut places, mut machines) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let taken = |what: String, other: &HostName, next: &str| Err(Refusal::new("exists", format!("{what} {other} already")).hint(next));
    for host in hosts {
        for name in host.names() {
            if let Some(other) = names.insert(name.as_str(), &host.name) {
                return taken(format!("\"{name}\" leads to"), other, "choose another name");
            }
        }
        if let Some(other) = places.insert(&host.address, &host.name) {
            return taken(format!("{} is the address of", host.address), other, "give that host an alias instead");
        }
        machines.insert(host.address.host.as_str(), &host.name);
    }
    for (name, host) in names {
        if let Some(other) = machines.get(name).filter(|other| **other != host) {
            return taken(
                format!("the name \"{name}\" of {host} is the address of"),
                other,
                "a name must not look like another host's address",
            );
        }
    }
    Ok(())
}

/// Logins, aliases, labels or keys of one host, each.
const MOST: usize = 100;
/// RSA below this is not accepted at the front door either.
const RSA_BITS: u32 = 2048;

/// Host and port, written `10.0.0.5:22`, `[2001:db8::1]:22` or `db.internal` (port 22).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The SSH port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

impl FromStr for Address {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName::new("address", text, "write it as 10.0.0.5, 10.0.0.5:2222, db.internal:22 or [2001:db8::1]:22");
        let (host, port) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            Some((v6, _)) if !v6.contains(':') => return Err(bad()),
            Some((v6, "")) => (v6, None),
            Some((v6, rest)) => (v6, Some(rest.strip_prefix(':').ok_or_else(bad)?)),
            None if text.parse::<std::net::Ipv6Addr>().is_ok() => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let fits = if host.contains(':') {
            host.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty()
                && host.len() <= 253
                && !host.starts_with('-')
                && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
        };
        let port = port.map_or(Ok(22), str::parse).ok().filter(|port| *port > 0).ok_or_else(bad)?;
        if fits { Ok(Self { host: host.to_ascii_lowercase(), port }) } else { Err(bad()) }
    }
}

impl TryFrom<String> for Address {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// Who may speak for a host. Kept as known_hosts writes it: `ssh-ed25519 AAAA..`, or `@cert-authority ssh-ed25519 AAAA..`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostTrust {
    /// This very host key.
    Key(PublicKey),
    /// Any host certificate for one of the host's names that this authority signed.
    Authority(PublicKey),
}

impl HostTrust {
    /// The key, whichever way it is trusted.
    pub fn key(&self) -> &PublicKey {
        let (Self::Key(key) | Self::Authority(key)) = self;
        key
    }
}

const AUTHORITY: &str = "@cert-authority ";

impl fmt::Display for HostTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bare = self.key().clone();
        bare.set_comment("");
        let text = bare.to_openssh().map_err(|_| fmt::Error)?;
        let mark = if matches!(self, Self::Authority(_)) { AUTHORITY } else { "" };
        write!(f, "{mark}{}", text.trim_end())
    }
}

impl FromStr for HostTrust {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = |_| BadName::new("host key", text, "write it as `ssh-ed25519 AAAA..` or `@cert-authority ssh-ed25519 AAAA..`");
        let text = text.trim();
        match text.strip_prefix(AUTHORITY) {
            Some(key) => PublicKey::from_openssh(key.trim()).map(Self::Authority).map_err(bad),
            None => PublicKey::from_openssh(text).map(Self::Key).map_err(bad),
        }
    }
}

impl TryFrom<String> for HostTrust {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<HostTrust> for String {
    fn from(trust: HostTrust) -> Self {
        trust.to_string()
    }
}

/// Reads a label, `phi` or `env=prod`: key a-z 0-9 . _ -, value the same with A-Z.
pub fn parse_label(text: &str) -> Result<(String, String), BadName> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let fits = !key.is_empty()
        && key.len() <= 64
        && value.len() <= 64
        && key.chars().all(lower)
        && value.chars().all(|c| lower(c) || c.is_ascii_uppercase());
    if !fits || (value.is_empty() && text.contains('=')) {
        return Err(BadName::new("label", text, "write it as phi or env=prod"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print() {
        for (text, printed) in [
            ("10.0.0.5", "10.0.0.5:22"),
            ("DB.internal:2222", "db.internal:2222"),
            ("[2001:db8::1]:22", "[2001:db8::1]:22"),
            ("2001:db8::1", "[2001:db8::1]:22"),
            ("[::1]", "[::1]:22"),
        ] {
            assert_eq!(text.parse::<Address>().map(String::from), Ok(printed.to_owned()));
        }
        for text in ["", ":22", "a:0", "a:65536", "a b", "[::1]x", "[zz]:22", "a:b:c", "-oProxyCommand=x"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn trust_is_kept_without_a_comment() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu";
        let both = [format!("{key} root@db"), format!("@cert-authority {key}")];
        for text in both {
            let trust: HostTrust = text.parse().unwrap();
            assert_eq!(trust.to_string(), text.trim_end_matches(" root@db"));
            let json = serde_json::to_string(&trust).unwrap();
            assert_eq!(serde_json::from_str::<HostTrust>(&json).unwrap().to_string(), trust.to_string());
        }
        assert!("ssh-ed25519 AAAA".parse::<HostTrust>().is_err());
    }

    #[test]
    fn labels_read() {
        assert_eq!(parse_label("phi"), Ok(("phi".into(), String::new())));
        assert_eq!(parse_label("env=prod"), Ok(("env".into(), "prod".into())));
        for text in ["", "=x", "a=", "A", "a b"] {
            assert!(parse_label(text).is_err(), "{text}");
        }
    }
}
