//! Names, ids and free text: parse or refuse. Whoever holds one of these needs no further check.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A text that is not what it should be; says what it was and how to write it.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("\"{shown}\" is not a {what}: {rule}")]
pub struct BadName {
    what: &'static str,
    shown: String,
    rule: &'static str,
}

impl BadName {
    /// `what` it should have been, the `text` given (shown escaped and shortened), and the `rule` it breaks.
    pub fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        let mut shown: String = escaped(text).chars().take(64).collect();
        if shown.len() < text.len() && shown.chars().count() == 64 {
            shown.push_str("..");
        }
        Self { what, shown, rule }
    }
}

/// `text` with every control character (C0, DEL, C1, and Unicode's bidirectional controls) written as an escape, so that it cannot
/// drive a terminal, forge a line or reorder what an approver reads.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let reorders = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}');
        if c.is_control() || reorders {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, |$text:ident| $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Parses, or refuses with the rule that was broken.
            pub fn parse($text: &str) -> Result<Self, BadName> {
                let checked: Option<String> = $check;
                checked.map(Self).ok_or_else(|| BadName::new($what, $text, $rule))
            }

            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                Self::parse(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn all(text: &str, longest: usize, first: impl Fn(char) -> bool, rest: impl Fn(char) -> bool) -> Option<String> {
    let mut chars = text.chars();
    let fits = text.len() <= longest && chars.next().is_some_and(first) && chars.all(rest);
    fits.then(|| text.to_owned())
}

fn lower(c: char) -> bool {
    c.is_ascii_lowercase()
}

fn lower_or_digit(c: char) -> bool {
    lower(c) || c.is_ascii_digit()
}

name! {
    /// A human known to the bastion. Never an account on a host.
    User, "user name", "a lower-case letter, then up to 31 of a-z 0-9 . _ -",
    |text| all(text, 32, lower, |c| lower_or_digit(c) || "._-".contains(c))
}

name! {
    /// A role that users hold and policy names.
    Role, "role", "a lower-case letter, then up to 31 of a-z 0-9 . _ -",
    |text| all(text, 32, lower, |c| lower_or_digit(c) || "._-".contains(c))
}

name! {
    /// A firm whose people come in from outside.
    Vendor, "vendor", "a lower-case letter, then up to 31 of a-z 0-9 . _ -",
    |text| all(text, 32, lower, |c| lower_or_digit(c) || "._-".contains(c))
}

name! {
    /// An account on a host.
    Login, "login", "a letter, digit or _, then up to 63 of A-Z a-z 0-9 . _ -",
    |text| all(text, 64, |c| c.is_ascii_alphanumeric() || c == '_', |c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

name! {
    /// A machine behind the bastion, by its name or an alias; lower case.
    HostName, "host name", "letters, digits, . and -, at most 253, beginning with a letter or digit",
    |text| all(&text.to_ascii_lowercase(), 253, lower_or_digit, |c| lower_or_digit(c) || ".-".contains(c))
}

name! {
    /// Why somebody asks. Free text: shown escaped, kept as a commitment in the log.
    Reason, "reason", "1 to 1000 characters, not only spaces",
    |text| free(text, 1000)
}

name! {
    /// What somebody says with a decision. Free text like a reason.
    Note, "note", "1 to 1000 characters, not only spaces",
    |text| free(text, 1000)
}

name! {
    /// A ticket's id in another system.
    Ticket, "ticket", "1 to 64 of A-Z a-z 0-9 . _ / # : -",
    |text| all(text, 64, |c| c.is_ascii_alphanumeric() || "._/#:-".contains(c), |c| c.is_ascii_alphanumeric() || "._/#:-".contains(c))
}

name! {
    /// A rule's id in the policy.
    RuleId, "rule id", "a lower-case letter, then up to 63 of a-z 0-9 . _ -",
    |text| all(text, 64, lower, |c| lower_or_digit(c) || "._-".contains(c))
}

fn free(text: &str, longest: usize) -> Option<String> {
    let trimmed = text.trim();
    let fits = !trimmed.is_empty() && trimmed.chars().count() <= longest;
    fits.then(|| trimmed.to_owned())
}

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A character of Crockford's base32, read in any case, O as 0, I and L as 1.
pub(super) fn crockford(c: char) -> Option<char> {
    match c.to_ascii_lowercase() {
        'o' => Some('0'),
        'i' | 'l' => Some('1'),
        c => u8::try_from(c).ok().filter(|byte| CROCKFORD.contains(byte)).map(char::from),
    }
}

fn id_body(prefix: char, text: &str) -> Option<String> {
    let mut lowered = text.trim().to_ascii_lowercase();
    if lowered.get(..2) != Some(&format!("{prefix}-")) {
        return None;
    }
    let body = lowered.split_off(2);
    if body.chars().count() != 6 {
        return None;
    }
    let read: Option<String> = body.chars().map(crockford).collect();
    read.map(|body| format!("{prefix}-{body}"))
}

/// An id's text from 30 random bits.
fn id_from(prefix: char, random: u32) -> String {
    let body: String = (0..6).map(|i| char::from(CROCKFORD[(random >> (5 * i)) as usize & 31])).collect();
    format!("{prefix}-{body}")
}

macro_rules! id {
    ($type:ident, $prefix:literal, $what:literal, $rule:literal) => {
        name! {
            /// Six characters of Crockford's base32 after a letter; reads any case, O as 0, I and L as 1.
            $type, $what, $rule, |text| id_body($prefix, text)
        }

        impl $type {
            /// From 30 random bits. Unique only by the store's constraint: draw again when it is taken.
            pub fn from_random(random: u32) -> Self {
                Self(id_from($prefix, random))
            }
        }
    };
}

id!(RequestId, 'r', "request id", "it looks like r-7k2m9q");
id!(GrantId, 'g', "grant id", "it looks like g-7k2m9q");
id!(InviteId, 'i', "invite id", "it looks like i-7k2m9q");
id!(SessionId, 's', "session id", "it looks like s-7k2m9q");

/// One channel of a session, and its recording: `s-7k2m9q.2`. Numbers begin at 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    /// The session.
    pub session: SessionId,
    /// The channel's number in it, from 1.
    pub number: u32,
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session, self.number)
    }
}

impl FromStr for ChannelId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName::new("channel id", text, "it looks like s-7k2m9q.2");
        let (session, number) = text.split_once('.').ok_or_else(bad)?;
        let number = number.parse().map_err(|_| bad())?;
        Ok(Self { session: SessionId::parse(session)?, number })
    }
}

