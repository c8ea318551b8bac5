//! Points in time, lengths of time, and the clock that is handed to everyone.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::BadName;

/// A point in wall time: microseconds since 1970-01-01T00:00:00Z. Shown as RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This time plus `span`, never past the end of what can be told.
    #[must_use]
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.micros()))
    }

    /// This time minus `span`.
    #[must_use]
    pub fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.micros()))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Span {
        Span(Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)))
    }

    fn civil(self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_microsecond(self.0).ok()
    }

    /// `2026/11/21`, the UTC date, as folders of recordings are named.
    pub fn date_path(self) -> String {
        self.civil().map_or_else(|| "0000/00/00".into(), |t| t.strftime("%Y/%m/%d").to_string())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.civil() {
            Some(t) => write!(f, "{}", t.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let zoned = || text.parse::<jiff::Zoned>().map(|z| z.timestamp());
        let time = text
            .parse::<jiff::Timestamp>()
            .or_else(|_| zoned())
            .map_err(|_| BadName::new("time", text, "write it as 2026-11-21T22:07:00Z or 2026-11-21T17:07[America/New_York]"))?;
        Ok(Self(time.as_microsecond()))
    }
}

/// A length of time, at least a second where a human wrote it: `45s`, `90m`, `1h30m`, `4h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

impl Span {
    /// From seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// From minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self(Duration::from_secs(minutes * 60))
    }

    /// From a standard duration.
    pub const fn from_duration(duration: Duration) -> Self {
        Self(duration)
    }

    /// As a standard duration.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Whole microseconds.
    pub fn micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }

    /// Whole seconds.
    pub const fn as_seconds(self) -> u64 {
        self.0.as_secs()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.as_secs();
        let (hours, minutes, seconds) = (total / 3600, total % 3600 / 60, total % 60);
        let mut any = false;
        for (n, unit) in [(hours, "h"), (minutes, "m"), (seconds, "s")] {
            if n > 0 || (unit == "s" && !any) {
                write!(f, "{n}{unit}")?;
                any = true;
            }
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName::new("duration", text, "write it as 45s, 90m, 1h30m or 4h, at least 1s");
        let mut total: u64 = 0;
        let mut digits = String::new();
        let mut last = u64::MAX;
        for c in text.chars() {
            if c.is_ascii_digit() && digits.len() < 9 {
                digits.push(c);
                continue;
            }
            let unit = match c {
                'd' => 86_400,
                'h' => 3_600,
                'm' => 60,
                's' => 1,
                _ => return Err(bad()),
            };
            if unit >= last {
                return Err(bad());
            }
            last = unit;
            let n: u64 = digits.parse().map_err(|_| bad())?;
            total = total.saturating_add(n.saturating_mul(unit));
            digits.clear();
        }
        if !digits.is_empty() || total == 0 {
            return Err(bad());
        }
        Ok(Self(Duration::from_secs(total)))
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where time comes from. Two hands: wall time, and time since boot that counts suspends and that nobody can set.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall time now.
    fn now(&self) -> Timestamp;
    /// CLOCK_BOOTTIME now.
    fn since_boot(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp(t.tv_sec.saturating_mul(1_000_000).saturating_add(t.tv_nsec / 1_000))
    }

    fn since_boot(&self) -> Duration {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
    }
}

/// A clock that a test moves.
#[derive(Debug)]
pub struct MovedClock(Mutex<(Timestamp, Duration)>);

impl MovedClock {
    /// Starts at `now`, one hour after boot.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new((now, Duration::from_secs(3600))))
    }

    /// Both hands go on.
    pub fn advance(&self, span: Span) {
        let mut hands = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        hands.0 = hands.0.plus(span);
        hands.1 += span.duration();
    }

    /// Only the wall is set, as an administrator or an attacker would.
    pub fn set_wall(&self, now: Timestamp) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 = now;
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0
    }

    fn since_boot(&self) -> Duration {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, seconds) in [("45s", 45), ("90m", 5400), ("1h30m", 5400), ("4h", 14400), ("2d", 172_800)] {
            assert_eq!(text.parse::<Span>().map(Span::as_seconds).ok(), Some(seconds), "{text}");
        }
        for text in ["", "0s", "4", "h", "1m1h", "1s1s", "-1h", "1.5h", "9999999999h", "4 h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!(Span::seconds(5400).to_string(), "1h30m");
        assert_eq!(Span::seconds(0).to_string(), "0s");
    }

    #[test]
    fn times_print_in_utc_with_milliseconds() {
        let t = Timestamp::from_micros(1_795_298_820_000_999);
        assert_eq!(t.to_string(), "2026-11-21T22:07:00.000Z");
        assert_eq!("2026-11-21T22:07:00Z".parse::<Timestamp>().ok(), Some(Timestamp::from_micros(1_795_298_820_000_000)));
        assert_eq!("2026-11-21T17:07[America/New_York]".parse::<Timestamp>().ok(), "2026-11-21T22:07:00Z".parse().ok());
        assert!("2026-11-21 17:07".parse::<Timestamp>().is_err());
        assert_eq!(t.date_path(), "2026/11/21");
    }
}
