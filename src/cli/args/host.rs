//! The words of `host ..`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `host ..`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HostCommand {
    /// Register a machine
    Add(AddHost),
    /// List the machines
    List {
        /// As a file for `host apply`
        #[arg(long)]
        toml: bool,
    },
    /// Show a machine: where it is, how it is trusted, who may ask for it, who was there last
    Show {
        /// Its name or an alias
        name: String,
    },
    /// Change the keys that a machine is known by
    Key(HostKey),
    /// Take a machine out; live sessions there fall
    Remove {
        /// A registered host
        name: String,
    },
    /// Make the registered machines those of a file under version control, and show what changes
    Apply {
        /// TOML with a table [[host]] for each; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only show what would change
        #[arg(long)]
        dry_run: bool,
        /// Take out the machines that the file does not name
        #[arg(long)]
        prune: bool,
    },
    /// Look what access stands on a machine without the bastion: keys, passwords, sudo, last logins
    Audit(HostAudit),
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
    /// Ask the machine for its keys, and show them to be compared
    #[arg(long, conflicts_with = "key")]
    pub scan: bool,
    /// With --scan: the keys are the right ones, do not ask
    #[arg(long, requires = "scan", conflicts_with = "key")]
    pub yes: bool,
    /// Its public host key: a file, a line, or - for standard input
    #[arg(long, value_name = "FILE|LINE", required_unless_present_any = ["host_ca", "scan"])]
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

/// `host audit`.
#[derive(Debug, Args)]
pub(in crate::cli) struct HostAudit {
    /// A registered host
    pub name: String,
    /// Through this account; root sees most [default: the host's first login]
    #[arg(long, value_name = "LOGIN")]
    pub login: Option<String>,
    /// What for; it goes into the log
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// `host key`.
#[derive(Debug, Args)]
#[group(skip)]
pub(in crate::cli) struct HostKey {
    /// A registered host
    pub name: String,
    #[command(flatten)]
    pub how: KeyChange,
    /// With --scan: the keys are the right ones, do not ask
    #[arg(long, requires = "scan", conflicts_with_all = ["add", "add_ca", "remove"])]
    pub yes: bool,
}

/// What happens to the keys: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct KeyChange {
    /// Ask the machine for its keys, show them to be compared, and trust them instead of the old ones
    #[arg(long)]
    pub scan: bool,
    /// Trust this key too: a file, a line, or - for standard input
    #[arg(long, value_name = "FILE|LINE")]
    pub add: Option<String>,
    /// Trust the host certificates of this authority too
    #[arg(long, value_name = "FILE|LINE")]
    pub add_ca: Option<String>,
    /// Trust the key or authority with this fingerprint no more
    #[arg(long, value_name = "SHA256:..")]
    pub remove: Option<String>,
}

/// How far a host has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Stage {
    /// The bastion's certificates are accepted beside what was.
    Trust,
    /// For the registered logins, nothing else is accepted.
    Enforce,
}
