//! What a rule's lists are made of: who, hosts, logins, channel kinds. Values inside one list are OR.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::access::channels::{Channels, Kind};
use crate::access::host::{Host, parse_label};
use crate::access::names::{BadName, Role, User, Vendor};
use crate::access::opening::Opening;
use crate::access::person::Person;

/// Whom a rule speaks of: `role:dba`, `user:alice`, `vendor:acme`, `vendor:*` (anybody from outside) or `*` (everybody).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Who {
    /// `*`.
    Everybody,
    /// Holders of a role.
    Role(Role),
    /// One human.
    User(User),
    /// The people of one firm.
    Vendor(Vendor),
    /// `vendor:*`.
    AnyVendor,
}

impl Who {
    /// Does this speak of `person`?
    pub fn matches(&self, person: &Person) -> bool {
        match self {
            Self::Everybody => true,
            Self::Role(role) => person.roles.contains(role),
            Self::User(user) => person.user == *user,
            Self::Vendor(vendor) => person.vendor.as_ref() == Some(vendor),
            Self::AnyVendor => person.vendor.is_some(),
        }
    }
}

impl Who {
    /// What people of a vendor read of it: roles, and of a person no name.
    pub fn for_vendors(&self) -> String {
        if matches!(self, Self::User(_)) { NAMELESS.into() } else { self.to_string() }
    }
}

/// A person to those who are not to know the name.
pub const NAMELESS: &str = "somebody whom the rule names";

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("*"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Vendor(vendor) => write!(f, "vendor:{vendor}"),
            Self::AnyVendor => f.write_str("vendor:*"),
        }
    }
}

impl FromStr for Who {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match (text, text.split_once(':')) {
            ("*", _) => Ok(Self::Everybody),
            ("vendor:*", _) => Ok(Self::AnyVendor),
            (_, Some(("role", role))) => Role::parse(role).map(Self::Role),
            (_, Some(("user", user))) => User::parse(user).map(Self::User),
            (_, Some(("vendor", vendor))) => Vendor::parse(vendor).map(Self::Vendor),
            _ => Err(BadName::new("selector of people", text, "write role:NAME, user:NAME, vendor:NAME, vendor:* or *")),
        }
    }
}

impl TryFrom<String> for Who {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Who> for String {
    fn from(who: Who) -> Self {
        who.to_string()
    }
}

/// A pattern in which `*` stands for any run of characters and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(String);

impl Glob {
    /// Reads a pattern of letters, digits and `. _ - * ?`; refuses anything else, so that `[ab]` or `{a,b}` is never taken for what it is not.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let fits = !text.is_empty() && text.len() <= 253 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-*?".contains(c));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName::new("name or pattern", text, "letters, digits, . _ - and the wildcards * and ?"))
        }
    }

    /// Does every text fit?
    pub(super) fn is_all(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Does the whole of `text` fit? Time is at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while let Some(have) = text.get(t) {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(want) if *want == b'?' || want == have => (p, t) = (p + 1, t + 1),
                _ => match star {
                    Some((at, from)) => {
                        star = Some((at, from + 1));
                        (p, t) = (at + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern.get(p..).is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which hosts a rule speaks of: a name or a pattern (an alias counts as a name), `label:KEY`, or `label:KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// By name or alias.
    Name(Glob),
    /// By a label, with any value or this one.
    Label(String, Option<String>),
}

impl HostPattern {
    /// Does this speak of `host`?
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Name(glob) => host.names().any(|name| glob.matches(name.as_str())),
            Self::Label(key, None) => host.labels.contains_key(key),
            Self::Label(key, value) => host.labels.get(key) == value.as_ref(),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(glob) => write!(f, "{glob}"),
            Self::Label(key, None) => write!(f, "label:{key}"),
            Self::Label(key, Some(value)) => write!(f, "label:{key}={value}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match text.strip_prefix("label:") {
            Some(label) => {
                let (key, value) = parse_label(label)?;
                Ok(Self::Label(key, label.contains('=').then_some(value)))
            }
            None => Glob::parse(&text.to_ascii_lowercase()).map(Self::Name),
        }
    }
}

/// Which channel kinds a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kinds {
    /// `*`: every kind.
    All,
    /// These.
    Some(BTreeSet<Kind>),
}

impl Kinds {
    /// Does an allow of these give `kind`?
    pub fn covers(&self, kind: &Kind) -> bool {
        match self {
            Self::All => true,
            Self::Some(kinds) => kinds.iter().any(|mine| mine.covers(kind)),
        }
    }

    /// Does a deny or a floor over these speak of `kind` on `host`, or of a part of it? `forward:22` speaks of `forward:*` too, and of that
    /// port under every name of the host.
    pub fn touches(&self, host: &Host, kind: &Kind) -> bool {
        let Self::Some(kinds) = self else { return true };
        let kind = Opening::of(host, kind);
        kinds.iter().map(|mine| Opening::of(host, mine)).any(|mine| mine.kind().covers(kind.kind()) || kind.kind().covers(mine.kind()))
    }

    /// As a set of kinds.
    pub fn channels(&self) -> Channels {
        match self {
            Self::All => Channels::all(),
            Self::Some(kinds) => kinds.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("*", "anything", true),
            ("phi-*", "phi-db", true),
            ("phi-*", "phi", false),
            ("*-db", "phi-db", true),
            ("*-db", "phi-db2", false),
            ("p?i-db", "phi-db", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("", "", false),
        ] {
            assert_eq!(Glob::parse(pattern).is_ok_and(|g| g.matches(text)), fits, "{pattern} {text}");
        }
        for bad in ["[ab]", "{a,b}", "a b", "!a", ""] {
            assert!(Glob::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hostile_glob_is_not_slow() {
        let glob = Glob::parse(&"*a".repeat(100)).unwrap();
        assert!(!glob.matches(&"a".repeat(99)));
        assert!(!glob.matches(&format!("{}b", "a".repeat(200))));
    }

    #[test]
    fn selectors_round_trip() {
        for text in ["*", "role:dba", "user:alice", "vendor:acme", "vendor:*"] {
            assert_eq!(text.parse::<Who>().map(String::from), Ok(text.to_owned()));
        }
        for text in ["dba", "role:", "role:*", "user:*", "group:x", "role:A"] {
            assert!(text.parse::<Who>().is_err(), "{text}");
        }
    }
}
