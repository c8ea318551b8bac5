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
        /// Who of those that could approve was told.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        told: String,
    }
    /// A user's roles changed.
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
    }
    /// A disabled user may again.
    UserEnabled = "user-enabled" {
        /// Who.
        user: User,
    }
    } };
}
pub(super) use people;
