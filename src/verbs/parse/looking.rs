//! The words of `replay` and `watch`.

use std::path::PathBuf;
use std::time::Duration;

use super::Playable;
use crate::access::names::Note;

/// `replay ..`
#[derive(Debug, Clone, clap::Args)]
pub struct ReplayWords {
    /// A channel (s-7k2m9q.2), or a session: its first channel
    #[arg(value_name = "ID", required_unless_present = "export")]
    pub id: Option<Playable>,
    /// So many times as fast
    #[arg(long, value_name = "N", default_value = "1", value_parser = speed)]
    pub speed: f64,
    /// Seconds that a pause lasts at most
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub idle_limit: Option<Duration>,
    /// Begin at this time of the recording: 90, 1:30, 1:02:03 or 1h2m
    #[arg(long, value_name = "TIME", value_parser = offset)]
    pub at: Option<Duration>,
    /// List the files that were moved instead, of a session those of all its channels
    #[arg(long, conflicts_with_all = ["speed", "idle_limit", "at"])]
    pub files: bool,
    /// With what is masked: what was typed, and numbers that name a person
    #[arg(long)]
    pub unmask: bool,
    /// What for; takes every word up to the next option. Left out: asked at the terminal
    #[arg(long, value_name = "TEXT")]
    pub because: Option<Note>,
    /// Of a file instead.
    #[command(flatten)]
    pub exported: ExportedWords,
}

/// `replay --export ..`: at somebody's own machine only.
#[derive(Debug, Clone, clap::Args)]
pub struct ExportedWords {
    /// Play out of this file that `export` made, without config and store; it is verified first
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "because"])]
    pub export: Option<PathBuf>,
    /// The public checkpoint key as somebody kept it elsewhere [default: the one that the file carries]
    #[arg(long, visible_alias = "public-key", value_name = "FILE", requires = "export", conflicts_with = "id")]
    pub key: Option<PathBuf>,
    /// Which of the file's recordings [default: the first]
    #[arg(long, value_name = "N", requires = "export", conflicts_with = "id")]
    pub channel: Option<u32>,
}

/// What is not said over SSH.
pub(super) const LOCAL: [&str; 3] = ["export", "key", "channel"];

/// `watch ..`
#[derive(Debug, Clone, clap::Args)]
pub struct WatchWords {
    /// A session: its first terminal, or one channel of it (s-7k2m9q.2)
    #[arg(value_name = "SESSION")]
    pub id: Playable,
    /// With the numbers that name a person, which are masked else
    #[arg(long)]
    pub unmask: bool,
    /// What for; takes every word up to the next option. Left out: asked at the terminal
    #[arg(long, value_name = "TEXT")]
    pub because: Option<Note>,
}

fn speed(text: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|n| (0.1..=100.0).contains(n)).ok_or_else(|| "write a number from 0.1 to 100".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let given = text.parse::<f64>().ok().filter(|n| (0.0..=86_400.0).contains(n));
    given.map(Duration::from_secs_f64).ok_or_else(|| "write seconds, like 2 or 0.5".into())
}

/// A time of a recording: seconds, with minutes and hours before them, or a duration.
fn offset(text: &str) -> Result<Duration, String> {
    let wrong = || "write seconds (90), minutes (1:30), hours (1:02:03) or a duration (1h2m)".to_owned();
    if let Ok(span) = text.parse::<crate::access::time::Span>() {
        return Ok(span.duration());
    }
    let parts: Vec<&str> = text.split(':').collect();
    if !(1..=3).contains(&parts.len()) {
        return Err(wrong());
    }
    let last = parts.len() - 1;
    let mut total = 0.0;
    for (n, part) in parts.iter().enumerate() {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let written = if n == last { part.split('.').count() <= 2 && part.split('.').all(digits) } else { digits(part) };
        let value = part.parse::<f64>().ok().filter(|value| written && (last == 0 || n == 0 || *value < 60.0)).ok_or_else(wrong)?;
        total = total * 60.0 + value;
    }
    Duration::try_from_secs_f64(total).ok().filter(|at| at.as_secs() < 100 * 86_400).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_a_recording_is_written_in_many_ways() {
        for (text, millis) in
            [("90", 90_000), ("1.25", 1250), ("1:30", 90_000), ("1:02:03.5", 3_723_500), ("1h2m", 3_720_000), ("45s", 45_000)]
        {
            assert_eq!(offset(text).map(|at| at.as_millis()), Ok(millis), "{text}");
        }
        for text in ["", "-1", "1:60", "1:", ":1", "1:2:3:4", "1e9", "nan", "inf", "1.2.3", "99999999999", "1:-2"] {
            assert!(offset(text).is_err(), "{text}");
        }
    }
}
