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
    /// The entry's actor begins to look what access stands on a host without the bastion: over a session of its own, under a certificate
    /// that can run one fixed script alone.
    HostAuditBegun = "host-audit-begun" {
        /// The session's id.
        session: SessionId,
        /// Where.
        host: HostName,
        /// As which account.
        login: Login,
        /// Serial of the certificate, decimal.
        serial: String,
        /// Key id of the certificate, as the host's own log shows it.
        key_id: String,
        /// What for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Commitment>,
    }
    /// What such a look came to.
    HostAudited = "host-audited" {
        /// The session's id.
        session: SessionId,
        /// Where.
        host: HostName,
        /// As which account.
        login: Login,
        /// Why it ended, as in `session-closed`.
        ending: String,
        /// Keys that stand in authorized_keys files; left out if the host's answer could not be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keys: Option<u64>,
        /// Files, folders and settings that could not be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unread: Option<u64>,
        /// SHA-256 of the recording's manifest; left out if nothing could be sealed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        manifest: Option<Digest>,
        /// How many recordings.
        recordings: u64,
        /// Bytes of them.
        bytes: u64,
    }
    /// A host is no longer registered.
    HostRemoved = "host-removed" {
        /// Its name.
        host: HostName,
    }
    } };
}
pub(super) use places;
