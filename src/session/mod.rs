//! A visit in progress: when it must end, what ends it, and who is inside.
//!
//! This room never touches a disk, speaks no SSH and knows no SQL. It may be asked to end a session from any thread, and it does so
//! without waiting for anybody: politeness is tried by the relay, the knife ends what politeness did not.

pub mod cutoff;
pub mod knife;
pub mod live;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::access::names::BadName;

pub use cutoff::{Cutoff, Guarded, Lateness, Side};
pub use knife::Knife;
pub use knife::idle_warning;
pub use live::{Live, LiveSession, Presence};

/// Why a session ended. The names are those of the product's `ending` and never change: they are in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The user went, or the host ended the connection in good order.
    Left,
    /// The grant's end has come.
    TimeUp,
    /// The holder closed the grant.
    Closed,
    /// Somebody revoked the grant, or policy no longer allows it.
    Revoked,
    /// Somebody killed this one session.
    Killed,
    /// Nobody typed for as long as the rule allows.
    Idle,
    /// The session wanted more than it may have: bytes towards the client, bytes that are kept.
    OverBudget,
    /// The recording could not be written: what cannot be kept is not shown.
    RecorderFailed,
    /// The store was lost for longer than the grace.
    StoreLost,
    /// The client or the host vanished.
    PeerGone,
    /// The bastion was told to stop.
    Shutdown,
}

impl Ending {
    /// Every ending, in the order of the product page.
    pub const ALL: [Self; 11] = [
        Self::Left,
        Self::TimeUp,
        Self::Closed,
        Self::Revoked,
        Self::Killed,
        Self::Idle,
        Self::OverBudget,
        Self::RecorderFailed,
        Self::StoreLost,
        Self::PeerGone,
        Self::Shutdown,
    ];

    /// The stable name: `time-up`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::TimeUp => "time-up",
            Self::Closed => "closed",
            Self::Revoked => "revoked",
            Self::Killed => "killed",
            Self::Idle => "idle",
            Self::OverBudget => "over-budget",
            Self::RecorderFailed => "recorder-failed",
            Self::StoreLost => "store-lost",
            Self::PeerGone => "peer-gone",
            Self::Shutdown => "shutdown",
        }
    }

    /// What the user reads as the session's last words: lower case, no full stop.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Left => "the session is over",
            Self::TimeUp => "your time is up",
            Self::Closed => "your grant was closed",
            Self::Revoked => "your grant was revoked",
            Self::Killed => "your session was ended by an administrator",
            Self::Idle => "you were logged off because nothing was typed",
            Self::OverBudget => "your session has used up what it may",
            Self::RecorderFailed => "this session can no longer be recorded",
            Self::StoreLost => "the bastion lost its store",
            Self::PeerGone => "the other side of the connection is gone",
            Self::Shutdown => "the bastion is shutting down",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Ending {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let found = Self::ALL.into_iter().find(|e| e.as_str() == text);
        found.ok_or_else(|| {
            BadName::new(
                "ending",
                text,
                "left, time-up, closed, revoked, killed, idle, over-budget, recorder-failed, store-lost, peer-gone or shutdown",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_round_trip() {
        for ending in Ending::ALL {
            assert_eq!(ending.as_str().parse(), Ok(ending));
            assert_eq!(serde_json::to_string(&ending).unwrap(), format!("\"{ending}\""));
            assert!(!ending.sentence().ends_with('.'));
        }
        let words = "left time-up closed revoked killed idle over-budget recorder-failed store-lost peer-gone shutdown";
        assert_eq!(Ending::ALL.map(Ending::as_str).join(" "), words);
        assert!("gone".parse::<Ending>().is_err());
    }
}
