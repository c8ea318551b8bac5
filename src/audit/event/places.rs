//! Where sessions can go.

/// Hands these events on; see [`super`].
macro_rules! places {
    ([$then:ident $($more:ident)*] $($before:tt)*) => { $then! { [$($more)*] $($before)*
    /// A host is registered.
    HostAdded = "host-added" {
        /// Its name.
        host: HostName,
        /// Where it is: `ADDRESS:PORT`.
        address: String,
        /// Its trusted keys and authorities, as fingerprints.
        trust: String,
        /// Its logins in their order, the first is the default.
        logins: String,
        /// Its labels: `KEY` or `KEY=VALUE`.
        labels: String,
        /// Its other names.
        aliases: String,
    }
    /// A host's address, logins, labels or aliases are now these.
    HostChanged = "host-changed" {
        /// Its name.
        host: HostName,
        /// Where it is.
        address: String,
        /// Its logins.
        logins: String,
        /// Its labels.
        labels: String,
        /// Its other names.
        aliases: String,
    }
    /// A host's trusted keys are others now.
    HostKeyChanged = "host-key-changed" {
        /// Its name.
        host: HostName,
        /// Fingerprints before.
        before: String,
        /// Fingerprints now.
        trust: String,
        /// Who of those that could approve was told.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        told: String,
    }
    /// A host is no longer registered.
    HostRemoved = "host-removed" {
        /// Its name.
        host: HostName,
    }
    } };
}
pub(super) use places;
