//! The closed vocabularies inside events, and the macro that makes the enum of events with its names.

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

/// How a recording or a session was shown to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Showing {
    /// What was typed, and numbers that name a person, were covered.
    Masked,
    /// As it was.
    Unmasked,
}

/// Makes `Event` of lines `Name = "stable-name" { field: type }`, so that a name is written once.
macro_rules! events {
    ([] $( $(#[$doc:meta])* $name:ident = $text:literal { $( $(#[$field_doc:meta])* $field:ident : $type:ty ),* $(,)? } )*) => {
        /// Everything that can happen.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "event", content = "data", deny_unknown_fields)]
        pub enum Event {
            $( $(#[$doc])* #[serde(rename = $text)] $name { $( $(#[$field_doc])* $field: $type ),* }, )*
        }

        impl Event {
            /// Every name, in the order of the enum.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// Its stable name.
            pub const fn name(&self) -> &'static str {
                match self { $( Self::$name { .. } => $text, )* }
            }
        }
    };
}
pub(super) use events;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_text() {
        assert_eq!(list(["b", "a", "b"]), "a,b");
        assert_eq!(list(Vec::<String>::new()), "");
    }
}
