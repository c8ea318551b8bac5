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
    } };
}
pub(super) use people;
