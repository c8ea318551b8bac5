//! Dates as an administrator writes them: a time, or a day.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::names::BadName;
use super::time::Timestamp;

/// Which end of a day is meant where no time stands with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// `--from 2026-12-31`: as the day begins.
    Begin,
    /// `--until 2026-12-31`: as the day ends, so that it belongs to it.
    End,
}

/// Reads a [`Timestamp`], or a day in `zone`.
pub fn read(text: &str, edge: Edge, zone: &TimeZone) -> Result<Timestamp, BadName> {
    let bad = || BadName::new("time", text, "write it as 2026-12-31, 2026-11-21T22:07:00Z or 2026-11-21T17:07[America/New_York]");
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    // jiff would take the day out of a time without a zone; which zone was meant is not ours to guess.
    if text.len() > "2026-12-31".len() {
        return Err(bad());
    }
    let day: Date = text.parse().map_err(|_| bad())?;
    let day = if edge == Edge::End { day.tomorrow().map_err(|_| bad())? } else { day };
    let begins = day.to_zoned(zone.clone()).map_err(|_| bad())?;
    Ok(Timestamp::from_micros(begins.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_where_the_next_begins() {
        let zone = TimeZone::get("America/New_York").unwrap();
        for (text, edge, zone, is) in [
            ("2026-12-31", Edge::Begin, &TimeZone::UTC, "2026-12-31T00:00:00.000Z"),
            ("2026-12-31", Edge::End, &TimeZone::UTC, "2027-01-01T00:00:00.000Z"),
            ("2026-07-01", Edge::End, &zone, "2026-07-02T04:00:00.000Z"),
            ("2026-12-31T12:00:00Z", Edge::End, &zone, "2026-12-31T12:00:00.000Z"),
            ("2026-12-31T12:00[America/New_York]", Edge::End, &TimeZone::UTC, "2026-12-31T17:00:00.000Z"),
        ] {
            assert_eq!(read(text, edge, zone).map(|time| time.to_string()).as_deref(), Ok(is), "{text}");
        }
        for bad in ["", "2026-13-01", "tomorrow", "2026-12-31T12:00", "2026-12-31 12:00", "31.12.2026", "9999-12-31"] {
            assert!(read(bad, Edge::End, &TimeZone::UTC).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = read(&text, Edge::End, &TimeZone::UTC);
        }
    }
}
