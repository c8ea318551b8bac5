//! Numbers of bytes as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::BadName;

/// So many bytes. Written `2GiB`, `64MiB`, `1500B`: the largest unit in which it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// So many bytes.
    pub const fn bytes(n: u64) -> Self {
        Self(n)
    }

    /// How many.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(factor, _): &&(u64, &str)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let (factor, unit) = UNITS.iter().find(fits).unwrap_or(&(1, "B"));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl FromStr for Size {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName::new("number of bytes", text, "write it as 512KiB, 64MiB, 2GiB or 1500B, at least 1B");
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let (factor, _) = UNITS.iter().find(|(_, name)| *name == unit).ok_or_else(bad)?;
        let n = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor)).filter(|n| (1..=MOST).contains(n));
        n.map(Self).ok_or_else(bad)
    }
}

/// From the largest.
const UNITS: [(u64, &str); 5] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];

/// A thousand TiB: more than that is no limit, and a database's number holds it.
const MOST: u64 = 1000 << 40;

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes) in [("1500B", 1500), ("64KiB", 65_536), ("2GiB", 2 << 30), ("1TiB", 1 << 40)] {
            assert_eq!(text.parse::<Size>(), Ok(Size::bytes(bytes)), "{text}");
            assert_eq!(Size::bytes(bytes).to_string(), text);
        }
        for text in ["", "0B", "5", "GiB", "1.5GiB", "2 GiB", "2gib", "2GB", "-1B", "18446744073709551615TiB", "1001TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(n in 1..=MOST) {
            prop_assert_eq!(Size::bytes(n).to_string().parse::<Size>(), Ok(Size::bytes(n)));
        }
    }
}
