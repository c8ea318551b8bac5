//! Who is asking, as policy sees them at this moment; and a user's account, whose roles come and go by date.

pub mod sheet;

use std::collections::BTreeSet;
use std::fmt;

use super::names::{Role, User, Vendor};
use super::time::Timestamp;

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

/// A role, and when it is held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// Which.
    pub role: Role,
    /// Not before this; none: since ever.
    pub from: Option<Timestamp>,
    /// Not from this on; none: without an end.
    pub until: Option<Timestamp>,
}

impl Held {
    /// Since ever and without an end.
    pub fn always(role: Role) -> Self {
        Self { role, from: None, until: None }
    }

    /// Is it held at `now`? At its end it no longer is.
    pub fn at(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

impl fmt::Display for Held {
    /// `dba`, `dba from TIME`, `dba until TIME`, `dba from TIME until TIME`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.role)?;
        self.from.map_or(Ok(()), |from| write!(f, " from {from}"))?;
        self.until.map_or(Ok(()), |until| write!(f, " until {until}"))
    }
}

/// A user as an administrator describes them; their keys apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The human.
    pub user: User,
    /// The firm they work for, if they are not staff.
    pub vendor: Option<Vendor>,
    /// From here on the account may do nothing: the end of a contract.
    pub until: Option<Timestamp>,
    /// Their roles by name, each once.
    pub roles: Vec<Held>,
}

impl Account {
    /// As policy sees them at `now`, with the roles of that moment. Whether they may act at all is [`Account::stands`].
    pub fn person(&self, now: Timestamp) -> Person {
        self.with(|held| held.at(now))
    }

    /// With every role that they hold at any time: what they could do some day.
    pub fn some_day(&self) -> Person {
        self.with(|_| true)
    }

    /// Has the contract not ended?
    pub fn stands(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn with(&self, counts: impl Fn(&Held) -> bool) -> Person {
        let roles = self.roles.iter().filter(|held| counts(held)).map(|held| held.role.clone()).collect();
        Person { user: self.user.clone(), roles, vendor: self.vendor.clone() }
    }
}

impl From<Person> for Account {
    /// With these roles since ever and without an end.
    fn from(person: Person) -> Self {
        let Person { user, roles, vendor } = person;
        Self { user, vendor, until: None, roles: roles.into_iter().map(Held::always).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn a_role_is_held_from_its_begin_until_before_its_end() {
        let role: Role = "dba".parse().unwrap();
        let held = Held { role: role.clone(), from: Some(at(10)), until: Some(at(20)) };
        let days: Vec<i64> = (0..30).filter(|micros| held.at(at(*micros))).collect();
        assert_eq!(days, (10..20).collect::<Vec<_>>());
        assert!(Held::always(role.clone()).at(at(i64::MIN)));
        let account = Account { user: "alice".parse().unwrap(), vendor: None, until: Some(at(15)), roles: vec![held] };
        assert!(account.person(at(9)).roles.is_empty());
        assert!(account.person(at(10)).roles.contains(&role) && account.some_day().roles.contains(&role));
        assert!(account.stands(at(14)) && !account.stands(at(15)));
    }
}
