//! Local times: which zone they are meant in, and which moment they are there.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::names::BadName;
use super::time::Timestamp;

/// A zone of the IANA database, by its name.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// `Europe/Berlin`, `UTC`.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let named = TimeZone::get(text).ok().filter(|zone| zone.iana_name().is_some());
        named.map(Self).ok_or_else(|| BadName::new("time zone", text, "a name of the IANA database, as UTC or America/New_York"))
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// When this day begins there; where the clocks skip midnight, the first moment after it.
    pub(super) fn begin_of(&self, day: jiff::civil::Date) -> Option<Timestamp> {
        let begins = day.to_zoned(self.0.clone()).ok()?;
        Some(Timestamp::from_micros(begins.timestamp().as_microsecond()))
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({self})")
    }
}

/// A time as somebody typed it: a moment (RFC 3339, or with a zone of its own), or a date and time of day in the bastion's zone. Whole
/// seconds; what is typed beyond them is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Typed(Given);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Moment(Timestamp),
    Local(DateTime),
}

impl Typed {
    /// The moment that is meant. A local time that a change of the clocks skips or repeats is refused.
    pub fn in_zone(&self, zone: &Zone) -> Result<Timestamp, BadName> {
        match self.0 {
            Given::Moment(at) => Ok(whole_seconds(at)),
            Given::Local(local) => {
                let once = zone.0.to_ambiguous_zoned(local).unambiguous();
                let at = once.map_err(|_| {
                    BadName::new(
                        "time that happens once",
                        &format!("{local}[{zone}]"),
                        "the clocks change then: write it with its offset, as 2026-11-01T01:30:00-05:00",
                    )
                })?;
                Ok(whole_seconds(Timestamp::from_micros(at.timestamp().as_microsecond())))
            }
        }
    }
}

impl FromStr for Typed {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self(Given::Moment(at)));
        }
        // A date alone is no time of day, and an offset or a zone that was not understood must not be dropped.
        let local = text.parse::<DateTime>().ok().filter(|_| text.contains(['T', 't', ' ']) && !text.contains(['[', 'Z', 'z', '+']));
        local.map(|local| Self(Given::Local(local))).ok_or_else(|| {
            BadName::new(
                "time",
                text,
                "write it as 2026-11-21T22:07 (the bastion's zone), 2026-11-21T22:07:00Z or 2026-11-21T17:07[America/New_York]",
            )
        })
    }
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.seconds().saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, zone: &str) -> Result<String, String> {
        let typed: Typed = text.parse().map_err(|e: BadName| e.to_string())?;
        let zone = Zone::parse(zone).map_err(|e| e.to_string())?;
        typed.in_zone(&zone).map(|at| at.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn local_times_are_meant_in_the_zone_and_others_where_they_say() {
        for (text, zone, moment) in [
            ("2026-11-21T22:07", "UTC", "2026-11-21T22:07:00.000Z"),
            ("2026-11-21T22:07", "America/New_York", "2026-11-22T03:07:00.000Z"),
            ("2026-11-21T22:07:08", "Europe/Berlin", "2026-11-21T21:07:08.000Z"),
            ("2026-07-21T22:07:08.9", "Europe/Berlin", "2026-07-21T20:07:08.000Z"),
            ("2026-11-21T22:07:00Z", "Europe/Berlin", "2026-11-21T22:07:00.000Z"),
            ("2026-11-21T22:07:00.75-05:00", "Europe/Berlin", "2026-11-22T03:07:00.000Z"),
            ("2026-11-21T17:07[America/New_York]", "Europe/Berlin", "2026-11-21T22:07:00.000Z"),
        ] {
            assert_eq!(at(text, zone), Ok(moment.to_owned()), "{text} {zone}");
        }
    }

    #[test]
    fn what_is_no_time_or_happens_never_or_twice_is_refused() {
        for text in ["", "22:07", "2026-11-21", "tomorrow", "2026-13-01T00:00", "2026-11-21T22:07[Nowhere/Else]", "2026-11-21T25:00"] {
            assert!(at(text, "UTC").is_err_and(|said| said.contains("is not a time: write it as 2026-")), "{text}");
        }
        for text in ["2026-03-29T02:30", "2026-10-25T02:30"] {
            let said = at(text, "Europe/Berlin").unwrap_err();
            assert!(said.contains("[Europe/Berlin]\" is not a time that happens once: the clocks change then"), "{said}");
            assert!(at(text, "UTC").is_ok());
        }
        assert!(Zone::parse("Mars/Olympus").is_err_and(|e| e.to_string().contains("\"Mars/Olympus\" is not a time zone")));
        assert!(Zone::parse("").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = text.parse::<Typed>().map(|typed| typed.in_zone(&Zone::utc()));
        }
    }
}
