//! One parser for both doors: the words of an SSH command, and the arguments of `jit-bastion` on the server.

mod asking;
mod explain;
mod inviting;
mod looking;

use std::fmt;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::words;
use crate::access::names::{BadName, ChannelId, GrantId, HostName, Login, Note, RequestId, SessionId, User, escaped};
use crate::access::time::Timestamp;

pub use asking::{ApproveWords, ExtendWords, RequestWords, ShowWords};
pub use explain::ExplainWords;
pub use inviting::{ConfirmWords, RefuseWords};
pub use looking::{ExportedWords, ReplayWords, WatchWords};

/// Where the words were typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// As a command of an SSH connection whose key was proven.
    Ssh,
    /// On the bastion's own command line.
    Local,
}

impl Door {
    fn program(self) -> &'static str {
        match self {
            Self::Ssh => "ssh jit-bastion",
            Self::Local => "jit-bastion",
        }
    }

    /// The parser; what is said at one door only is not in the other's help.
    fn command(self) -> clap::Command {
        let hidden = |replay, word| clap::Command::mut_arg(replay, word, |arg| arg.hide(true));
        match self {
            Self::Ssh => command().mut_subcommand("replay", |replay| looking::LOCAL.into_iter().fold(replay, hidden)),
            Self::Local => command(),
        }
    }
}

/// A verb with all it needs, and how to answer.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What to do.
    pub verb: Verb,
    /// One object or one array instead of text.
    pub json: bool,
}

/// Words that are not to be run: help that was asked for, or wrong usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usage {
    /// To be printed as it is; exit 0.
    Help(String),
    /// One line; exit 2. `json` says whether the caller wanted JSON.
    Wrong {
        /// What was wrong, and the usage.
        line: String,
        /// `--json` was among the words.
        json: bool,
    },
}

#[derive(Debug, Parser)]
#[command(name = "jit-bastion", about = "Just-in-time access over SSH: ask, approve, look, end", disable_help_subcommand = false, color = clap::ColorChoice::Never)]
struct Line {
    /// Answer with one JSON object or array
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// The verbs that are built.
#[derive(Debug, Clone, Subcommand)]
#[command(rename_all = "kebab-case")]
pub enum Verb {
    /// Who I am to the bastion, and my roles
    Whoami,
    /// Where I may ask to go
    Hosts,
    /// Which rule would apply, why not the others, who can approve now, and what to ask
    Explain(ExplainWords),
    /// Ask for access to a host
    Request(RequestWords),
    /// Requests: mine, and those that wait for me
    Requests {
        /// Only those that can still be decided
        #[arg(long)]
        pending: bool,
        /// Only my own
        #[arg(long)]
        mine: bool,
    },
    /// One request in full: the exact text that is approved, its digest, and what became of it; or one session: what it carried and moved
    Show(ShowWords),
    /// Say yes to a request, or to less than it asks for
    Approve(ApproveWords),
    /// Say no to a request
    Deny {
        /// The request
        #[arg(value_name = "ID")]
        id: RequestId,
        /// Why; takes every word up to the next option
        #[arg(long, value_name = "TEXT", required = true)]
        note: Note,
    },
    /// Take my own request back
    Withdraw {
        /// The request
        #[arg(value_name = "ID")]
        id: RequestId,
    },
    /// My grants, and those that I may revoke
    Grants,
    /// An access certificate for my key and this grant's time: it opens the bastion and sees this grant alone, never a host
    Cert {
        /// The grant
        #[arg(value_name = "GRANT")]
        grant: GrantId,
    },
    /// More time for my grant: at once where its rule says so, else approved like a request
    Extend(ExtendWords),
    /// I am done: end my grant now
    Close {
        /// The grant
        #[arg(value_name = "GRANT")]
        id: GrantId,
    },
    /// Take a grant away; its sessions end within a second
    Revoke {
        /// The grant
        #[arg(value_name = "GRANT")]
        id: GrantId,
        /// Why; takes every word up to the next option
        #[arg(long, value_name = "TEXT", required = true)]
        note: Note,
    },
    /// End one session; its grant stays
    Kill {
        /// The session
        #[arg(value_name = "SESSION")]
        id: SessionId,
        /// Why; takes every word up to the next option
        #[arg(long, value_name = "TEXT", required = true)]
        note: Note,
    },
    /// The line for known_hosts that trusts every host behind the bastion
    KnownHosts {
        /// For clients without host certificates: the one plain key
        #[arg(long)]
        plain: bool,
    },
    /// Who is and was inside
    Sessions {
        /// Only those that go on
        #[arg(long)]
        live: bool,
    },
    /// The key that an invited user has offered is theirs; without a name: which wait for me
    Confirm(ConfirmWords),
    /// The key that an invited user has offered is not theirs
    Refuse(RefuseWords),
    /// Look over the shoulder of somebody who is inside
    Watch(WatchWords),
    /// Find recordings
    Recordings(RecordingWords),
    /// Play a recording in this terminal
    Replay(ReplayWords),
}

/// `recordings ..`
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RecordingWords {
    /// Whose
    #[arg(long, value_name = "USER")]
    pub user: Option<User>,
    /// Of which host
    #[arg(long, value_name = "HOST")]
    pub host: Option<HostName>,
    /// As whom
    #[arg(long, value_name = "LOGIN")]
    pub login: Option<Login>,
    /// Sessions that began at or after this time
    #[arg(long, value_name = "T")]
    pub since: Option<Timestamp>,
    /// Sessions that began before this time
    #[arg(long, value_name = "T")]
    pub until: Option<Timestamp>,
    /// What stood on the screen, full-screen programs included; takes every word up to the next option
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// What the search is for, kept with its event; takes every word up to the next option
    #[arg(long, value_name = "TEXT", requires = "text")]
    pub because: Option<Note>,
}

/// What `show` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A request.
    Request(RequestId),
    /// A session.
    Session(SessionId),
}

