//! Bounds against too much of anything: each with a name, a default and a range, in one table.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::access::size::Size;
use crate::access::time::Span;

/// One row of the table, for people: the key in `[limits]`, its default and range, and what it bounds.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The key.
    pub key: &'static str,
    /// What it bounds, half a sentence.
    pub about: &'static str,
    least: u64,
    most: u64,
    unless_said: u64,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Count,
    Time,
    Bytes,
}

impl Limit {
    /// `from 1 to 1000`, as errors and pages say it.
    pub fn range(&self) -> String {
        format!("from {} to {}", self.shown(self.least), self.shown(self.most))
    }

    /// The value when the key is left out, as it would be written.
    pub fn default_text(&self) -> String {
        self.shown(self.unless_said)
    }

    fn shown(&self, value: u64) -> String {
        match self.unit {
            Unit::Count => value.to_string(),
            Unit::Time => Span::seconds(value).to_string(),
            Unit::Bytes => Size::bytes(value).to_string(),
        }
    }

    fn check(&self, value: u64) -> Result<u64, String> {
        if (self.least..=self.most).contains(&value) {
            return Ok(value);
        }
        Err(format!("`{}` is {} and must be {}\nhint: left out it is {}", self.key, self.shown(value), self.range(), self.default_text()))
    }
}

/// A number of things, as the table holds it.
fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

macro_rules! limits {
    ($($field:ident, $key:literal: $type:ty, $unit:ident, $from:path, $unless:literal, $least:literal..=$most:literal, $about:literal;)*) => {
        /// The bounds of one installation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $about] pub $field: $type,)*
        }

        /// All bounds that can be set.
        pub const LIMITS: &[Limit] = &[
            $(Limit { key: $key, about: $about, least: $least, most: $most, unless_said: $unless, unit: Unit::$unit },)*
        ];

        const KEYS: &[&str] = &[$($key),*];

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $from($unless),)* }
            }
        }

        impl Limits {
            fn set(&mut self, key: &str, value: u64) {
                match key {
                    $($key => self.$field = $from(value),)*
                    _ => {}
                }
            }
        }
    };
}

limits! {
    login_grace, "login-grace": Span, Time, Span::seconds, 120, 5..=600, "Time that a connection may take to prove a key.";
    connections, "connections": usize, Count, count, 1000, 1..=100_000, "Open connections to the front door.";
    connections_per_address, "connections-per-address": usize, Count, count, 100, 1..=100_000, "Open connections from one address.";
    sessions_per_user, "sessions-per-user": usize, Count, count, 50, 1..=10_000, "Live sessions of one user.";
    requests_per_user, "requests-per-user": usize, Count, count, 20, 1..=1000, "Requests of one user that wait for an answer.";
    grants_per_user, "grants-per-user": usize, Count, count, 50, 1..=10_000, "Grants of one user that have not ended.";
    waits_per_user, "waits-per-user": usize, Count, count, 10, 1..=1000, "Requests that one user waits for with --wait.";
    acts_per_minute, "acts-per-minute": usize, Count, count, 1000, 10..=100_000, "Acts of one user in a minute; closing, revoking and killing are not counted.";
    store_grace, "store-grace": Span, Time, Span::seconds, 120, 1..=600, "Time that live sessions go on while the store does not answer.";
    disk_patience, "disk-patience": Span, Time, Span::seconds, 10, 1..=120, "Time that a live session waits for the disk that it is recorded on.";
    terminal_rate, "terminal-rate": Size, Bytes, Size::bytes, 8_388_608, 65_536..=1_073_741_824, "Bytes a second that a terminal may show, sustained.";
    recorded_per_session, "recorded-per-session": Size, Bytes, Size::bytes, 68_719_476_736, 65_536..=1_125_899_906_842_624, "Recorded bytes of one session.";
    recorded_per_user, "recorded-per-user": Size, Bytes, Size::bytes, 274_877_906_944, 65_536..=1_125_899_906_842_624, "Recorded bytes of one user's sessions within 24 hours.";
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;

        impl<'de> Visitor<'de> for Table {
            type Value = Limits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of limits")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Limits, A::Error> {
                let mut limits = Limits::default();
                while let Some(limit) = map.next_key_seed(Key)? {
                    let value = map.next_value_seed(Within(limit))?;
                    limits.set(limit.key, value);
                }
                Ok(limits)
            }
        }

        deserializer.deserialize_map(Table)
    }
}

/// Reads a key while the reader still knows where it stands.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = &'static Limit;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = String::deserialize(deserializer)?;
        LIMITS.iter().find(|limit| limit.key == key).ok_or_else(|| Error::unknown_field(&key, KEYS))
    }
}

/// Reads the value of a limit and holds it to its range.
struct Within(&'static Limit);

impl<'de> DeserializeSeed<'de> for Within {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Within {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.unit {
            Unit::Count => f.write_str("a number"),
            Unit::Time => f.write_str("a duration as \"30s\" or \"2m\""),
            Unit::Bytes => f.write_str("a number of bytes as \"8MiB\" or \"64GiB\""),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        if self.0.unit != Unit::Count {
            return Err(E::invalid_type(serde::de::Unexpected::Signed(value), &self));
        }
        self.0.check(u64::try_from(value).unwrap_or(0)).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        if self.0.unit == Unit::Count {
            return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
        }
        let value = match self.0.unit {
            Unit::Bytes => text.parse::<Size>().map_err(E::custom)?.as_bytes(),
            _ => text.parse::<Span>().map_err(E::custom)?.as_seconds(),
        };
        self.0.check(value).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_lie_in_their_ranges() {
        for limit in LIMITS {
            assert!(limit.check(limit.unless_said).is_ok(), "{}", limit.key);
            assert!(limit.check(limit.most + 1).is_err(), "{}", limit.key);
            assert!(limit.about.ends_with('.'), "{}", limit.key);
        }
    }
}
