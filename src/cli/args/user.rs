//! The words of `user ..`.

use std::path::PathBuf;

use clap::Subcommand;

/// `user ..`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UserCommand {
    /// Make a user known
    Add {
        /// A lower-case letter, then up to 31 of a-z 0-9 . _ -
        name: String,
        /// Their public keys, as in authorized_keys; - reads standard input
        #[arg(long, value_name = "FILE", required = true)]
        key: Vec<PathBuf>,
        /// A role, as the policy names it
        #[arg(long, value_name = "ROLE")]
        role: Vec<String>,
        /// The firm they come from, if they are not staff
        #[arg(long, value_name = "FIRM")]
        vendor: Option<String>,
    },
    /// List the users with their roles and keys
    List,
    /// Give a user one more key
    Key {
        /// Whose
        name: String,
        /// Public keys, as in authorized_keys; - reads standard input
        #[arg(long, value_name = "FILE", required = true)]
        add: Vec<PathBuf>,
    },
}
