//! The words that people type: read by one parser, run against the broker, answered as text or as JSON. Used by the SSH wing and by the
//! local command line; never imports either, and changes nothing but through the broker.

mod account;
mod decide;
mod explain;
mod extend;
mod files;
mod invites;
mod json;
mod keys;
mod limited;
mod notices;
pub mod page;
pub mod parse;
mod playing;
mod purpose;
mod recordings;
mod replay;
mod request;
mod rights;
mod run;
mod search;
mod sessions;
mod show;
mod showing;
pub mod sink;
mod still;
pub mod table;
pub mod text;
mod watch;
mod whereto;
pub mod words;

#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::Value;

pub use json::{request as request_json, session as session_json};

use crate::access::names::Actor;
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error, Proof};

pub use files::Listing;
pub use json::print as print_json;
pub use parse::{Door, Parsed, Usage, Verb, command, from_line, from_words};
pub use replay::only_by_key;
pub use run::{run, wrong_usage};
pub use showing::{Broken, How, show};
pub use sink::{Collected, Happening, INPUT_AT_MOST, Sink, Waiting};
pub use text::Look;

/// Who typed the words, and how they read the answer.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who acts, as events name them.
    pub actor: Actor,
    /// The human whose key was proven; none on the bastion's own command line.
    pub person: Option<Person>,
    /// How they were proven; none on the bastion's own command line.
    pub proof: Option<Proof>,
    /// Width and colour of their terminal.
    pub look: Look,
    /// Its rows, where there is one; `replay` draws in it.
    pub rows: Option<u16>,
}

impl Caller {
    /// The human, or the refusal of a word that only a proven key may say.
    fn human(&self, verb: &str, words: &str) -> Result<&Person, Refusal> {
        let only = || {
            Refusal::new("ssh-only", format!("{verb} exists only over SSH, where a key proves who"))
                .hint(format!("ssh jit-bastion {verb} {words}"))
        };
        self.person.as_ref().ok_or_else(only)
    }
}

/// What a verb answers, both ways.
#[derive(Debug, Clone)]
struct Answer {
    human: String,
    json: Value,
    /// 0, or 1 for an answer that is a no (`request --wait` that was denied).
    status: u8,
}

impl Answer {
    fn done(human: impl Into<String>, json: Value) -> Self {
        Self { human: human.into(), json, status: 0 }
    }
}

/// What was read from the store; what went wrong there is a fault, in the log under its id.
fn read<T>(broker: &Broker, got: Result<T, impl fmt::Display>) -> Result<T, Error> {
    got.map_err(|error| broker.fault(&error).into())
}
