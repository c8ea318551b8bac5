//! The words of `user ..`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `user ..`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UserCommand {
    /// Make a user known
    Add(AddUser),
    /// List the users with their roles and keys
    List,
    /// One user in full: roles and keys with their dates, open grants, what they may approve
    Show {
        /// Whose
        name: String,
    },
    /// Give a user a role, for good or from and until a time, or take one away
    Role(RoleWords),
    /// A user's keys: add, remove, list
    Key(KeyWords),
    /// The account of a user ends then, like a vendor's contract; or has no end any more
    Contract {
        /// Whose
        name: String,
        /// When: 2026-12-31 (the whole day), or a time as 2026-12-31T17:00:00Z
        #[arg(long, value_name = "T", required_unless_present = "open")]
        until: Option<String>,
        /// Without an end
        #[arg(long, conflicts_with = "until")]
        open: bool,
    },
    /// The user may do nothing any more; their sessions fall at once
    Disable {
        /// Whose
        name: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// A disabled user may again
    Enable {
        /// Whose
        name: String,
    },
    /// Make a code, shown once, with which somebody brings a key of theirs; it opens nothing until it is confirmed
    Invite(InviteWords),
    /// The key that an invited user has offered is theirs: from now on it opens what they may
    Confirm {
        /// Whose
        name: String,
        /// The key's fingerprint, as they read it to you; left out: it is shown
        fingerprint: Option<String>,
    },
    /// The key that an invited user has offered is not theirs
    Refuse {
        /// Whose
        name: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Make users what a TOML file says, and print what changes
    Apply {
        /// The file; - reads standard input
        file: PathBuf,
        /// Only print what would change
        #[arg(long)]
        dry_run: bool,
        /// Disable users that the file does not name
        #[arg(long)]
        prune: bool,
    },
}

/// `user add`.
#[derive(Debug, Args)]
pub(in crate::cli) struct AddUser {
    /// A lower-case letter, then up to 31 of a-z 0-9 . _ -
    pub name: String,
    /// Their public keys, as in authorized_keys; - reads standard input
    #[arg(long, value_name = "FILE", required = true)]
    pub key: Vec<PathBuf>,
    /// A role, as the policy names it
    #[arg(long, value_name = "ROLE")]
    pub role: Vec<String>,
    /// The firm they come from, if they are not staff
    #[arg(long, value_name = "FIRM")]
    pub vendor: Option<String>,
    /// When their contract, and with it the account, ends: 2026-12-31 (the whole day), or a time
    #[arg(long, value_name = "T")]
    pub until: Option<String>,
}

/// `user role`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RoleWords {
    /// Whose
    pub name: String,
    /// Give this role; one that they hold gets these dates
    #[arg(long, value_name = "ROLE", required_unless_present = "remove")]
    pub add: Option<String>,
    /// In force from then on: 2026-12-31, or a time as 2026-12-31T17:00:00Z
    #[arg(long, value_name = "T", requires = "add")]
    pub from: Option<String>,
    /// In force until then: 2026-12-31 (the whole day), or a time
    #[arg(long, value_name = "T", requires = "add")]
    pub until: Option<String>,
    /// Take this role away; sessions that it gave fall at once
    #[arg(long, value_name = "ROLE")]
    pub remove: Option<String>,
}

/// `user key`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct KeyWords {
    /// What to do
    #[command(subcommand)]
    pub command: Option<KeyCommand>,
    /// Whose
    #[arg(required = true)]
    pub name: Option<String>,
    /// Public keys, as in authorized_keys; - reads standard input
    #[arg(long, value_name = "FILE", required = true)]
    pub add: Vec<PathBuf>,
}

/// `user key ..`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeyCommand {
    /// Give a user one more key
    Add {
        /// Whose
        name: String,
        /// Public keys, as in authorized_keys; - reads standard input
        #[arg(long, value_name = "FILE", required = true)]
        key: Vec<PathBuf>,
        /// What to call it; left out: the key's comment
        #[arg(long = "name", value_name = "TEXT")]
        called: Option<String>,
    },
    /// Take a key away; sessions that it opened fall at once
    Remove {
        /// Whose
        name: String,
        /// Its fingerprint or its name
        key: String,
    },
    /// List a user's keys: name, fingerprint, when added, when last used
    List {
        /// Whose
        name: String,
    },
}

/// `user invite`.
#[derive(Debug, Args)]
pub(in crate::cli) struct InviteWords {
    /// Whom; somebody who is known already brings one more key
    pub name: String,
    /// A role of a new user, as the policy names it
    #[arg(long, value_name = "ROLE", conflicts_with = "withdraw")]
    pub role: Vec<String>,
    /// The firm that a new user comes from, if they are not staff
    #[arg(long, value_name = "FIRM", conflicts_with = "withdraw")]
    pub vendor: Option<String>,
    /// When a new user's contract, and with it the account, ends: 2026-12-31 (the whole day), or a time
    #[arg(long, value_name = "T", conflicts_with = "withdraw")]
    pub until: Option<String>,
    /// A user who may confirm the key too
    #[arg(long, value_name = "USER", conflicts_with = "withdraw")]
    pub sponsor: Option<String>,
    /// How long the code is good
    #[arg(long = "for", value_name = "D", default_value = "24h", conflicts_with = "withdraw")]
    pub length: String,
    /// Take the invitation back
    #[arg(long)]
    pub withdraw: bool,
}
