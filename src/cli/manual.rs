//! Completion scripts and manual pages, both from the words in `args`.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use serde_json::json;

use super::args::Cli;
use super::said::{Outcome, Said};
use crate::verbs;

/// All words: our own, and the verbs. Those that exist only over SSH say so themselves.
fn words() -> clap::Command {
    verbs::command().get_subcommands().fold(Cli::command(), |all, verb| all.subcommand(verb.clone()))
}

/// The script for `shell`.
pub(super) fn completion(shell: clap_complete::Shell) -> Said {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut words(), "jit-bastion", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Said::done(script.clone(), json!({ "script": script }))
}

/// Every page into `dir`, or the first one as it is.
pub(super) fn man(dir: Option<&Path>) -> Outcome {
    let command = words();
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).context("cannot write the page")?;
        let page = String::from_utf8_lossy(&page).into_owned();
        return Ok(Said::done(page.clone(), json!({ "page": page })));
    };
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(command, dir).with_context(|| format!("cannot write into {}", dir.display()))?;
    Ok(Said::done(format!("the pages are in {}\n", dir.display()), json!({ "dir": dir })))
}
