//! How much is kept of what no screen shows: the policy key `keep`.

use std::fmt;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::access::size::Size;

/// The value of `keep`. Without it a command is kept whole, and of a forward its destination, bytes and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// `"bytes"`: the content of forwards too.
    Bytes,
    /// `{ bytes, beyond }`: of a command so much.
    Upto(Size, Beyond),
}

/// What becomes of a command beyond what is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Beyond {
    /// Its session ends.
    End,
    /// It goes on, and only its length and its SHA-256 are kept.
    Hash,
}

/// How statements to a database are told that cross a forward in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Statements {
    /// Without their values.
    #[default]
    Masked,
    /// As they were.
    Whole,
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upto {
    bytes: Size,
    beyond: Beyond,
}

impl Keep {
    /// What is kept of a command, and what becomes of it then; none: all of it.
    pub fn of_commands(self) -> Option<(Size, Beyond)> {
        match self {
            Self::Upto(bytes, beyond) => Some((bytes, beyond)),
            Self::Bytes => None,
        }
    }
}

/// `of a command 64MiB are kept, then the session ends`.
impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes => f.write_str("the content of forwards is kept"),
            Self::Upto(bytes, Beyond::End) => write!(f, "of a command {bytes} are kept, then the session ends"),
            Self::Upto(bytes, Beyond::Hash) => write!(f, "of a command {bytes} are kept, then only its length and SHA-256"),
        }
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes => serializer.serialize_str(BYTES),
            Self::Upto(bytes, beyond) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("bytes", bytes)?;
                map.serialize_entry("beyond", beyond)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Keep;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"bytes\" or { bytes = \"64MiB\", beyond = \"end\" or \"hash\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Keep, E> {
        if text == BYTES { Ok(Keep::Bytes) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Keep, M::Error> {
        let Upto { bytes, beyond } = Upto::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Keep::Upto(bytes, beyond))
    }
}

const BYTES: &str = "bytes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_kept() {
        for (text, keep) in [
            ("\"bytes\"", Keep::Bytes),
            ("{\"bytes\":\"64MiB\",\"beyond\":\"end\"}", Keep::Upto(Size::bytes(64 << 20), Beyond::End)),
            ("{\"bytes\":\"1B\",\"beyond\":\"hash\"}", Keep::Upto(Size::bytes(1), Beyond::Hash)),
        ] {
            assert_eq!(serde_json::from_str::<Keep>(text).unwrap(), keep);
            assert_eq!(serde_json::to_string(&keep).unwrap(), text);
        }
        for bad in ["\"all\"", "{\"bytes\":\"0B\",\"beyond\":\"end\"}", "{\"bytes\":\"1B\"}", "{\"beyond\":\"end\"}", "3"] {
            assert!(serde_json::from_str::<Keep>(bad).is_err(), "{bad}");
        }
    }
}
