//! The words of `host ..`.

use clap::{Args, Subcommand, ValueEnum};

/// `host ..`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HostCommand {
    /// Register a machine
    Add(AddHost),
    /// List the machines
    List,
    /// Print what the machine's sshd must be told, and where to put it
    Setup {
        /// A registered host
        name: String,
        /// `trust`: the bastion's certificates are accepted. `enforce`: for the registered logins, nothing else is
        #[arg(long, value_enum)]
        stage: Stage,
    },
}

/// `host add`.
#[derive(Debug, Args)]
pub(in crate::cli) struct AddHost {
    /// Its name, as people will type it
    pub name: String,
    /// Where it is: a name or an address, with :PORT if it is not 22
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub address: String,
    /// An account on it; the first is the default
    #[arg(long, value_name = "LOGIN", required = true)]
    pub login: Vec<String>,
    /// Its public host key: a file, a line, or - for standard input (`ssh-keyscan ADDRESS | jit-bastion host add .. --key -`)
    #[arg(long, value_name = "FILE|LINE", required_unless_present = "host_ca")]
    pub key: Vec<String>,
    /// An authority whose host certificates it shows, instead of a key
    #[arg(long, value_name = "FILE|LINE")]
    pub host_ca: Vec<String>,
    /// What policy may select it by: `phi` or `env=prod`
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Another name that people may type
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,
}

/// How far a host has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Stage {
    /// The bastion's certificates are accepted beside what was.
    Trust,
    /// For the registered logins, nothing else is accepted.
    Enforce,
}
