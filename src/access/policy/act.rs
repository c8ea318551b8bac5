//! What a `[[may]]` rule can give: to look, or to end.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::access::names::BadName;

/// What a `may` rule can give. Nobody may any of it by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// See who is and was inside.
    Sessions,
    /// Look over the shoulder of whoever is inside.
    Watch,
    /// Find recordings.
    Recordings,
    /// Play recordings.
    Replay,
    /// Have recordings taken out with what proves them, as a file that is made on the bastion's own command line.
    Export,
    /// See what is masked on replay: what was typed, and numbers that name a person.
    Unmask,
    /// End a grant that is not one's own; with it, see grants.
    Revoke,
    /// End a session that is not one's own.
    Kill,
    /// See every host, not only those one may ask for.
    Hosts,
    /// Confirm or refuse the key that somebody offered with an invitation; over no host.
    Users,
}

impl Act {
    /// All that are built, in the order in which they are told.
    pub const ALL: [Self; 10] = [
        Self::Sessions,
        Self::Watch,
        Self::Recordings,
        Self::Replay,
        Self::Unmask,
        Self::Export,
        Self::Revoke,
        Self::Kill,
        Self::Hosts,
        Self::Users,
    ];

    /// The word in the policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Watch => "watch",
            Self::Recordings => "recordings",
            Self::Replay => "replay",
            Self::Export => "export",
            Self::Unmask => "unmask",
            Self::Revoke => "revoke",
            Self::Kill => "kill",
            Self::Hosts => "hosts",
            Self::Users => "users",
        }
    }

    /// As words of a sentence: "no rule lets you ...".
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Sessions => "see the sessions of others",
            Self::Watch => "watch sessions",
            Self::Recordings => "find recordings",
            Self::Replay => "replay recordings",
            Self::Export => "have recordings exported",
            Self::Unmask => "see what is masked in recordings",
            Self::Revoke => "revoke grants",
            Self::Kill => "kill sessions",
            Self::Hosts => "see every host",
            Self::Users => "confirm invited users",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Act {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let act = Self::ALL.into_iter().find(|act| act.as_str() == text);
        act.ok_or_else(|| {
            let known = "it is one of sessions, watch, recordings, replay, unmask, export, revoke, kill, hosts, users";
            BadName::new("word for an act", text, known)
        })
    }
}
