//! Two policies side by side, over the users and hosts that there are: who gains what, who loses what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::selector::{HostPattern, Who};
use super::terms::Terms;
use super::{Act, Policy};
use crate::access::channels::{Channels, Kind};
use crate::access::host::Host;
use crate::access::names::{HostName, Login, User};
use crate::access::opening::Opening;
use crate::access::person::Person;
use crate::access::time::Span;

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// More, longer, or for less.
    Gains,
    /// Less, shorter, or for more.
    Loses,
    /// Other terms, some of them easier and some harder, or other approvers.
    Changes,
}

/// The same change for some users on some hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which way.
    pub direction: Direction,
    /// Who.
    pub users: Vec<User>,
    /// Where.
    pub hosts: Vec<HostName>,
    /// As whom; none where it is about looking and ending.
    pub login: Option<Login>,
    /// Channel kinds, or acts: `may replay`.
    pub what: String,
    /// The terms before, if they had it.
    pub before: Option<String>,
    /// The terms now, if they have it.
    pub after: Option<String>,
}

/// Everything that differs for somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// The changes: gains first, then losses, then the others.
    pub changes: Vec<Change>,
}

impl Difference {
    /// How many users there are whose changes go this way.
    pub fn users(&self, direction: Direction) -> usize {
        let those = self.changes.iter().filter(|change| change.direction == direction);
        those.flat_map(|change| &change.users).collect::<BTreeSet<_>>().len()
    }
}

/// One line a change: `+` gains, `-` loses, `~` other terms.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.direction {
            Direction::Gains => '+',
            Direction::Loses => '-',
            Direction::Changes => '~',
        };
        write!(f, "{sign} {}: {}", few(&self.users), self.what)?;
        if let Some(login) = &self.login {
            write!(f, " as {login}")?;
        }
        write!(f, " on {}", few(&self.hosts))?;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, ": was {before}; is {after}"),
            (None, Some(terms)) | (Some(terms), None) if !terms.is_empty() => write!(f, ": {terms}"),
            _ => Ok(()),
        }
    }
}

/// The first names, and how many more there are.
fn few<T: ToString>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

const SHOWN: usize = 8;

/// Those whom no selector of any policy tells apart: what is true of one is true of all.
pub(super) struct Class<'a, T> {
    pub one: &'a T,
    pub all: Vec<&'a T>,
}

/// People and hosts by what these policies can tell apart.
pub(super) fn classed<'a>(
    policies: [&Policy; 2],
    people: &'a [Person],
    hosts: &'a [Host],
) -> (Vec<Class<'a, Person>>, Vec<Class<'a, Host>>) {
    let whos: BTreeSet<&Who> = policies.into_iter().flat_map(Policy::selectors).collect();
    let patterns: BTreeSet<&HostPattern> = policies.into_iter().flat_map(Policy::patterns).collect();
    let person = |person: &Person| whos.iter().map(|who| who.matches(person)).collect::<Vec<bool>>();
    let kinds: BTreeSet<Kind> = policies.into_iter().flat_map(|policy| policy.kinds().iter().cloned().collect::<Vec<_>>()).collect();
    let host = |host: &Host| {
        let matching: Vec<bool> = patterns.iter().map(|pattern| pattern.matches(host)).collect();
        // An address in a rule is the host itself, or somewhere else.
        let here: Vec<Kind> = kinds.iter().map(|kind| Opening::of(host, kind).kind().clone()).collect();
        (matching, here, host.logins.clone())
    };
    (classes(people, person), classes(hosts, host))
}

fn classes<'a, T, K: Ord>(items: &'a [T], key: impl Fn(&T) -> K) -> Vec<Class<'a, T>> {
    let mut found: BTreeMap<K, Class<'a, T>> = BTreeMap::new();
    for item in items {
        found.entry(key(item)).or_insert_with(|| Class { one: item, all: vec![] }).all.push(item);
    }
    found.into_values().collect()
}

impl Policy {
    /// What `self`, coming after `before`, changes for these users on these hosts.
    pub fn compared_with(&self, before: &Self, people: &[Person], hosts: &[Host]) -> Difference {
        let (people, hosts) = classed([before, self], people, hosts);
        let mut found: BTreeMap<Told, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
        for (at, person) in people.iter().enumerate() {
            for (place, host) in hosts.iter().enumerate() {
                for told in told(before, self, person.one, host.one) {
                    found.entry(told).or_default().entry(at).or_default().push(place);
                }
            }
        }
        let mut changes = Vec::new();
        for (told, whose) in found {
            // Users with the same hosts stand together.
            let mut together: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
            whose.into_iter().for_each(|(person, hosts)| together.entry(hosts).or_default().push(person));
            for (places, persons) in together {
                let mut users: Vec<User> =
                    persons.iter().filter_map(|at| people.get(*at)).flat_map(|c| &c.all).map(|p| p.user.clone()).collect();
                let mut names: Vec<HostName> =
                    places.iter().filter_map(|at| hosts.get(*at)).flat_map(|c| &c.all).map(|h| h.name.clone()).collect();
                users.sort();
                names.sort();
                let Told { direction, login, what, before, after } = told.clone();
                changes.push(Change { direction, users, hosts: names, login, what, before, after });
            }
        }
        Difference { changes }
    }

