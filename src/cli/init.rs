//! Makes an installation: folders, passphrase, keys sealed with it, store; and, if asked, a first config and policy. Overwrites nothing.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Init;
use super::failure::Failure;
use super::place;
use super::said::{Outcome, Said};
use crate::config::Config;

/// A first config and policy, to be read and changed.
const FIRST_CONFIG: &str = include_str!("first/jit-bastion.toml");
const FIRST_POLICY: &str = include_str!("../../systemd/policy.toml");

/// `init`.
pub(super) fn run(init: &Init, named: Option<&Path>) -> Outcome {
    let mut made = Vec::new();
    let file = match (&init.dir, named) {
        (Some(_), Some(_)) => return Err(Failure::Usage("--dir makes a config, --config names one\nhint: keep one of them".into())),
        (Some(dir), None) => first_files(dir, &mut made)?,
        (None, named) => place::config_file(named)?,
    };
    let config = Config::load(&file)?;
    for folder in [&config.state, &config.recordings] {
        if !folder.is_dir() {
            place::private_folder(folder)?;
            made.push(folder.clone());
        }
    }
    let text = made.iter().map(|path| format!("made {}\n", path.display())).collect::<String>();
    Ok(Said::done(text, json!({ "config": config.file, "made": made })))
}

fn first_files(dir: &Path, made: &mut Vec<PathBuf>) -> Result<PathBuf, Failure> {
    let files = [(dir.join("jit-bastion.toml"), FIRST_CONFIG), (dir.join("policy.toml"), FIRST_POLICY)];
    if let Some((there, _)) = files.iter().find(|(file, _)| file.exists()) {
        let next = format!("`jit-bastion init --config {}` makes what is missing around it", dir.join("jit-bastion.toml").display());
        return Err(Failure::refused("exists", format!("{} is there already, and init overwrites nothing", there.display()), next));
    }
    place::private_folder(dir)?;
    for (file, content) in &files {
        place::new_file(file, 0o644, content)?;
        made.push(file.clone());
    }
    Ok(dir.join("jit-bastion.toml"))
}
