//! `policy ..`, as clap reads it.

use std::path::PathBuf;

use clap::Subcommand;

/// `policy ..`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PolicyCommand {
    /// Read a policy, run its tests, count its approvers
    Test {
        /// The policy [default: the one that the config names]
        file: Option<PathBuf>,
    },
    /// Who may ask for a host, as whom, on which terms; and who may look and end there
    WhoCan {
        /// The host, by its name or an alias
        host: String,
        /// Only as this account
        #[arg(long, value_name = "L")]
        login: Option<String>,
    },
    /// What a user may ask for, everywhere; and where they may look and end
    WhatCan {
        /// The user
        user: String,
    },
    /// Who gains what and who loses what between two policies
    Diff {
        /// The policy before
        old: PathBuf,
        /// The policy after
        new: PathBuf,
    },
}
