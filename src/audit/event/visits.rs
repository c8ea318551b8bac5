//! Sessions and who looks at their recordings.

/// Hands these events on; see [`super`].
macro_rules! visits {
    ([$then:ident $($more:ident)*] $($before:tt)*) => { $then! { [$($more)*] $($before)*
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
        /// Serial of the access certificate that the connection was proven with, decimal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pass: Option<String>,
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
        /// When it happened, where the store did not answer then: the entry's own time is when it could be written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        happened_us: Option<Timestamp>,
        /// And how much later that was, in microseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        written_late_us: Option<u64>,
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
    /// A stream inside a session began as SSH does: a tunnel in the tunnel, and what it carries is ciphertext.
    SessionTunnelled = "session-tunnelled" {
        /// Which session.
        session: SessionId,
        /// Which channel of it.
        channel: u64,
        /// What the channel was opened for: `forward`, `exec`.
        kind: String,
    }
    /// Somebody looked over the shoulder of who was inside; the entry's actor.
    SessionWatched = "session-watched" {
        /// Whose session.
        session: SessionId,
        /// Which channel, where one was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<u64>,
        /// What for.
        purpose: Commitment,
        /// Whether numbers that name a person were covered.
        shown: Showing,
    }
    /// Somebody opened a recording; the entry's actor.
    RecordingOpened = "recording-opened" {
        /// Whose recording.
        session: SessionId,
        /// Which channel of it; left out: all that tell of files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<u64>,
        /// What for; the first versions did not ask.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Commitment>,
        /// Whether what was typed, and numbers that name a person, were covered; the first versions did not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shown: Option<Showing>,
    }
    /// Somebody sought a text in recordings; the entry's actor.
    RecordingsSearched = "recordings-searched" {
        /// What was sought.
        text: Commitment,
        /// Only in recordings of this user.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<User>,
        /// On this host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<HostName>,
        /// As this account.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<Login>,
        /// How many lines were found and shown; the first versions did not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<u64>,
        /// What for, if they said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Commitment>,
    }
    /// Somebody took a session's text out of the index; its recordings stay.
    TextErased = "text-erased" {
        /// Whose.
        session: SessionId,
        /// How many pieces there were.
        pieces: u64,
        /// Why.
        note: Commitment,
    }
    /// Somebody took a session's recordings out, with what proves them; the entry's actor.
    RecordingsExported = "recordings-exported" {
        /// Whose recordings.
        session: SessionId,
        /// For whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<User>,
        /// What for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Commitment>,
    }
    /// Somebody took a copy of the log out; the entry's actor.
    LogExported = "log-exported" {
        /// How many entries it has: all before this one.
        entries: u64,
    }
    } };
}
pub(super) use visits;
