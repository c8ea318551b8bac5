//! The words of `ca ..`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::access::time::{Span, Timestamp};

/// `ca ..`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CaCommand {
    /// List the bastion's keys: fingerprint, since when, where each stands
    List,
    /// Make the next key; the one before stays trusted for a while
    Rotate {
        /// Which key
        #[arg(value_enum)]
        key: KeyWord,
        #[command(flatten)]
        overlap: Overlap,
        /// It was stolen: a fresh one signs at once, and the old one is trusted no more
        #[arg(long, conflicts_with_all = ["overlap", "until"])]
        emergency: bool,
    },
    /// Let the next key sign, when hosts and people trust it
    Activate {
        /// Which key
        #[arg(value_enum)]
        key: KeyWord,
        #[command(flatten)]
        overlap: Overlap,
    },
    /// Seal the keys under another passphrase
    Passphrase {
        /// The file that holds the new one, readable by its owner alone
        #[arg(long, value_name = "FILE")]
        new: PathBuf,
    },
}

/// Until when the key before is trusted.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::cli) struct Overlap {
    /// How long the key before stays trusted [default: 30d]
    #[arg(long, value_name = "D", conflicts_with = "until")]
    pub overlap: Option<Span>,
    /// Until when it stays trusted
    #[arg(long, value_name = "T")]
    pub until: Option<Timestamp>,
}

impl Overlap {
    /// The date, if one was given.
    pub fn date(self, now: Timestamp) -> Option<Timestamp> {
        self.until.or_else(|| self.overlap.map(|overlap| now.plus(overlap)))
    }
}

/// A key, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum KeyWord {
    /// Hosts trust it
    Session,
    /// Clients trust it
    Host,
    /// Signs access certificates
    Access,
    /// Shown to clients by the bastion itself
    HostKeyOuter,
    /// Shown to clients in every host's place
    HostKeyInner,
    /// Signs the log and the recordings
    Checkpoint,
    /// All of them; only with --emergency
    All,
}
