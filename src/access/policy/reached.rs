//! Can a quorum be reached at all? Without the users, as far as the file names humans one by one; with them, by counting.

use std::collections::{BTreeMap, BTreeSet};

use super::Policy;
use super::bound::{Approvers, BoundRule, Floor, MOST_HUMANS};
use super::compare::classed;
use super::rules::{Allow, Require};
use super::selector::{Glob, HostPattern, Who};
use crate::access::host::Host;
use crate::access::names::{Role, RuleId, User, Vendor};
use crate::access::person::Person;

/// A rule whose quorum cannot be reached, whoever holds which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Short {
    pub quorum: u32,
    pub most: u32,
    /// The floor that makes it so; none: the rule alone.
    pub floor: Option<RuleId>,
}

/// Looks at `allow` alone, then with each floor that lies under everything it gives.
pub(super) fn unreached(allow: &Allow, floors: &[&Require]) -> Option<Short> {
    let mut rule = bare(allow);
    if let Some(short) = short(allow, &rule, None) {
        return Some(short);
    }
    for floor in floors.iter().filter(|floor| lies_under_all(floor, allow)) {
        let Some(approve) = &floor.approve else { continue };
        rule.floors.push(Floor { id: floor.id.clone(), approve: approve.clone() });
        if let Some(short) = short(allow, &rule, Some(&floor.id)) {
            return Some(short);
        }
    }
    None
}

fn short(allow: &Allow, rule: &BoundRule, floor: Option<&RuleId>) -> Option<Short> {
    let everybody = imagined(rule);
    let named = allow.who.iter().filter_map(|who| if let Who::User(user) = who { Some(user) } else { None });
    // Somebody who approves nothing asks too, unless the rule names its askers one by one.
    let nobody = User::parse("nobody").ok();
    let others = nobody.iter().filter(|_| allow.who.iter().any(|who| !matches!(who, Who::User(_))));
    let missing = named.chain(others).map(|asker| rule.missing(asker, &everybody)).max()?;
    let quorum = rule.quorum();
    (missing > 0).then(|| Short { quorum, most: quorum.saturating_sub(missing), floor: floor.cloned() })
}

/// Everybody who could say yes: those named one by one, and as many as it takes for each role and vendor.
fn imagined(rule: &BoundRule) -> Vec<Person> {
    let mut people = Vec::new();
    let mut taken: BTreeSet<User> = BTreeSet::new();
    for who in rule.named() {
        if let Who::User(user) = who {
            taken.insert(user.clone());
            people.push(Person::staff(user.clone(), []));
        }
    }
    for (group, who) in rule.named().into_iter().enumerate() {
        let (role, vendor): (Option<Role>, Option<Vendor>) = match who {
            Who::User(_) => continue,
            Who::Everybody => (None, None),
            Who::Role(role) => (Some(role.clone()), None),
            Who::Vendor(vendor) => (None, Some(vendor.clone())),
            Who::AnyVendor => (None, Vendor::parse("any").ok()),
        };
        let names = (0..).filter_map(|number: u32| User::parse(&format!("somebody-{group}-{number}")).ok());
        for user in names.filter(|user| !taken.contains(user)).take(MOST_HUMANS as usize + taken.len().min(1)) {
            people.push(Person { user, roles: role.iter().cloned().collect(), vendor: vendor.clone() });
        }
    }
    people
}

fn bare(allow: &Allow) -> BoundRule {
    let approve: Option<Approvers> = allow.approve.clone();
    BoundRule {
        id: allow.id.clone(),
        text: String::new(),
        policy: String::new(),
        approve,
        max_duration: allow.max_duration,
        default_duration: allow.default_duration,
        lapse: allow.lapse,
        idle: None,
        idle_commands: false,
        record_input: false,
        unindexed: false,
        extend: None,
        signed: false,
        require_cert: false,
        egress: None,
        egress_filed: None,
        keep: None,
        statements: Default::default(),
        direct: false,
        reason_min_length: None,
        ticket: false,
        floors: vec![],
    }
}

