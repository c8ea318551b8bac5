//! The closed vocabularies inside events.

use serde::{Deserialize, Serialize};

/// A list as the log writes it: sorted, without doubles, joined with commas.
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let sorted: std::collections::BTreeSet<String> = items.into_iter().map(|item| item.to_string()).collect();
    sorted.into_iter().collect::<Vec<_>>().join(",")
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateKind {
    /// Opens one login on one host, for one session.
    Session,
    /// Lets the bastion answer for a host, or for itself.
    Host,
    /// Opens the bastion for a grant's time.
    Access,
}

/// How a grant came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Begin {
    /// The last approval of its quorum; the entry's actor gave it.
    Approved,
    /// The rule asks for no approval.
    AtOnce,
}

/// What took a grant away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Somebody said so; the entry's actor.
    Asked,
    /// A reloaded policy no longer allows it.
    Policy,
    /// A role was removed from its user.
    Role,
    /// Its user was disabled, or lost the key.
    User,
    /// Its host was removed, or its login.
    Host,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_text() {
        assert_eq!(list(["b", "a", "b"]), "a,b");
        assert_eq!(list(Vec::<String>::new()), "");
    }
}
