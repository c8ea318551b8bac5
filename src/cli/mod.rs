//! The local command line: makes an installation, looks it over, runs it, and tends users and hosts; the verbs of `ssh jit-bastion ..`
//! work here too. Everything goes through the same broker and the same store as over SSH, beside a running bastion as well.

mod args;
mod backup;
mod ca;
mod check;
mod daemon;
mod demo;
mod difference;
mod evidence;
mod export;
mod failure;
mod faults;
mod handed;
mod hostkeys;
mod index;
mod init;
mod inspection;
mod local;
mod machines;
mod manual;
mod notify;
mod open;
mod people;
mod place;
mod policy;
mod pubkey;
mod said;
mod setup;
mod status;
mod terminal;
mod verb;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::broker::Broker;
use crate::config::Config;
use args::{Cli, Command};
use failure::Failure;
use said::Outcome;

/// Runs one command line (the program's name first) and gives the exit status: 0 done, 1 refused, 2 wrong usage, 70 a fault of ours.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(wrong) => return ExitCode::from(misread(&wrong, arguments.iter().any(|word| word == "--json"))),
    };
    let json = cli.json || matches!(&cli.command, Command::Verb(words) if words.iter().any(|word| word == "--json"));
    if !matches!(&cli.command, Command::Serve | Command::Demo(_)) {
        faults::log(cli.config.as_deref());
    }
    let outcome = run(cli).map_err(faults::identified);
    ExitCode::from(said::print(&outcome, json))
}

/// Help that was asked for is printed as it is; wrong usage as a program reads it, where one asks.
fn misread(wrong: &clap::Error, json: bool) -> u8 {
    if json && wrong.use_stderr() {
        return said::print(&Err(Failure::Usage(wrong.render().to_string().trim_start_matches("error: ").trim_end().to_owned())), json);
    }
    let _ = wrong.print();
    if wrong.use_stderr() { failure::USAGE } else { 0 }
}

fn run(cli: Cli) -> Outcome {
    let Cli { config, json, command } = cli;
    let named = config.as_deref();
    match command {
        Command::Init(init) => init::run(&init, named),
        Command::Check => check::run(named),
        Command::Serve => daemon::run(named),
        Command::Demo(demo) => demo::run(&demo),
        Command::User(command) => administer(named, async |config, broker| people::run(config, broker, &command).await),
        Command::Host(args::HostCommand::Audit(words)) => inspection::run(&words, named),
        Command::Host(command) => administer(named, async |config, broker| machines::run(config, broker, &command).await),
        Command::Policy(command) => policy::run(&command, named),
        Command::Ca(command) => administer(named, async |config, broker| ca::run(config, broker, &command).await),
        Command::Verify(verify) => evidence::run(&verify, named),
        Command::Export(export) => export::run(&export, named),
        Command::Index(command) => index_run(&command, named),
        Command::Status => status::run(named),
        Command::Backup(backup) => backup::run(&backup, named),
        Command::Completion { shell } => Ok(manual::completion(shell)),
        Command::Man { dir } => manual::man(dir.as_deref()),
        Command::Verb(words) => verb::run(words, named, json),
    }
}

/// Only what is made from recordings needs the keys.
fn index_run(command: &args::IndexCommand, named: Option<&Path>) -> Outcome {
    let config = place::config(named)?;
    open::block_on(async {
        let store = open::store(&config).await?;
        let broker = match command {
            args::IndexCommand::Build { .. } => open::broker_with_keys(&config, store.clone()).await?,
            args::IndexCommand::Erase { .. } => open::broker(&config, store.clone())?,
        };
        if let Err(wrong) = broker.adopt_policy_in_force().await {
            eprintln!("warning: no policy is in force: {wrong}");
        }
        let outcome = index::run(&config, &broker, command).await;
        store.close().await;
        outcome
    })
}

/// Opens store and broker for `work`, and closes them.
fn administer(named: Option<&Path>, work: impl AsyncFnOnce(&Config, &Broker) -> Outcome) -> Outcome {
    let config = place::config(named)?;
    open::block_on(async {
        let store = open::store(&config).await?;
        let broker = open::broker(&config, store.clone())?;
        if let Err(wrong) = broker.adopt_policy_in_force().await {
            // Users and hosts can be tended without a policy; but then nobody is an approver.
            eprintln!("warning: no approver is told, because the policy cannot be read: {wrong}");
        }
        let outcome = work(&config, &broker).await;
        store.close().await;
        outcome
    })
}
