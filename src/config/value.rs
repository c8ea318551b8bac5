//! Values that are more than a text: each parses, or says what it should look like. The TOML reader adds the place.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::access::names::{BadName, HostName};
use crate::access::zone::Zone;

/// A list of texts, or one text alone; never empty.
#[derive(Debug)]
pub struct OneOrMany<T>(pub Vec<T>);

/// A value that is read from a text of its own.
pub trait FromText: Sized {
    /// Parses, or refuses with a sentence.
    fn from_text(text: &str) -> Result<Self, BadName>;
}

impl FromText for SocketAddr {
    fn from_text(text: &str) -> Result<Self, BadName> {
        text.parse().map_err(|_| BadName::new("listen address", text, "an IP address and a port, as 127.0.0.1:2222 or [::]:22"))
    }
}

impl FromText for HostName {
    fn from_text(text: &str) -> Result<Self, BadName> {
        Self::parse(text)
    }
}

struct Read<T>(T);

impl<'de, T: FromText> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::from_text(&text).map(Read).map_err(Error::custom)
    }
}

impl<'de, T: FromText> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts<T>(PhantomData<T>);

        impl<'de, T: FromText> Visitor<'de> for Texts<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                T::from_text(text).map(|value| OneOrMany(vec![value])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(Read(value)) = list.next_element()? {
                    values.push(value);
                }
                if values.is_empty() {
                    return Err(Error::custom("an empty list: at least one is needed\nhint: leave the key out for its default"));
                }
                Ok(OneOrMany(values))
            }
        }

        deserializer.deserialize_any(Texts(PhantomData))
    }
}

/// An address, or a network, that a host sees the bastion come from; a value of OpenSSH's `source-address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Source {
    address: IpAddr,
    /// Bits of the network; `None` is this address alone.
    prefix: Option<u8>,
}

impl FromText for Source {
    fn from_text(text: &str) -> Result<Self, BadName> {
        let bad =
            || BadName::new("source address", text, "an address or a network without bits after its prefix, as 192.0.2.7 or 2001:db8::/64");
        let (address, prefix) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(u8::from_str(bits).map_err(|_| bad())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        // sshd refuses a whole certificate for a network that has bits after its prefix.
        let beyond = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        if prefix.is_some_and(|bits| bits > most || beyond.checked_shl(u32::from(bits)).unwrap_or(0) != 0) {
            return Err(bad());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            Some(bits) => write!(f, "{}/{bits}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

macro_rules! text_value {
    ($type:ident, |$text:ident| $read:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let $text = String::deserialize(deserializer)?;
                let read: Result<_, String> = $read;
                read.map($type).map_err(Error::custom)
            }
        }
    };
}

/// A pattern list of known_hosts: names with `*` and `?`, separated by commas.
#[derive(Debug)]
pub struct Pattern(pub String);

text_value!(Pattern, |text| {
    let fits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:*?[]!".contains(c));
    let all = text.len() <= 1024 && text.split(',').all(fits);
    let bad = || BadName::new("known-hosts pattern", &text, "names with * and ?, separated by commas, as jit-bastion,phi-*").to_string();
    if all { Ok(text) } else { Err(bad()) }
});

/// A time zone by its name in the IANA database.
#[derive(Debug)]
pub struct ZoneName(pub Zone);

text_value!(ZoneName, |text| Zone::parse(&text).map_err(|e| e.to_string()));

/// The name of a systemd credential.
#[derive(Debug)]
pub struct CredentialName(pub String);

text_value!(CredentialName, |text| {
    let fits =
        !text.is_empty() && text.len() <= 255 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && text != "..";
    let bad = || BadName::new("credential name", &text, "the ID in systemd's LoadCredential=ID:PATH, of A-Z a-z 0-9 . _ -").to_string();
    if fits { Ok(text) } else { Err(bad()) }
});

/// A folder: a path, or `file://` and an absolute one.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

text_value!(Folder, |text| match text.split_once("://") {
    None if text.is_empty() => Err("an empty path\nhint: leave the key out for its default".to_owned()),
    None => Ok(PathBuf::from(&text)),
    Some(("file", path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
    Some(("file", _)) => Err(format!("{text:?} has no absolute path\nhint: write it as file:///srv/recordings, or as a plain path")),
    Some(_) =>
        Err(format!("{text:?} is a place that is not built in this version\nhint: write the path of a folder, or file:///srv/recordings")),
});
/// A program with its arguments: a list of texts, the first an absolute path. No shell reads it.
#[derive(Debug)]
pub struct Program(pub Vec<String>);

impl<'de> Deserialize<'de> for Program {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        match words.first() {
            Some(program) if program.starts_with('/') => Ok(Self(words)),
            _ => Err(Error::custom(
                "a program is a list: its absolute path, then its arguments, as [\"/usr/bin/logger\", \"-t\", \"jit-bastion\"]",
            )),
        }
    }
}
