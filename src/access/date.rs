//! Dates as an administrator writes them: a time, or a day.

use jiff::civil::Date;

use super::names::BadName;
use super::time::Timestamp;
use super::zone::{Typed, Zone};

/// Which end of a day is meant where no time stands with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// `--from 2026-12-31`: as the day begins.
    Begin,
    /// `--until 2026-12-31`: as the day ends, so that it belongs to it.
    End,
}

/// Reads a time as [`Typed`] does, or a day in `zone`.
pub fn read(text: &str, edge: Edge, zone: &Zone) -> Result<Timestamp, BadName> {
    if let Ok(typed) = text.parse::<Typed>() {
        return typed.in_zone(zone);
    }
    let bad = || BadName::new("time", text, "write it as 2026-12-31, 2026-12-31T17:00 or 2026-12-31T22:07:00Z");
    // jiff would take the day out of a longer text.
    let day: Date = text.parse().ok().filter(|_| text.len() == "2026-12-31".len()).ok_or_else(bad)?;
    let day = if edge == Edge::End { day.tomorrow().map_err(|_| bad())? } else { day };
    zone.begin_of(day).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_where_the_next_begins() {
        let (utc, york) = (Zone::utc(), Zone::parse("America/New_York").unwrap());
        for (text, edge, zone, is) in [
            ("2026-12-31", Edge::Begin, &utc, "2026-12-31T00:00:00.000Z"),
            ("2026-12-31", Edge::End, &utc, "2027-01-01T00:00:00.000Z"),
            ("2026-07-01", Edge::End, &york, "2026-07-02T04:00:00.000Z"),
            ("2026-12-31T12:00", Edge::End, &york, "2026-12-31T17:00:00.000Z"),
            ("2026-12-31T12:00:00Z", Edge::End, &york, "2026-12-31T12:00:00.000Z"),
            ("2026-12-31T12:00[America/New_York]", Edge::End, &utc, "2026-12-31T17:00:00.000Z"),
        ] {
            assert_eq!(read(text, edge, zone).map(|time| time.to_string()).as_deref(), Ok(is), "{text}");
        }
        for bad in ["", "2026-13-01", "tomorrow", "31.12.2026", "20261231", "9999-12-31"] {
            assert!(read(bad, Edge::End, &utc).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = read(&text, Edge::End, &Zone::utc());
        }
    }
}