impl std::str::FromStr for Shown {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match SessionId::parse(text) {
            Ok(session) => Ok(Self::Session(session)),
            Err(_) => RequestId::parse(text).map(Self::Request),
        }
    }
}

/// What `replay` plays: one channel, or a session's first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playable {
    /// The session.
    pub session: SessionId,
    /// The channel's number, if it was named.
    pub number: Option<u32>,
}

impl fmt::Display for Playable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "{}.{number}", self.session),
            None => self.session.fmt(f),
        }
    }
}

impl std::str::FromStr for Playable {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.contains('.') {
            let ChannelId { session, number } = text.parse()?;
            return Ok(Self { session, number: Some(number) });
        }
        Ok(Self { session: SessionId::parse(text)?, number: None })
    }
}

/// The parser itself, for completions, man pages and the local command line.
pub fn command() -> clap::Command {
    Line::command()
}

/// Reads the command of an SSH connection; help is wrapped at `columns`.
pub fn from_line(line: &str, columns: Option<u16>) -> Result<Parsed, Usage> {
    let words = words::split(line).map_err(|long| Usage::Wrong { line: long.to_string(), json: false })?;
    from_words(words, Door::Ssh, columns)
}

/// Reads words that are split already.
pub fn from_words(words: Vec<String>, door: Door, columns: Option<u16>) -> Result<Parsed, Usage> {
    let json = words.iter().any(|word| word == "--json");
    let words = words::gather(words);
    let mut command = door.command().bin_name(door.program()).no_binary_name(true).term_width(usize::from(columns.unwrap_or(100)));
    let read = command.try_get_matches_from_mut(&words).and_then(|matches| Line::from_arg_matches(&matches));
    match read {
        Ok(line) => Ok(Parsed { verb: line.verb, json: line.json }),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Err(Usage::Help(error.render().to_string()))
        }
        Err(error) => Err(Usage::Wrong { line: one_line(&error, &words, door), json }),
    }
}

