//! The local command line: makes an installation, looks it over, runs it, and tends users and hosts; the verbs of `ssh jit-bastion ..`
//! work here too. Everything goes through the same broker and the same store as over SSH, beside a running bastion as well.

mod args;
mod check;
mod daemon;
mod demo;
mod evidence;
mod failure;
mod init;
mod local;
mod manual;
mod notify;
mod open;
mod place;
mod pubkey;
mod said;
mod setup;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::Failure;
use said::Outcome;

/// Runs one command line (the program's name first) and gives the exit status: 0 done, 1 refused, 2 wrong usage, 70 a fault of ours.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(wrong) => {
            let _ = wrong.print();
            return ExitCode::from(if wrong.use_stderr() { failure::USAGE } else { 0 });
        }
    };
    let json = cli.json;
    let outcome = run(cli);
    ExitCode::from(said::print(&outcome, json))
}

fn run(cli: Cli) -> Outcome {
    let Cli { config, json: _, command } = cli;
    match command {
        Command::Init(init) => init::run(&init, config.as_deref()),
        Command::Check => check::run(config.as_deref()),
        Command::Verify(verify) => evidence::run(&verify, config.as_deref()),
        Command::Completion { shell } => Ok(manual::completion(shell)),
        Command::Man { dir } => manual::man(dir.as_deref()),
        _ => Err(Failure::refused("not-yet", "this command is not there yet", "`jit-bastion --help` lists the others")),
    }
}
