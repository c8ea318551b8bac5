//! What happens to the bastion itself: its keys, its policy, its clock.

/// Hands these events on; see [`super`].
macro_rules! installation {
    ([$then:ident $($more:ident)*] $($before:tt)*) => { $then! { [$($more)*] $($before)*
    /// `init` made the keys. Public keys as fingerprints (`SHA256:..`).
    Initialised = "initialised" {
        /// The program's version.
        version: String,
        /// The checkpoint key, in C2SP's verifier form.
        checkpoint_key: String,
        /// Shown to clients on the outer hop.
        outer_host_key: String,
        /// Shown on the inner hop to clients without host certificates.
        inner_host_key: String,
        /// Hosts trust it.
        session_ca: String,
        /// Clients trust it.
        host_ca: String,
        /// Only the bastion trusts it.
        access_ca: String,
    }
    /// The bastion began to serve.
    BastionStarted = "bastion-started" {
        /// The program's version.
        version: String,
        /// The key that signs this log's heads, in C2SP's verifier form.
        checkpoint_key: String,
    }
    /// The bastion was told to stop, and did.
    BastionStopped = "bastion-stopped" {
        /// How many sessions it ended.
        sessions: u64,
        /// When it happened, where the store did not answer then: the entry's own time is when it could be written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        happened_us: Option<Timestamp>,
        /// And how much later that was, in microseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        written_late_us: Option<u64>,
    }
    /// The store did not answer for a while, and does again; what happened meanwhile stands before this, marked as late.
    StoreBack = "store-back" {
        /// Since when it was silent.
        since_us: Timestamp,
        /// For how long.
        lost_ms: u64,
        /// How many events were written late.
        written: u64,
    }
    /// The entry's actor has made a backup.
    BackupMade = "backup-made" {
        /// SHA-256 of its list of digests, `SHA256SUMS`.
        sums: Digest,
    }
    /// A policy is in force.
    PolicyLoaded = "policy-loaded" {
        /// SHA-256 of its text.
        policy: Digest,
        /// How many rules it has.
        rules: u64,
        /// How many users gain by it.
        #[serde(default)]
        gain: u64,
        /// How many users lose by it.
        #[serde(default)]
        lose: u64,
        /// For how many users terms change that are neither.
        #[serde(default)]
        change: u64,
        /// Who gains what and who loses what, a line each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<Commitment>,
    }
    /// A policy was refused; the one before stays.
    PolicyRefused = "policy-refused" {
        /// SHA-256 of the refused text.
        policy: Digest,
        /// What was wrong with it.
        error: Commitment,
    }
    /// A key of the installation was replaced, or will be.
    KeyTurned = "key-turned" {
        /// Which: `session`, `host`, `access`, `host-key-outer`, `host-key-inner`, `checkpoint`.
        key: String,
        /// Where the new key stands: `next` (others learn it) or `active` (it signs).
        stage: String,
        /// The new key's fingerprint.
        fingerprint: String,
        /// The fingerprint of the key that signed before, or signs until the new one is active.
        before: String,
        /// Until when that one is trusted; left out: no more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before_until_us: Option<Timestamp>,
        /// `planned`, or `emergency`: the key before was stolen.
        how: String,
    }
    /// The keys are sealed under another passphrase.
    PassphraseChanged = "passphrase-changed" {}
    /// A certificate was signed that is not part of `session-opened`.
    CertificateIssued = "certificate-issued" {
        /// What for.
        kind: CertificateKind,
        /// Its serial, decimal.
        serial: String,
        /// Its key id.
        key_id: String,
        /// Fingerprint of the certified key.
        key: String,
        /// Its principals.
        principals: String,
        /// When it ends.
        until_us: Timestamp,
    }
    /// Wall time and boot time disagree; new certificates stop until somebody confirms the clock.
    ClockAlarm = "clock-alarm" {
        /// How far the wall jumped; negative: back.
        jump_ms: i64,
    }
    /// The clock was confirmed by the entry's actor.
    ClockConfirmed = "clock-confirmed" {}
    /// From here on this key signs the log's heads.
    CheckpointKeyChanged = "checkpoint-key-changed" {
        /// The key, in C2SP's verifier form.
        checkpoint_key: String,
    }
    } };
}
pub(super) use installation;
