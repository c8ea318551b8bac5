//! Users as a file under version control has them: one `[[user]]` table each.
//!
//! ```toml
//! [[user]]
//! name = "vera"
//! vendor = "acme"                               # left out: staff
//! until = "2026-12-31"                          # the contract's last day, or a time; left out: without an end
//! roles = ["field", { role = "dba", from = "2026-12-01", until = "2026-12-24T18:00" }]
//! keys = [{ name = "laptop", key = "ssh-ed25519 AAAA.." }]   # left out: the keys that there are stay
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use ssh_key::{HashAlg, PublicKey};
use toml::Spanned;

use super::{Account, Held};
use crate::access::date::{self, Edge};
use crate::access::host::weakness;
use crate::access::names::{BadName, User};
use crate::access::sheet::{Sheet, SheetError};
use crate::access::time::Timestamp;
use crate::access::zone::Zone;

/// A user as such a file describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Who, in which roles, until when.
    pub account: Account,
    /// Their keys and what each is called, if the file says; none: they stay as they are.
    pub keys: Option<Vec<(PublicKey, String)>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    user: Vec<Spanned<RawUser>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUser {
    name: Spanned<String>,
    vendor: Option<Spanned<String>>,
    until: Option<Spanned<RawTime>>,
    #[serde(default)]
    roles: Vec<Spanned<RawRole>>,
    keys: Option<Vec<Spanned<RawKey>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    #[serde(default)]
    name: String,
    key: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDated {
    role: String,
    from: Option<RawTime>,
    until: Option<RawTime>,
}

/// A role's name, or a table with its dates.
struct RawRole(RawDated);

impl<'de> Deserialize<'de> for RawRole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = RawRole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a role, or { role = \"..\", from = \"..\", until = \"..\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawRole, E> {
                Ok(RawRole(RawDated { role: text.to_owned(), from: None, until: None }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawRole, A::Error> {
                RawDated::deserialize(MapAccessDeserializer::new(map)).map(RawRole)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A time, with or without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawTime {
    Quoted(String),
    Bare(toml::value::Datetime),
}

impl RawTime {
    fn read(&self, edge: Edge, zone: &Zone) -> Result<Timestamp, BadName> {
        match self {
            Self::Quoted(text) => date::read(text, edge, zone),
            Self::Bare(time) => date::read(&time.to_string(), edge, zone),
        }
    }
}

/// Reads such a file; `file` is its name in errors, and days are meant in `zone`. The first thing wrong is told with its place. No user
/// is an error too: an empty file with `--prune` would disable everybody.
pub fn parse(text: &str, file: &str, zone: &Zone) -> Result<Vec<Described>, SheetError> {
    let sheet = Sheet::new(file, text);
    let raw: RawFile = sheet.read()?;
    if raw.user.is_empty() {
        return Err(sheet.wrong(0..0, "no user stands here").hint("each user is a table [[user]]"));
    }
    let mut users: Vec<Described> = Vec::new();
    let mut owners: BTreeMap<String, User> = BTreeMap::new();
    for raw in raw.user {
        let raw = raw.into_inner();
        let user: User = sheet.value(&raw.name)?;
        if users.iter().any(|known| known.account.user == user) {
            return Err(sheet.wrong(raw.name.span(), format!("the user {user} stands there twice")));
        }
        let keys = raw.keys.as_ref().map(|keys| read_keys(&sheet, &user, keys, &mut owners)).transpose()?;
        let until = raw.until.as_ref().map(|until| time(&sheet, until, zone)).transpose()?;
        let vendor = raw.vendor.as_ref().map(|vendor| sheet.value(vendor)).transpose()?;
        let roles = read_roles(&sheet, &raw.roles, zone)?;
        users.push(Described { account: Account { user, vendor, until, roles }, keys });
    }
    Ok(users)
}

fn time(sheet: &Sheet<'_>, raw: &Spanned<RawTime>, zone: &Zone) -> Result<Timestamp, SheetError> {
    raw.get_ref().read(Edge::End, zone).map_err(|bad| sheet.wrong(raw.span(), bad.to_string()))
}

fn read_roles(sheet: &Sheet<'_>, raws: &[Spanned<RawRole>], zone: &Zone) -> Result<Vec<Held>, SheetError> {
    let mut roles: Vec<Held> = Vec::new();
    for raw in raws {
        let wrong = |why: String| sheet.wrong(raw.span(), why);
        let RawRole(dated) = raw.get_ref();
        let at = |time: &Option<RawTime>, edge| time.as_ref().map(|time| time.read(edge, zone)).transpose();
        let read = || Ok(Held { role: dated.role.parse()?, from: at(&dated.from, Edge::Begin)?, until: at(&dated.until, Edge::End)? });
        let held: Held = read().map_err(|bad: BadName| wrong(bad.to_string()))?;
        if let (Some(from), Some(until)) = (held.from, held.until)
            && until <= from
        {
            return Err(wrong(format!("the role {} would end at {until}, before it begins at {from}", held.role)));
        }
        if roles.iter().any(|known| known.role == held.role) {
            return Err(wrong(format!("the role {} stands there twice", held.role)));
        }
        roles.push(held);
    }
    roles.sort();
    Ok(roles)
}

fn read_keys(
    sheet: &Sheet<'_>,
    user: &User,
    raws: &[Spanned<RawKey>],
    owners: &mut BTreeMap<String, User>,
) -> Result<Vec<(PublicKey, String)>, SheetError> {
    let (mut keys, mut names) = (Vec::new(), BTreeSet::new());
    for raw in raws {
        let RawKey { name, key } = raw.get_ref();
        let bad = |text: &str| BadName::new("public key", text, "write it as `ssh-ed25519 AAAA..`");
        let read = sheet.value_by(key, |text| PublicKey::from_openssh(text.trim()).map_err(|_| bad(text)))?;
        if let Some(why) = weakness(&read) {
            return Err(sheet.wrong(key.span(), format!("{why} proves too little")));
        }
        let name = name.trim();
        if !name.is_empty() && !names.insert(name) {
            return Err(sheet.wrong(raw.span(), "two keys have this name").hint("give each a name of its own"));
        }
        if let Some(owner) = owners.insert(read.fingerprint(HashAlg::Sha256).to_string(), user.clone()) {
            return Err(sheet.wrong(key.span(), format!("this key stands with {owner} already")).hint("a key belongs to one user"));
        }
        keys.push((read, name.to_owned()));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu";

    fn read(text: &str) -> Result<Vec<Described>, SheetError> {
        parse(text, "users.toml", &Zone::parse("Europe/Berlin").unwrap())
    }

    #[test]
    fn users_are_read_with_their_dates() {
        let text = format!(
            r#"
[[user]]
name = "vera"
vendor = "acme"
until = 2026-12-31
roles = ["field", {{ role = "dba", from = "2026-12-01", until = "2026-12-24T18:00" }}]
keys = [{{ name = "laptop", key = "{KEY} vera@acme" }}]

[[user]]
name = "alice"

[[user]]
name = "bob"

[[user.keys]]
key = "{}"
"#,
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHafOtvWXwCmjWz3+xoBmssk3F+7mKOB21LWsVs9yQjO"
        );
        let users = read(&text).unwrap();
        let vera = &users[0].account;
        assert_eq!(vera.until.map(|at| at.to_string()).as_deref(), Some("2026-12-31T23:00:00.000Z"));
        let roles: Vec<String> = vera.roles.iter().map(ToString::to_string).collect();
        assert_eq!(roles, ["dba from 2026-11-30T23:00:00.000Z until 2026-12-24T17:00:00.000Z", "field"]);
        assert_eq!(users[0].keys.as_ref().map(|keys| keys[0].1.as_str()), Some("laptop"));
        assert_eq!((&users[1].keys, users[2].keys.as_ref().map(Vec::len)), (&None, Some(1)));
    }

    #[test]
    fn everything_else_is_refused_with_its_place() {
        let user = "[[user]]\nname = \"vera\"\n";
        for (text, place, words) in [
            (String::new(), "1:1", "no user stands here"),
            ("[[users]]\n".into(), "1:3", "unknown"),
            (format!("{user}role = [\"dba\"]\n"), "3:1", "unknown"),
            (format!("{user}roles = [\"DBA\"]\n"), "3:10", "not a role"),
            (format!("{user}roles = [\"dba\", \"dba\"]\n"), "3:17", "twice"),
            (format!("{user}roles = [{{ role = \"dba\", til = \"2026-12-31\" }}]\n"), "3:", "unknown"),
            (format!("{user}roles = [{{ role = \"dba\", from = \"2026-12-31\", until = \"2026-12-01\" }}]\n"), "3:10", "before it begins"),
            (format!("{user}until = \"tomorrow\"\n"), "3:9", "not a time"),
            (format!("{user}keys = [{{ key = \"ssh-ed25519 AAAA\" }}]\n"), "3:17", "not a public key"),
            (
                format!("{user}keys = [{{ key = \"{KEY}\" }}]\n[[user]]\nname = \"bob\"\nkeys = [{{ key = \"{KEY}\" }}]\n"),
                "6:17",
                "with vera",
            ),
            (format!("{user}{user}"), "4:8", "twice"),
            ("[[user]]\nname = \"Vera\"\n".into(), "2:8", "not a user name"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("users.toml:{place}")) && error.contains(words) && error.contains('^'), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,200}") {
            let _ = read(&format!("[[user]]\nname = \"a\"\n{text}"));
        }
    }
}
