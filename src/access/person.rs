//! Who is asking, as policy sees them at this moment.

use std::collections::BTreeSet;

use super::names::{Role, User, Vendor};

/// A user with what policy may select them by. Made from the store when a key has been proven; never kept longer than one act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The human.
    pub user: User,
    /// The roles they hold now.
    pub roles: BTreeSet<Role>,
    /// The firm they work for, if they are not staff.
    pub vendor: Option<Vendor>,
}

impl Person {
    /// Somebody of the staff with these roles.
    pub fn staff(user: User, roles: impl IntoIterator<Item = Role>) -> Self {
        Self { user, roles: roles.into_iter().collect(), vendor: None }
    }
}
