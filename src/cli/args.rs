//! The words of the local command line, as clap reads them.

mod backup;
mod ca;
mod evidence;
mod host;
mod index;
mod policy;
mod user;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config;

pub(super) use backup::Backup;
pub(super) use ca::{CaCommand, KeyWord, Overlap};
pub(super) use evidence::{Export, Verify};
pub(super) use host::{AddHost, HostAudit, HostCommand, HostKey, Stage};
pub(super) use index::IndexCommand;
pub(super) use policy::PolicyCommand;
pub(super) use user::{AddUser, InviteWords, KeyCommand, KeyWords, RoleWords, UserCommand};

/// An SSH bastion that grants access just in time, records it, and cuts it to the second.
#[derive(Debug, Parser)]
#[command(name = "jit-bastion", version, about, max_term_width = 100, after_help = AFTER)]
pub(super) struct Cli {
    /// The config file [default: ./jit-bastion.toml, else /etc/jit-bastion/jit-bastion.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Answer as JSON: one object or one array
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
The words of `ssh jit-bastion help` that only read, close, revoke or kill work here too, as local:YOU:
  requests show grants sessions recordings hosts explain known-hosts close revoke kill
What was handed out with `export` is played here, without an installation: replay --export FILE

Exit status: 0 done, 1 refused, 2 wrong usage, 70 a fault of the bastion.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a new installation: folders, keys, store
    Init(Init),
    /// Look over config, policy, keys, store and folders, and say what is wrong
    Check,
    /// Run the bastion (SIGHUP reloads, SIGTERM stops)
    Serve,
    /// Make a whole world on loopback to try everything in, and run it
    Demo(Demo),
    /// The people
    #[command(subcommand)]
    User(UserCommand),
    /// The machines behind the bastion
    #[command(subcommand)]
    Host(HostCommand),
    /// The rules: test them, ask them who can do what, compare two
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The bastion's keys: what they are, and how they are replaced
    #[command(subcommand)]
    Ca(CaCommand),
    /// Prove that the log and the recordings are as they were written
    Verify(Verify),
    /// Take one session's recordings out with all that proves them, or a copy of the log
    Export(Export),
    /// The index that `recordings --text` looks into: make it, or take a session's text out
    #[command(subcommand)]
    Index(IndexCommand),
    /// How this node stands: 0 when all is well, 1 when something is not
    Status,
    /// Copy the running bastion into a new folder, to be put back from there
    Backup(Backup),
    /// Print a completion script
    Completion {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man {
        /// Into this folder; left out, the first page goes to the terminal
        dir: Option<PathBuf>,
    },
    /// A verb, as over ssh
    #[command(external_subcommand)]
    Verb(Vec<String>),
}

/// `init`.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Make a first config and policy in this folder too
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// This machine's name in the log [default: its hostname]
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    pub node: Option<String>,
    /// Be content when everything is there already
    #[arg(long)]
    pub if_missing: bool,
}

fn node_name(text: &str) -> Result<String, String> {
    if text == config::node_name(text) { Ok(text.to_owned()) } else { Err("1 to 63 of a-z 0-9 . -".to_owned()) }
}

/// `demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The folder that holds the demo's world
    #[arg(long, value_name = "DIR", default_value = "demo")]
    pub dir: PathBuf,
    /// The bastion's port; 0 is any [default: the last one, or 2222, or a free one]
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the pages say can be typed: lines of code blocks, without prompt and remark, that are no grammar.
    fn documented(page: &str) -> Vec<String> {
        let mut fenced = false;
        let mut lines = Vec::new();
        for line in page.lines() {
            fenced ^= line.starts_with("```");
            let code = if fenced { Some(line) } else { line.strip_prefix("    ") };
            let Some(code) = code.map(|code| code.strip_prefix("$ ").unwrap_or(code)) else { continue };
            let typed = code.strip_prefix("target/release/").unwrap_or(code).split("  ").next().unwrap_or_default();
            if typed.starts_with("jit-bastion ") && !typed.contains(['[', '|', ';']) {
                lines.extend(typed.split(" && ").map(str::to_owned));
            }
        }
        lines
    }

    #[test]
    fn what_the_pages_say_can_be_typed() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let (mut count, mut wrong) = (0, Vec::new());
        for page in docs.filter(|path| path.extension().is_some_and(|e| e == "md")).chain([root.join("README.md")]) {
            for line in documented(&std::fs::read_to_string(&page).unwrap()) {
                count += 1;
                let split = std::process::Command::new("sh").args(["-c", &format!("printf '%s\\0' {line}")]).output().unwrap();
                let words = String::from_utf8(split.stdout).unwrap();
                let words: Vec<&str> = words.split_terminator('\0').collect();
                if let Err(error) = Cli::try_parse_from(&words).map(drop).map_err(|error| error.kind())
                    && !matches!(error, clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion)
                {
                    wrong.push(format!("{}: {line}: {error:?}", page.display()));
                }
            }
        }
        assert!(wrong.is_empty() && count > 25, "{count} lines, {wrong:#?}");
    }
}
