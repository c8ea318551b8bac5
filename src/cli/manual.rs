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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(command: &clap::Command) -> BTreeSet<&str> {
        command.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "help").collect()
    }

    #[test]
    fn every_verb_is_a_word_here_and_none_is_taken_by_a_command_of_our_own() {
        let (all, own, verbs) = (words(), Cli::command(), verbs::command());
        assert_eq!(names(&own).intersection(&names(&verbs)).next(), None);
        for verb in verbs.get_subcommands() {
            let here = all.find_subcommand(verb.get_name()).expect("it is there");
            let options = |command: &clap::Command| command.get_arguments().map(|word| word.get_id().to_string()).collect::<Vec<_>>();
            assert_eq!(options(here), options(verb), "{}", verb.get_name());
        }
        // Whatever is no command of our own is read by the parser of the verbs.
        for verb in names(&verbs) {
            let read = <Cli as clap::Parser>::try_parse_from(["jit-bastion", verb, "x", "--note", "y"]).expect("any words");
            assert!(matches!(read.command, super::super::args::Command::Verb(words) if words == [verb, "x", "--note", "y"]));
        }
    }

    #[test]
    fn the_words_of_this_machine_are_there() {
        let own = Cli::command();
        for (word, below) in [
            ("init", ""),
            ("check", ""),
            ("serve", ""),
            ("demo", ""),
            ("user", "add list show role key disable invite apply"),
            ("host", "add list show key remove setup audit apply"),
            ("policy", "test who-can what-can diff"),
            ("verify", ""),
            ("backup", ""),
            ("status", ""),
        ] {
            let found = own.find_subcommand(word).unwrap_or_else(|| panic!("{word}"));
            let missing: Vec<&str> = below.split_whitespace().filter(|below| found.find_subcommand(below).is_none()).collect();
            assert!(missing.is_empty(), "{word}: {missing:?}");
        }
    }
}
