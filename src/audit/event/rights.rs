//! Requests and the grants that come of them.

/// Hands these events on; see [`super`].
macro_rules! rights {
    ([$then:ident $($more:ident)*] $($before:tt)*) => { $then! { [$($more)*] $($before)*
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
        /// More time of this grant is asked for, from its end (`from_us`) on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        extends: Option<GrantId>,
    }
    /// One approval, by the entry's actor. The one that fills the quorum is logged with the grant, as `grant-begun` or
    /// `grant-extended`.
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
        /// The approval was signed: the key's fingerprint and the SHA-256 of the signature, a blank between them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
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
        /// The last approval was signed: the key's fingerprint and the SHA-256 of the signature, a blank between them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
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
        /// The request that was approved; none: its holder alone, as its rule lets them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
        /// Approvals given, the last one among them; 0 if none was needed.
        approvals: u64,
        /// Why, where there is no request that says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Commitment>,
        /// What the last approver said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Commitment>,
        /// The last approval was signed: the key's fingerprint and the SHA-256 of the signature, a blank between them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    }
    } };
}
pub(super) use rights;
