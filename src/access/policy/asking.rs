//! Who a host is open to at all.

use super::{Policy, Who};
use crate::access::host::Host;
use crate::access::names::RuleId;

impl Policy {
    /// The allows that speak of `host`, in file order, and of whom each speaks. Denies are left aside.
    pub fn asks_for<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = (&'a RuleId, &'a [Who])> {
        let speaks = |pattern: &super::HostPattern| pattern.matches(host);
        self.allows.iter().filter(move |allow| allow.hosts.iter().any(speaks)).map(|allow| (&allow.id, allow.who.as_slice()))
    }
}
