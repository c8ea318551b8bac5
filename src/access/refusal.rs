//! The vocabulary of no. A refusal is not a fault: nothing broke, somebody may not; and it always says what to do next.

use std::fmt;

use super::names::{HostName, escaped};

/// You may not: a stable code for programs, one sentence, and the next step.
/// Shown as the sentence, then a line `hint: ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, kebab-case: `no-such-host`, `not-covered`, `denied`.
    pub code: &'static str,
    /// One sentence: lower case, no full stop; what was wrong.
    pub message: String,
    /// What to do next, if there is anything.
    pub next: Option<String>,
}

impl Refusal {
    /// Without a next step yet; see [`Refusal::hint`].
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), next: None }
    }

    /// Adds the next step.
    #[must_use]
    pub fn hint(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The one answer about any name that is not visible to the asker, whether such a host exists or not.
    pub fn no_such_host(typed: &str) -> Self {
        let shown: String = escaped(typed).chars().take(253).collect();
        Self::new("no-such-host", format!("no host \"{shown}\" that you may ask for"))
            .hint("`ssh jit-bastion hosts` lists where you may ask to go")
    }

    /// The one answer about any id that is not the asker's to see, whether it exists or not.
    pub fn no_such(what: &'static str, id: &impl fmt::Display) -> Self {
        let list = match what {
            "request" => "requests",
            "grant" => "grants",
            "session" => "sessions",
            _ => "recordings",
        };
        Self::new("no-such-id", format!("no {what} \"{id}\" that you may see")).hint(format!("`ssh jit-bastion {list}` lists yours"))
    }

    /// The asker's rules have no such act, anywhere or on this host.
    pub fn may_not(act: &str, host: Option<&HostName>) -> Self {
        let place = host.map_or_else(String::new, |h| format!(" on {h}"));
        Self::new("may-not", format!("no rule lets you {act}{place}")).hint("a [[may]] rule in the policy gives this; ask an administrator")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.next {
            Some(next) => write!(f, "\nhint: {next}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_next() {
        let refusal = Refusal::no_such_host("x\u{1b}[2J");
        assert_eq!(
            refusal.to_string(),
            "no host \"x\\u{1b}[2J\" that you may ask for\nhint: `ssh jit-bastion hosts` lists where you may ask to go"
        );
    }
}