    fn selectors(&self) -> impl Iterator<Item = &Who> {
        let scopes = self.requires.iter().map(|floor| &floor.scope).chain(self.denies.iter().map(|deny| &deny.scope));
        let scoped = scopes.flat_map(|scope| scope.who.iter().flatten());
        self.allows.iter().flat_map(|allow| &allow.who).chain(self.mays.iter().flat_map(|may| &may.who)).chain(scoped)
    }

    /// Every kind, and each part of one that some rule names by itself.
    pub(super) fn kinds(&self) -> Channels {
        let scopes = self.requires.iter().map(|floor| &floor.scope).chain(self.denies.iter().map(|deny| &deny.scope));
        let named = self.allows.iter().map(|allow| &allow.channels).chain(scopes.filter_map(|scope| scope.channels.as_ref()));
        let all = Channels::all();
        named.flat_map(|kinds| kinds.channels().iter().cloned().collect::<Vec<_>>()).chain(all.iter().cloned()).collect()
    }

    fn patterns(&self) -> impl Iterator<Item = &HostPattern> {
        let scopes = self.requires.iter().map(|floor| &floor.scope).chain(self.denies.iter().map(|deny| &deny.scope));
        let scoped = scopes.flat_map(|scope| scope.hosts.iter().flatten());
        self.allows.iter().flat_map(|allow| &allow.hosts).chain(self.mays.iter().flat_map(|may| &may.hosts)).chain(scoped)
    }
}

/// A change without those whom it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    direction: Direction,
    login: Option<Login>,
    what: String,
    before: Option<String>,
    after: Option<String>,
}

/// What changes for one person on one host.
fn told(before: &Policy, after: &Policy, who: &Person, host: &Host) -> Vec<Told> {
    let mut all = Vec::new();
    let kinds = before.kinds().iter().chain(after.kinds().iter()).cloned().collect();
    for login in &host.logins {
        let (was, is) = (before.steps(who, host, login, &kinds), after.steps(who, host, login, &kinds));
        let mut same: BTreeMap<(Direction, Option<String>, Option<String>), Vec<Kind>> = BTreeMap::new();
        for kind in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
            let none = Vec::new();
            let (was, is) = (was.get(kind).unwrap_or(&none), is.get(kind).unwrap_or(&none));
            if let Some(direction) = direction(was, is) {
                same.entry((direction, words(was), words(is))).or_default().push(kind.clone());
            }
        }
        for ((direction, before, after), kinds) in same {
            let what = kinds.into_iter().collect::<Channels>().widest().to_string();
            all.push(Told { direction, login: Some(login.clone()), what, before, after });
        }
    }
    let acts = |these: &Policy, others: &Policy| -> Vec<&'static str> {
        let gone = |act: &Act| !others.may(who, *act, host);
        these.acts(who, host).into_iter().filter(gone).map(Act::as_str).collect()
    };
    for (direction, acts) in [(Direction::Gains, acts(after, before)), (Direction::Loses, acts(before, after))] {
        if !acts.is_empty() {
            all.push(Told { direction, login: None, what: format!("may {}", acts.join(", ")), before: None, after: None });
        }
    }
    all
}

/// Which way terms have gone, looked at for asks of each length at which something ends.
fn direction(was: &[Terms], is: &[Terms]) -> Option<Direction> {
    let lengths: BTreeSet<Span> = was.iter().chain(is).map(|terms| terms.longest).collect();
    let bound = |steps: &[Terms], length: &Span| steps.iter().find(|terms| terms.longest >= *length).cloned();
    let no_worse = |from: &[Terms], to: &[Terms]| {
        lengths.iter().all(|length| match (bound(from, length), bound(to, length)) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(from), Some(to)) => to.demand_no_more_than(&from),
        })
    };
    match (no_worse(was, is), no_worse(is, was)) {
        (true, true) => None,
        (true, false) => Some(Direction::Gains),
        (false, true) => Some(Direction::Loses),
        (false, false) => Some(Direction::Changes),
    }
}

fn words(steps: &[Terms]) -> Option<String> {
    let words: Vec<String> = steps.iter().map(ToString::to_string).collect();
    (!words.is_empty()).then(|| words.join(", or "))
}
