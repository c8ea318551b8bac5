//! Where things are: the config file that is meant, and folders and files that nobody else may read.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::failure::Failure;
use crate::config::Config;

/// Where a config is looked for when none is named.
const USUAL: [&str; 2] = ["jit-bastion.toml", "/etc/jit-bastion/jit-bastion.toml"];

/// The config that is meant, read. Its warnings go to standard error.
pub(super) fn config(named: Option<&Path>) -> Result<Config, Failure> {
    let config = Config::load(&config_file(named)?)?;
    for warning in &config.warnings {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    Ok(config)
}

/// The config file that is meant.
pub(super) fn config_file(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let usual = || USUAL.iter().map(PathBuf::from).find(|file| file.exists());
    named.map(Path::to_owned).or_else(usual).ok_or_else(|| {
        let message = format!("no config: neither ./{} nor {} is there", USUAL[0], USUAL[1]);
        Failure::refused("no-config", message, "name it with --config FILE, or make one with `jit-bastion init --dir DIR`")
    })
}

/// Makes `folder` and what is above it; the folder itself for us alone. One that is there stays as it is.
pub(super) fn private_folder(folder: &Path) -> anyhow::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        std::fs::create_dir_all(above).with_context(|| format!("cannot make {}", above.display()))?;
    }
    DirBuilder::new().mode(0o700).create(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Writes a file that must not be there yet.
pub(super) fn new_file(file: &Path, mode: u32, content: &str) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let mut opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
        opened.write_all(content.as_bytes())?;
        opened.sync_all()
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