/// What clap says on many lines, on one: what was wrong, then how it is used.
fn one_line(error: &clap::Error, words: &[String], door: Door) -> String {
    let text = error.render().to_string();
    let known = verb_names();
    let verb = words.iter().find(|word| !word.starts_with('-'));
    let program = door.program();
    match verb {
        Some(verb) if known.iter().any(|name| name == verb) => {
            let wrong: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
            let wrong = wrong.join(" ");
            let wrong = wrong.strip_prefix("error: ").unwrap_or(&wrong);
            let usage =
                text.lines().find_map(|line| line.strip_prefix("Usage: ")).map_or_else(|| format!("{program} help {verb}"), str::to_owned);
            escaped(&format!("{wrong} (usage: {usage})"))
        }
        Some(verb) => {
            let shown: String = escaped(verb).chars().take(64).collect();
            format!("\"{shown}\" is not a verb; there are: {}, help", known.join(", "))
        }
        None => format!("no verb; there are: {}, help", known.join(", ")),
    }
}

fn verb_names() -> Vec<String> {
    command().get_subcommands().map(|verb| verb.get_name().to_owned()).filter(|name| name != "help").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(line: &str) -> String {
        match from_line(line, None) {
            Err(Usage::Wrong { line, .. }) => line,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_request_reads_without_quotes() {
        let parsed = from_line("request phi-db --reason fix the it's index --for 1h30m --channels exec,shell --json", None).unwrap();
        assert!(parsed.json);
        let Verb::Request(words) = parsed.verb else { panic!() };
        assert_eq!(words.reason.as_str(), "fix the it's index");
        assert_eq!(words.length, "1h30m".parse().ok());
        assert_eq!(words.channels.map(|c| c.to_string()), Some("shell,exec".into()));
    }

    #[test]
    fn json_stands_anywhere() {
        for line in ["--json requests", "requests --json", "requests --pending --json"] {
            assert!(from_line(line, None).is_ok_and(|p| p.json), "{line}");
        }
        assert!(matches!(from_line("--json nonsense", None), Err(Usage::Wrong { json: true, .. })));
    }

    #[test]
    fn wrong_usage_is_one_line() {
        for (line, has) in [
            ("", "no verb; there are: whoami, hosts, explain, request"),
            ("bash -i", "\"bash\" is not a verb"),
            ("x\u{1b}[2J", "\"x\\u{1b}[2J\" is not a verb"),
            ("request phi-db", "--reason <TEXT> (usage: ssh jit-bastion request"),
            ("request phi-db --reason x --for 5x", "is not a duration: write it as 45s"),
            ("show 17", "it looks like r-7k2m9q"),
            ("replay s-7k2m9q.2 --speed 0", "write a number from 0.1 to 100"),
            ("whoami --fo\u{1b}[2Jo", "unexpected argument"),
            ("deny r-7k2m9q", "--note <TEXT>"),
            ("revoke g-7k2m9q", "--note <TEXT>"),
            ("kill s-7k2m9q", "--note <TEXT>"),
            ("extend g-7k2m9q --for 1h", "--reason <TEXT>"),
            ("extend g-7k2m9q --reason x", "--for <D>"),
        ] {
            let got = wrong(line);
            assert!(got.contains(has), "{line}: {got}");
            assert!(!got.contains('\n') && !got.contains('\u{1b}'), "{got:?}");
        }
    }

    #[test]
    fn help_is_plain_text() {
        for line in ["help", "--help", "help request", "request --help"] {
            let Err(Usage::Help(text)) = from_line(line, Some(60)) else { panic!("{line}") };
            assert!(!text.contains('\u{1b}') && text.contains("Usage: ssh jit-bastion"), "{text}");
            assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        }
    }

    #[test]
    fn the_parser_is_sound() {
        command().debug_assert();
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_answered(line in ".{0,120}") {
            let _ = from_line(&line, Some(80));
        }
    }
}
