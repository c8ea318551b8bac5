//! `backup`.

use std::path::PathBuf;

use clap::Args;

/// `backup`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Backup {
    /// The new folder that will hold it
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The recordings too, and the journals of sessions that go on
    #[arg(long)]
    pub recordings: bool,
}
