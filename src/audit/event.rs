//! Everything that can be logged. The enum is closed and its names are stable: old logs must verify and read for ever.
//!
//! Fields are text and integers only. Lists are written as text, sorted and joined with commas; times are integers, microseconds since
//! 1970 in UTC (`_us`); lengths are seconds (`_s`) or milliseconds (`_ms`). Text that somebody typed freely (reason, note, command line,
//! path, a name that we do not know) enters as a [`Commitment`].
//!
//! The lines of the enum stand in files by area. Each is a macro that adds its lines to those before and hands them to the next.

mod installation;
mod people;
mod places;
mod rights;
mod visits;

use serde::{Deserialize, Serialize};

use super::commitment::Commitment;
use super::digest::Digest;
use super::words::events;
pub use super::words::{Begin, Cause, CertificateKind, Showing, list};
use crate::access::names::{GrantId, HostName, InviteId, Login, RequestId, RuleId, SessionId, User};
use crate::access::time::Timestamp;

use installation::installation;
use people::people;
use places::places;
use rights::rights;
use visits::visits;

installation! { [people places rights visits events] }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_kebab_case() {
        assert_eq!(Event::ClockAlarm { jump_ms: 1 }.name(), "clock-alarm");
        let kebab = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(Event::NAMES.iter().all(kebab));
        let distinct: std::collections::BTreeSet<_> = Event::NAMES.iter().collect();
        assert_eq!(distinct.len(), Event::NAMES.len());
    }
}
