//! Text for people: how they read it, times, and colour only where a terminal shows it.

use crate::access::names::escaped;
use crate::access::time::{Span, Timestamp};

/// How the reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// The terminal's width, if there is one; without it nothing is cut.
    pub columns: Option<u16>,
    /// A terminal that shows colour.
    pub color: bool,
}

/// What a word means to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A title.
    Strong,
    /// Open, live, approved.
    Good,
    /// Waits for somebody.
    Waits,
    /// Denied, revoked.
    Bad,
    /// Over.
    Faint,
}

impl Look {
    /// `text` in the colour of its tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.color => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Waits => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// The tone of a state's word.
pub fn tone_of(state: &str) -> Tone {
    match state {
        "active" | "approved" | "live" => Tone::Good,
        "pending" | "waiting" => Tone::Waits,
        "denied" | "revoked" | "killed" => Tone::Bad,
        _ => Tone::Faint,
    }
}

/// Would this character be escaped where people read it?
pub(super) fn risky(c: char) -> bool {
    !c.is_ascii_graphic() && c != ' ' && escaped(c.encode_utf8(&mut [0; 4])).chars().ne([c])
}

/// How long from `now` to `until`, for people: `52m`; `0s` in the last second, and `over` from then on.
pub fn left(until: Timestamp, now: Timestamp) -> String {
    let span = until.since(now);
    match span.as_seconds() {
        _ if until <= now => "over".into(),
        // Nobody needs the seconds of an hour.
        s if s >= 3600 => Span::minutes(s / 60).to_string(),
        _ => span.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_have_no_seconds() {
        assert_eq!(left(Timestamp::from_micros(3_700_000_000), Timestamp::from_micros(0)), "1h1m");
        for (until, said) in [(1, "0s"), (999_999, "0s"), (1_000_000, "1s"), (0, "over"), (-5, "over")] {
            assert_eq!(left(Timestamp::from_micros(until), Timestamp::from_micros(0)), said);
        }
    }
}
