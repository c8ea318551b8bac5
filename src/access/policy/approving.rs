//! Who could approve anything at all: those who are told of new approvers, users, keys and hosts.

use super::{Allow, Policy};
use crate::access::names::RuleId;
use crate::access::person::Person;

impl Policy {
    /// Does any rule name `who` as an approver?
    pub fn could_approve(&self, who: &Person) -> bool {
        self.approves(who).next().is_some()
    }

    /// The rules that name `who` as an approver, in file order.
    pub fn approves<'a>(&'a self, who: &'a Person) -> impl Iterator<Item = &'a RuleId> {
        let names = |allow: &&Allow| allow.approve.as_ref().is_some_and(|approve| approve.by.iter().any(|by| by.matches(who)));
        self.allows.iter().filter(names).map(|allow| &allow.id)
    }
}
