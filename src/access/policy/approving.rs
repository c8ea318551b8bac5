//! Who could approve anything at all: those who are told of new approvers, users, keys and hosts.

use super::{Approvers, Policy};
use crate::access::names::RuleId;
use crate::access::person::Person;

impl Policy {
    /// Does any rule or floor name `who` as an approver?
    pub fn could_approve(&self, who: &Person) -> bool {
        self.approves(who).next().is_some()
    }

    /// The rules, then the floors, that name `who` as an approver, in file order.
    pub fn approves<'a>(&'a self, who: &'a Person) -> impl Iterator<Item = &'a RuleId> {
        let names = |approve: &Option<Approvers>| approve.as_ref().is_some_and(|approve| approve.by.iter().any(|by| by.matches(who)));
        let rules = self.allows.iter().map(|allow| (&allow.id, &allow.approve));
        let floors = self.requires.iter().map(|floor| (&floor.id, &floor.approve));
        rules.chain(floors).filter(move |(_, approve)| names(approve)).map(|(id, _)| id)
    }
}