/// Is the floor under whatever the rule gives, as far as the words alone can tell?
fn lies_under_all(floor: &Require, allow: &Allow) -> bool {
    let who = |list: &Vec<Who>| {
        let within = |mine: &Who| list.contains(mine) || (matches!(mine, Who::Vendor(_)) && list.contains(&Who::AnyVendor));
        list.contains(&Who::Everybody) || allow.who.iter().all(within)
    };
    let hosts = |list: &Vec<HostPattern>| {
        let all = list.iter().any(|pattern| matches!(pattern, HostPattern::Name(glob) if glob.is_all()));
        all || allow.hosts.iter().all(|pattern| list.contains(pattern))
    };
    let logins = |list: &Vec<Glob>| list.iter().any(Glob::is_all) || allow.logins.iter().all(|glob| list.contains(glob));
    let scope = &floor.scope;
    scope.who.as_ref().is_none_or(who)
        && scope.hosts.as_ref().is_none_or(hosts)
        && scope.logins.as_ref().is_none_or(logins)
        && scope.channels.as_ref().is_none_or(|kinds| allow.channels.channels().iter().all(|kind| kinds.covers(kind)))
}

/// Somebody's asks that nobody can grant: too few of those who exist may say yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// The rule that would bind.
    pub rule: RuleId,
    /// Who must say yes, as the policy names them.
    pub approvers: String,
    /// How many of them.
    pub quorum: u32,
    /// How many are missing.
    pub missing: u32,
    /// Whose asks wait in vain.
    pub askers: Vec<User>,
    /// No asker at all can reach it.
    pub never: bool,
}

impl Policy {
    /// Counts the approvers that there are: each rule and its floors, on every host, for everybody who may ask.
    pub fn unreached(&self, people: &[Person], hosts: &[Host]) -> Vec<Unreached> {
        let kinds = self.kinds();
        let mut judged: BTreeMap<(RuleId, String), (BoundRule, BTreeSet<User>)> = BTreeMap::new();
        let (askers, places) = classed([self, self], people, hosts);
        for (person, host) in askers.iter().flat_map(|person| places.iter().map(move |host| (person, host))) {
            for (login, kind) in host.one.logins.iter().flat_map(|login| kinds.iter().map(move |kind| (login, kind))) {
                for rule in self.binding(person.one, host.one, login, kind) {
                    let (_, askers) = judged.entry((rule.id.clone(), rule.approver_words())).or_insert_with(|| (rule, BTreeSet::new()));
                    askers.extend(person.all.iter().map(|person| person.user.clone()));
                }
            }
        }
        judged.into_values().filter_map(|(rule, askers)| in_vain(&rule, &askers, people)).collect()
    }
}

fn in_vain(rule: &BoundRule, askers: &BTreeSet<User>, people: &[Person]) -> Option<Unreached> {
    let able: Vec<Person> = people.iter().filter(|person| rule.named().iter().any(|who| who.matches(person))).cloned().collect();
    // Whoever could not say yes anyway takes no yes away by asking: one count is good for all of them.
    let names: BTreeSet<&User> = able.iter().map(|person| &person.user).collect();
    let outside = askers.iter().find(|asker| !names.contains(asker)).map(|asker| rule.missing(asker, &able));
    let count = |asker: &User| outside.filter(|_| !names.contains(asker)).unwrap_or_else(|| rule.missing(asker, &able));
    let missing: Vec<(&User, u32)> = askers.iter().map(|asker| (asker, count(asker))).filter(|(_, missing)| *missing > 0).collect();
    let most = missing.iter().map(|(_, missing)| *missing).max()?;
    Some(Unreached {
        rule: rule.id.clone(),
        approvers: rule.approver_words(),
        quorum: rule.quorum(),
        missing: most,
        never: missing.len() == askers.len(),
        askers: missing.into_iter().map(|(asker, _)| asker.clone()).collect(),
    })
}
