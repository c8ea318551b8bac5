//! Everything that can be logged. The enum is closed and its names are stable: old logs must verify and read for ever.
//!
//! Fields are text and integers only. Lists are written as text, sorted and joined with commas; times are integers, microseconds since
//! 1970 in UTC (`_us`); lengths are seconds (`_s`) or milliseconds (`_ms`). Text that somebody typed freely (reason, note, command line,
//! path, a name that we do not know) enters as a [`Commitment`].

use serde::{Deserialize, Serialize};

use super::commitment::Commitment;
use super::digest::Digest;
use super::words::events;
pub use super::words::{Begin, Cause, CertificateKind, list};
use crate::access::names::{GrantId, HostName, Login, RequestId, RuleId, SessionId, User};
use crate::access::time::Timestamp;

events! {
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
    }
    /// A policy is in force.
    PolicyLoaded = "policy-loaded" {
        /// SHA-256 of its text.
        policy: Digest,
        /// How many rules it has.
        rules: u64,
    }
    /// A policy was refused; the one before stays.
    PolicyRefused = "policy-refused" {
        /// SHA-256 of the refused text.
        policy: Digest,
        /// What was wrong with it.
        error: Commitment,
    }
    /// A user is known.
    UserAdded = "user-added" {
        /// Who.
        user: User,
        /// Their roles.
        roles: String,
        /// Their keys' fingerprints.
        keys: String,
        /// The vendor that they work for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vendor: Option<String>,
    }
    /// A user's roles changed.
    UserRolesChanged = "user-roles-changed" {
        /// Who.
        user: User,
        /// Their roles before.
        before: String,
        /// Their roles now.
        roles: String,
    }
    /// A key belongs to a user.
    UserKeyAdded = "user-key-added" {
        /// Who.
        user: User,
        /// The key's fingerprint.
        key: String,
    }
    /// A key belongs to nobody any more.
    UserKeyRemoved = "user-key-removed" {
        /// Who had it.
        user: User,
        /// The key's fingerprint.
        key: String,
    }
    /// A user may do nothing any more.
    UserDisabled = "user-disabled" {
        /// Who.
        user: User,
    }
    /// A disabled user may again.
    UserEnabled = "user-enabled" {
        /// Who.
        user: User,
    }
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
    }
    /// A host is no longer registered.
    HostRemoved = "host-removed" {
        /// Its name.
        host: HostName,
    }
    /// Somebody asks.
    RequestFiled = "request-filed" {
        /// Its id.
        request: RequestId,
        /// Who asks.
        user: User,
        /// For which host.
        host: HostName,
        /// And login on it.
        login: Login,
        /// Channel kinds.
        channels: String,
        /// For how long.
        length_s: u64,
        /// From when, if not from the approval on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_us: Option<Timestamp>,
        /// Why.
        reason: Commitment,
        /// The ticket named with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<String>,
        /// The rule that binds.
        rule: RuleId,
        /// SHA-256 of the policy it stands in.
        policy: Digest,
        /// How many approvals it needs; 0: none.
        quorum: u64,
    }
    /// One approval, by the entry's actor. The one that fills the quorum is logged with the grant, as `grant-begun`.
    RequestApproved = "request-approved" {
        /// Which.
        request: RequestId,
        /// What the approver said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Commitment>,
        /// Shortened to this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length_s: Option<u64>,
        /// Narrowed to these.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channels: Option<String>,
        /// Approvals so far, this one among them.
        approvals: u64,
        /// Approvals needed.
        quorum: u64,
    }
    /// The entry's actor said no.
    RequestDenied = "request-denied" {
        /// Which.
        request: RequestId,
        /// What the approver said.
        note: Commitment,
    }
    /// The asker took it back.
    RequestWithdrawn = "request-withdrawn" {
        /// Which.
        request: RequestId,
    }
    /// Nobody answered in time.
    RequestLapsed = "request-lapsed" {
        /// Which.
        request: RequestId,
    }
    /// A right begins.
    GrantBegun = "grant-begun" {
        /// Its id.
        grant: GrantId,
        /// The request it came from.
        request: RequestId,
        /// Whose it is.
        user: User,
        /// For which host.
        host: HostName,
        /// And login on it.
        login: Login,
        /// Channel kinds.
        channels: String,
        /// When it begins.
        begins_us: Timestamp,
        /// When it ends.
        ends_us: Timestamp,
        /// The one rule that it is bound to.
        rule: RuleId,
        /// SHA-256 of the policy that the rule stands in.
        policy: Digest,
        /// How it came to be.
        how: Begin,
        /// Approvals given, the last one among them; 0 if none was needed.
        approvals: u64,
        /// What the last approver said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Commitment>,
    }
    /// Its time is over.
    GrantEnded = "grant-ended" {
        /// Which.
        grant: GrantId,
    }
    /// Its holder was done early.
    GrantClosed = "grant-closed" {
        /// Which.
        grant: GrantId,
    }
    /// It was taken away.
    GrantRevoked = "grant-revoked" {
        /// Which.
        grant: GrantId,
        /// By what.
        cause: Cause,
        /// What was said with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Commitment>,
    }
    /// It ends later.
    GrantExtended = "grant-extended" {
        /// Which.
        grant: GrantId,
        /// The end before.
        before_us: Timestamp,
        /// The end now.
        ends_us: Timestamp,
        /// Why.
        reason: Commitment,
    }
    /// A visit begins.
    SessionOpened = "session-opened" {
        /// Its id.
        session: SessionId,
        /// The grant that admits it.
        grant: GrantId,
        /// The request behind the grant.
        request: RequestId,
        /// Who.
        user: User,
        /// Where.
        host: HostName,
        /// As which account.
        login: Login,
        /// The rule that the grant is bound to.
        rule: RuleId,
        /// Where the client comes from: `ADDRESS:PORT`.
        client: String,
        /// Fingerprint of the user's key.
        key: String,
        /// Serial of the session's certificate, decimal (it has 63 bits).
        serial: String,
        /// Key id of the session's certificate, as the host's own log shows it.
        key_id: String,
    }
    /// A visit is over and its recordings are sealed.
    SessionClosed = "session-closed" {
        /// Which.
        session: SessionId,
        /// Why: `left`, `time-up`, `closed`, `revoked`, `killed`, `idle`, `over-budget`, `recorder-failed`, `store-lost`, `peer-gone`, `shutdown`.
        ending: String,
        /// From the end time or the decision until the host's connection was closed, measured at our socket. Left out where nothing was cut.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        late_host_ms: Option<u64>,
        /// The same for the client's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        late_client_ms: Option<u64>,
        /// SHA-256 of the recordings' manifest; left out if they could not be sealed (see `ending`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        manifest: Option<Digest>,
        /// How many recordings.
        recordings: u64,
        /// Bytes seen, of all channels.
        bytes: u64,
    }
    /// The entry's actor ends a visit; its `session-closed` follows.
    SessionKilled = "session-killed" {
        /// Which.
        session: SessionId,
        /// What was said with it.
        note: Commitment,
    }
    /// A visit that a crash interrupted; its recordings were finished from the journal at the next start.
    SessionRecovered = "session-recovered" {
        /// Which.
        session: SessionId,
        /// SHA-256 of the recordings' manifest; left out if the journal held nothing that could be sealed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        manifest: Option<Digest>,
        /// How many recordings.
        recordings: u64,
        /// Bytes seen, of all channels.
        bytes: u64,
    }
    /// A known user did not get in. The asker cannot tell an unknown host from an invisible one; this tells them apart.
    SessionRefused = "session-refused" {
        /// Who.
        user: User,
        /// Where the client comes from: `ADDRESS:PORT`.
        client: String,
        /// The registered host that was meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<HostName>,
        /// What was typed, where it led to no host that the asker may know of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        typed: Option<Commitment>,
        /// As which account, if that was clear.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<Login>,
        /// The refusal's code.
        code: String,
    }
    /// Somebody opened a recording; the entry's actor.
    RecordingOpened = "recording-opened" {
        /// Whose recording.
        session: SessionId,
        /// Which channel of it.
        channel: u64,
        /// What for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Commitment>,
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_kebab_case() {
        assert_eq!(Event::ClockAlarm { jump_ms: 1 }.name(), "clock-alarm");
        let kebab = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(Event::NAMES.iter().all(kebab));
        let distinct: std::collections::BTreeSet<_> = Event::NAMES.iter().collect();
        assert_eq!(distinct.len(), Event::NAMES.len());
    }
}
