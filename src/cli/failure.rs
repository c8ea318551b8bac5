//! How a command ends badly: refused, used wrongly, or broken by us; three types, three exit statuses.

use serde_json::json;

use crate::access::names::BadName;
use crate::access::refusal::Refusal;
use crate::broker;
use crate::config::ConfigError;

/// Refused, with the reason and a next step.
pub(super) const REFUSED: u8 = 1;
/// Wrong usage.
pub(super) const USAGE: u8 = 2;
/// A fault of ours (EX_SOFTWARE of sysexits.h).
pub(super) const FAULT: u8 = 70;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may not be, or cannot be, and the refusal says what to do.
    Refused(Refusal),
    /// The words were wrong.
    Usage(String),
    /// We broke.
    Fault(anyhow::Error),
}

impl Failure {
    /// A refusal from its parts.
    pub fn refused(code: &'static str, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(code, message).hint(next))
    }

    /// A refusal from a text that may end in a line `hint: ..`.
    pub fn from_text(code: &'static str, text: &str) -> Self {
        let (code, message, next) = split(code, text);
        Self::Refused(Refusal { code, message, next })
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Refused(_) => REFUSED,
            Self::Usage(_) => USAGE,
            Self::Fault(_) => FAULT,
        }
    }

    /// For a human, on standard error.
    pub fn text(&self) -> String {
        match self {
            Self::Refused(refusal) => format!("error: {refusal}"),
            Self::Usage(text) => format!("error: {text}"),
            Self::Fault(fault) => format!("error: {fault:#}"),
        }
    }

    /// For a program: `{"error":{"code","message","next"}}`.
    pub fn json(&self) -> serde_json::Value {
        let (code, message, next) = match self {
            Self::Refused(refusal) => (refusal.code, refusal.message.clone(), refusal.next.clone()),
            Self::Usage(text) => split("usage", text),
            Self::Fault(fault) => split("fault", &format!("{fault:#}")),
        };
        json!({ "error": { "code": code, "message": message, "next": next } })
    }
}

fn split(code: &'static str, text: &str) -> (&'static str, String, Option<String>) {
    match text.split_once("\nhint: ") {
        Some((message, next)) => (code, message.to_owned(), Some(next.to_owned())),
        None => (code, text.to_owned(), None),
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(fault: anyhow::Error) -> Self {
        Self::Fault(fault)
    }
}

impl From<BadName> for Failure {
    fn from(bad: BadName) -> Self {
        Self::Usage(bad.to_string())
    }
}

impl From<broker::Error> for Failure {
    fn from(error: broker::Error) -> Self {
        match error {
            broker::Error::Refused(refusal) => Self::Refused(refusal),
            broker::Error::Fault(fault) => Self::Fault(fault.into()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(wrong: ConfigError) -> Self {
        Self::from_text("config", &wrong.to_string())
    }
}
