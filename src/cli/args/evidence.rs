//! `verify` and `export`.

use std::path::PathBuf;

use clap::Args;

use crate::access::names::{Note, SessionId, User};

/// `verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// Look at this folder of recordings, without config and store
    #[arg(long, value_name = "DIR", requires = "key")]
    pub recordings: Option<PathBuf>,
    /// The public checkpoint key as somebody kept it elsewhere [default: the installation's own]
    #[arg(long, visible_alias = "public-key", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// A copy of the log, without config and store: what `export --log` wrote, copies of the file `checkpoints`; once for each file
    #[arg(long, value_name = "FILE", requires = "key")]
    pub log: Vec<PathBuf>,
    /// Look at this file that `export` made, without config and store; without `--key` by the key that it carries
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recordings", "log", "checkpoints"])]
    pub export: Option<PathBuf>,
    /// Checkpoints of the log as somebody kept them elsewhere: a copy of the file `checkpoints` in the state folder
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recordings", "log"])]
    pub checkpoints: Option<PathBuf>,
}

/// `export`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// One session: its recordings, their manifest, its account, and its events with the proof that they stand in the log
    #[arg(long, value_name = "ID", required_unless_present = "log")]
    pub session: Option<SessionId>,
    /// A copy of the log instead: every entry, and every signed head
    #[arg(long, conflicts_with_all = ["session", "to", "purpose"])]
    pub log: bool,
    /// The new file [default: SESSION.tar, or log.jsonl]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Whom it is for; the policy must let this user have it
    #[arg(long, value_name = "USER")]
    pub to: Option<User>,
    /// What it is for; is kept with the event
    #[arg(long, value_name = "TEXT")]
    pub purpose: Option<Note>,
}