/// Who did something: a user whose key was proven, somebody on the bastion's own command line, or the bastion itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Actor {
    /// A user over SSH.
    User(User),
    /// A Unix account on the bastion's machine.
    Local(String),
    /// The bastion: lapses, ends, recoveries.
    System,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "{user}"),
            Self::Local(name) => write!(f, "local:{}", escaped(name)),
            Self::System => write!(f, "system:bastion"),
        }
    }
}

impl TryFrom<String> for Actor {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        match text.split_once(':') {
            None => User::parse(&text).map(Self::User),
            Some(("local", name)) => Ok(Self::Local(name.to_owned())),
            Some(("system", "bastion")) => Ok(Self::System),
            Some(_) => Err(BadName::new("actor", &text, "a user, local:NAME or system:bastion")),
        }
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_or_refused() {
        for good in ["alice", "a", "bob.smith-2_x", &"a".repeat(32)] {
            assert!(User::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Alice", "1a", ".a", "a b", "a\n", "ä", &"a".repeat(33)] {
            assert!(User::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(HostName::parse("PHI-DB").map(String::from), Ok("phi-db".into()));
        assert!(Login::parse("a+b").is_err());
        assert!(Reason::parse("  ").is_err());
    }

    #[test]
    fn ids_read_as_crockford_says() {
        assert_eq!(GrantId::parse("G-OIL7k2").map(String::from), Ok("g-0117k2".into()));
        for bad in ["g-7k2m9", "g-7k2m9qq", "r-7k2m9q", "g-7k2m9u", "g7k2m9qq", "g-é2m9q"] {
            assert!(GrantId::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(RequestId::parse("R-oIl7K2").map(String::from), Ok("r-0117k2".into()));
        assert_eq!("S-OIL7K2.2".parse::<ChannelId>().map(|c| c.to_string()), Ok("s-0117k2.2".into()));
        let letters: String = (0..32).map(|n| RequestId::from_random(n).as_str()[2..3].to_owned()).collect();
        assert_eq!(letters, "0123456789abcdefghjkmnpqrstvwxyz", "as Crockford writes them");
        let id = SessionId::from_random(0x3fff_ffff);
        assert_eq!(id.as_str(), "s-zzzzzz");
        assert_eq!("s-zzzzzz.2".parse::<ChannelId>().map(|c| c.to_string()), Ok("s-zzzzzz.2".into()));
    }

    #[test]
    fn typed_text_cannot_drive_a_terminal() {
        assert_eq!(escaped("a\u{1b}[2Jb\u{202e}c\nd"), "a\\u{1b}[2Jb\\u{202e}c\\nd");
        let error = User::parse("x\u{1b}]0;").map(|_| ()).map_err(|e| e.to_string());
        assert!(error.is_err_and(|e| e.contains("x\\u{1b}]0;")));
    }

    #[test]
    fn actors_round_trip() {
        for actor in [Actor::System, Actor::Local("root".into()), Actor::User(User("bob".into()))] {
            assert_eq!(Actor::try_from(actor.to_string()), Ok(actor));
        }
    }
}
