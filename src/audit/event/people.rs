//! Who is known.

/// Hands these events on; see [`super`].
macro_rules! people {
    ([$then:ident $($more:ident)*] $($before:tt)*) => { $then! { [$($more)*] $($before)*
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
        /// When their contract, and with it the account, ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_us: Option<Timestamp>,
        /// Who of those that could approve was told.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        told: String,
    }
    /// A user works for another firm, or their contract ends at another time.
    UserChanged = "user-changed" {
        /// Who.
        user: User,
        /// The vendor that they work for now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vendor: Option<String>,
        /// When their contract ends now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_us: Option<Timestamp>,
        /// Who of those that could approve was told.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        told: String,
    }
    /// A user's roles changed; one that is held from or until a date is written `ROLE from TIME until TIME`.
    UserRolesChanged = "user-roles-changed" {
        /// Who.
        user: User,
        /// Their roles before.
        before: String,
        /// Their roles now.
        roles: String,
        /// Who of those that could approve was told.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        told: String,
    }
    /// A key belongs to a user.
    UserKeyAdded = "user-key-added" {
        /// Who.
        user: User,
        /// The key's fingerprint.
        key: String,
        /// Who of those that could approve was told.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        told: String,
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
        /// What was said with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Commitment>,
    }
    /// A disabled user may again.
    UserEnabled = "user-enabled" {
        /// Who.
        user: User,
        /// Who of those that could approve was told.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        told: String,
    }
    /// Somebody may bring a key; the user is known from here on, and nothing opens for them yet.
    UserInvited = "user-invited" {
        /// The invitation.
        invite: InviteId,
        /// Whom.
        user: User,
        /// The roles of a new user; empty for one who was known.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        roles: String,
        /// The vendor that a new user works for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vendor: Option<String>,
        /// When a new user's contract ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_us: Option<Timestamp>,
        /// Who may confirm beside the administrators.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sponsor: Option<User>,
        /// When the code stops counting.
        ends_us: Timestamp,
        /// Who of those that could approve was told.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        told: String,
    }
    /// A key was proven under the invitation's code; it opens nothing until it is confirmed.
    InviteUsed = "invite-used" {
        /// The invitation.
        invite: InviteId,
        /// Whom it was for.
        user: User,
        /// The key's fingerprint.
        key: String,
        /// Where the client came from: `ADDRESS:PORT`.
        client: String,
    }
    /// The entry's actor confirmed that the key is the invited user's: it is theirs from here on.
    InviteConfirmed = "invite-confirmed" {
        /// The invitation.
        invite: InviteId,
        /// Whose the key is.
        user: User,
        /// The key's fingerprint.
        key: String,
        /// Who of those that could approve was told.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        told: String,
    }
    /// The entry's actor said that the key is not the invited user's.
    InviteRefused = "invite-refused" {
        /// The invitation.
        invite: InviteId,
        /// Whom it was for.
        user: User,
        /// The key's fingerprint.
        key: String,
        /// What was said with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Commitment>,
    }
    /// The invitation was taken back.
    InviteWithdrawn = "invite-withdrawn" {
        /// Which.
        invite: InviteId,
        /// Whom it was for.
        user: User,
    }
    /// Too many wrong codes were tried with it: it is worth nothing any more.
    InviteBarred = "invite-barred" {
        /// Which.
        invite: InviteId,
        /// Whom it was for.
        user: User,
        /// Where the last of them came from: `ADDRESS:PORT`.
        client: String,
    }
    /// A key of a user has another name.
    UserKeyRenamed = "user-key-renamed" {
        /// Whose.
        user: User,
        /// The key's fingerprint.
        key: String,
    }
    } };
}
pub(super) use people;
