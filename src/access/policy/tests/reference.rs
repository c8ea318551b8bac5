//! The oracle: rules as plain data, read again word by word for every ask. Slow, and obvious.

use proptest::prelude::*;

use super::*;

pub(super) const USERS: [&str; 3] = ["alice", "bob", "carol"];
const ROLES: [&str; 2] = ["dba", "ops"];
const HOSTS: [(&str, &[&str]); 3] = [("phi-db", &["phi"]), ("phi-app", &["phi", "env=prod"]), ("lab", &["env=lab"])];
const LOGINS: [&str; 2] = ["root", "app"];
pub(super) const KINDS: [&str; 6] = ["shell", "exec", "sftp-read", "sftp-write", "forward:*", "agent"];
const WHOS: [&str; 6] = ["*", "role:dba", "role:ops", "user:alice", "vendor:acme", "vendor:*"];
const PATTERNS: [&str; 5] = ["*", "phi-*", "lab", "label:phi", "label:env=prod"];
const GROUPS: [&str; 3] = ["role:owner", "role:security", "*"];

/// Of whom, where and what a rule speaks; none: of all.
#[derive(Debug, Clone)]
pub(super) struct Speaks {
    who: Option<Vec<&'static str>>,
    hosts: Option<Vec<&'static str>>,
    logins: Option<Vec<&'static str>>,
    pub kinds: Option<Vec<&'static str>>,
}

/// What a rule or a floor demands beside its selectors.
#[derive(Debug, Clone)]
pub(super) struct Demands {
    hours: Option<u64>,
    idle: Option<u64>,
    record: bool,
    cert: bool,
    pub approve: Option<(Vec<&'static str>, u32, bool)>,
    reason: Option<u32>,
    ticket: bool,
    egress: Option<u64>,
    /// What an allow alone may say: forwards straight to the host's ports, whole statements.
    pub open: [bool; 2],
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub speaks: Speaks,
    pub demands: Demands,
}

fn some(from: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(from, 1..=from.len())
}

fn demands() -> impl Strategy<Value = Demands> {
    let approve = proptest::option::weighted(0.6, (some(&GROUPS), 1..4u32, any::<bool>()));
    let times = (proptest::option::weighted(0.4, 1..5u64), proptest::option::weighted(0.4, 1..30u64));
    let words = (proptest::option::weighted(0.3, 1..20u32), proptest::bool::weighted(0.2), proptest::option::weighted(0.3, 1..5000u64));
    (times, any::<bool>(), any::<bool>(), approve, words).prop_map(|((hours, idle), record, cert, approve, (reason, ticket, egress))| {
        Demands { hours, idle, record, cert, approve, reason, ticket, egress, open: [false; 2] }
    })
}

/// An allow; its selectors and its longest time are always there.
pub(super) fn allow() -> impl Strategy<Value = Rule> {
    (some(&WHOS), some(&PATTERNS), some(&LOGINS), some(&KINDS), 1..5u64, demands(), any::<[bool; 2]>()).prop_map(
        |(who, hosts, logins, kinds, hours, demands, open)| {
            let speaks = Speaks { who: Some(who), hosts: Some(hosts), logins: Some(logins), kinds: Some(kinds) };
            Rule { speaks, demands: Demands { hours: Some(hours), reason: None, ticket: false, open, ..demands } }
        },
    )
}

fn speaks() -> impl Strategy<Value = Speaks> {
    let maybe = |from: &'static [&'static str]| proptest::option::weighted(0.6, some(from));
    (maybe(&WHOS), maybe(&PATTERNS), maybe(&LOGINS), maybe(&KINDS)).prop_map(|(who, hosts, logins, kinds)| Speaks {
        who,
        hosts,
        logins,
        kinds,
    })
}

/// A floor, which demands something.
pub(super) fn floor() -> impl Strategy<Value = Rule> {
    (speaks(), demands()).prop_map(|(speaks, mut demands)| {
        demands.record |= demands.hours.is_none() && demands.approve.is_none() && demands.reason.is_none();
        Rule { speaks, demands }
    })
}

pub(super) fn deny() -> impl Strategy<Value = Speaks> {
    speaks()
}

#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub who: Person,
    pub host: Host,
    pub wish: Wish,
}

pub(super) fn asked() -> impl Strategy<Value = Asked> {
    let who = (0..3usize, proptest::sample::subsequence(&ROLES[..], 0..=2), any::<bool>());
    let why = proptest::option::of((0..25usize, any::<bool>()));
    let what = (0..3usize, 0..2usize, proptest::option::of(some(&KINDS)), proptest::option::of(1..6u64), why);
    (who, what).prop_map(|((user, roles, vendor), (at, login, kinds, hours, why))| Asked {
        who: person(USERS[user], &roles, vendor.then_some("acme")),
        host: host(HOSTS[at].0, HOSTS[at].1, &LOGINS),
        wish: Wish {
            why: why.map(|(reason, ticket)| Why { reason, ticket }),
            ..wish(LOGINS[login], kinds.map(|k| k.join(",")).as_deref(), hours.map(|h| format!("{h}h")).as_deref())
        },
    })
}

/// The policy file that says so.
pub(super) fn file(allows: &[Rule], floors: &[Rule], denies: &[Speaks]) -> Policy {
    let mut text = String::new();
    for (n, rule) in allows.iter().enumerate() {
        text += &format!("[[allow]]\nid = \"a{n}\"\n{}{}", rule.speaks.lines(), rule.demands.lines());
    }
    for (n, rule) in floors.iter().enumerate() {
        text += &format!("[[require]]\nid = \"f{n}\"\n{}{}", rule.speaks.lines(), rule.demands.lines());
    }
    for (n, speaks) in denies.iter().enumerate() {
        text += &format!("[[deny]]\nid = \"d{n}\"\nbecause = \"no\"\n{}", speaks.lines());
    }
    Policy::parse(&text, "p").unwrap_or_else(|e| panic!("{e}"))
}

impl Speaks {
    fn lines(&self) -> String {
        let lists = [("who", &self.who), ("hosts", &self.hosts), ("logins", &self.logins), ("channels", &self.kinds)];
        lists.iter().filter_map(|(key, list)| list.as_ref().map(|list| format!("{key} = {list:?}\n"))).collect()
    }

    /// Whether it speaks of this person, host and login.
    pub fn matches(&self, asked: &Asked) -> bool {
        let labels: &[&str] = HOSTS.iter().find(|(name, _)| *name == asked.host.name.as_str()).unwrap().1;
        let who = self.who.as_ref().is_none_or(|list| {
            list.iter().any(|who| match *who {
                "*" => true,
                "vendor:*" | "vendor:acme" => asked.who.vendor.is_some(),
                "user:alice" => asked.who.user.as_str() == "alice",
                role => asked.who.roles.contains(role.trim_start_matches("role:")),
            })
        });
        let host = self.hosts.as_ref().is_none_or(|list| {
            list.iter().any(|pattern| match *pattern {
                "*" => true,
                "phi-*" => asked.host.name.as_str().starts_with("phi-"),
                "lab" => asked.host.name.as_str() == "lab",
                label => labels.contains(&label.trim_start_matches("label:")),
            })
        });
        who && host && self.logins.as_ref().is_none_or(|list| list.contains(&asked.wish.login.as_str()))
    }

    pub fn names(&self, kind: &str) -> bool {
        self.kinds.as_ref().is_none_or(|list| list.contains(&kind))
    }
}

impl Demands {
    fn lines(&self) -> String {
        let mut text = String::new();
        if let Some(hours) = self.hours {
            text += &format!("max-duration = \"{hours}h\"\n");
        }
        if let Some(minutes) = self.idle {
            text += &format!("idle = \"{minutes}m\"\n");
        }
        let [direct, whole] = self.open;
        text += if direct { "direct = true\n" } else { "" };
        text += if whole { "statements = \"whole\"\n" } else { "" };
        if let Some(bytes) = self.egress {
            text += &format!("egress = \"{bytes}B\"\n");
        }
        if let Some((by, quorum, signed)) = &self.approve {
            text += &format!("approve = {{ by = {by:?}, quorum = {quorum}, signed = {signed} }}\n");
        }
        if let Some(least) = self.reason {
            text += &format!("reason = {{ min-length = {least} }}\n");
        }
        let flags = [("ticket", self.ticket), ("record-input", self.record), ("require-cert", self.cert)];
        text + &flags.iter().filter(|(_, set)| *set).map(|(key, _)| format!("{key} = true\n")).collect::<String>()
    }

    /// Whether a request with these words and this length meets it.
    fn met(&self, hours: Option<u64>, why: Option<Why>) -> bool {
        let length = self.hours.is_none_or(|most| hours.is_none_or(|hours| hours <= most));
        let reason = self.reason.is_none_or(|least| why.is_none_or(|why| why.reason >= least as usize));
        length && reason && (!self.ticket || why.is_none_or(|why| why.ticket))
    }
}

/// What should come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub rule: String,
    pub kinds: Vec<String>,
    pub hours: u64,
    pub most: u64,
    pub idle: Option<u64>,
    pub reason: Option<u32>,
    pub egress: Option<u64>,
    /// Ticket, what is typed is recorded, certificate, signatures.
    pub flags: [bool; 4],
    /// Direct forwards and whole statements: what the rule says, and no other one.
    pub open: [bool; 2],
    /// The floors that want approvals of their own.
    pub floors: Vec<String>,
}

/// The first allow that alone covers the ask, over the floors that speak of it; or nothing.
pub(super) fn reference(allows: &[Rule], floors: &[Rule], denies: &[Speaks], asked: &Asked) -> Option<Expected> {
    let asked_hours = asked.wish.length.map(|length| length.as_seconds() / 3600);
    let denied = |kind: &str| denies.iter().any(|deny| deny.matches(asked) && deny.names(kind));
    let under = |kind: &str| floors.iter().filter(|floor| floor.speaks.matches(asked) && floor.speaks.names(kind)).collect::<Vec<_>>();
    let unmet = |kind: &str| under(kind).iter().any(|floor| !floor.demands.met(asked_hours, asked.wish.why));
    for (n, rule) in allows.iter().enumerate() {
        if !rule.speaks.matches(asked) {
            continue;
        }
        let given: Vec<&str> = match &asked.wish.channels {
            Some(named) => KINDS.into_iter().filter(|kind| named.covers(&kind.parse().unwrap())).collect(),
            None => KINDS.into_iter().filter(|kind| rule.speaks.names(kind) && !denied(kind) && !unmet(kind)).collect(),
        };
        if given.is_empty() || given.iter().any(|kind| !rule.speaks.names(kind) || denied(kind) || unmet(kind)) {
            continue;
        }
        let speaks = |floor: &Rule| floor.speaks.matches(asked) && given.iter().any(|kind| floor.speaks.names(kind));
        let under: Vec<(usize, &Rule)> = floors.iter().enumerate().filter(|(_, floor)| speaks(floor)).collect();
        let all = || std::iter::once(&rule.demands).chain(under.iter().map(|(_, floor)| &floor.demands));
        let most = all().filter_map(|demands| demands.hours).min().unwrap();
        let hours = asked_hours.unwrap_or(most.min(1));
        if hours > most {
            continue;
        }
        return Some(Expected {
            rule: format!("a{n}"),
            kinds: given.iter().map(ToString::to_string).collect(),
            hours,
            most,
            idle: all().filter_map(|demands| demands.idle).min(),
            reason: all().filter_map(|demands| demands.reason).max(),
            egress: all().filter_map(|demands| demands.egress).min(),
            open: rule.demands.open,
            flags: [
                all().any(|demands| demands.ticket),
                all().any(|demands| demands.record),
                all().any(|demands| demands.cert),
                all().any(|demands| demands.approve.as_ref().is_some_and(|(.., signed)| *signed)),
            ],
            floors: under.iter().filter(|(_, floor)| floor.demands.approve.is_some()).map(|(n, _)| format!("f{n}")).collect(),
        });
    }
    None
}

/// What did come out, in the same words.
pub(super) fn seen(verdict: &Verdict) -> Expected {
    let rule = &verdict.rule;
    Expected {
        rule: rule.id.to_string(),
        kinds: verdict.channels.iter().map(ToString::to_string).collect(),
        hours: verdict.length.as_seconds() / 3600,
        most: rule.max_duration.as_seconds() / 3600,
        idle: rule.idle.map(|idle| idle.as_seconds() / 60),
        reason: rule.reason_min_length,
        egress: rule.egress.map(|egress| egress.as_bytes()),
        open: [rule.direct, rule.statements == Statements::Whole],
        flags: [rule.ticket, rule.record_input, rule.require_cert, rule.signed],
        floors: rule.floors.iter().map(|floor| floor.id.to_string()).collect(),
    }
}

/// Is it enough that these have said yes? Every way to give each human one place is tried.
pub(super) fn enough(rule: &BoundRule, asker: &User, yeses: &[Person]) -> bool {
    let mut humans: Vec<&Person> = Vec::new();
    for who in yeses {
        if who.user != *asker && !humans.iter().any(|known| known.user == who.user) {
            humans.push(who);
        }
    }
    let named = |by: &[Who], who: &Person| by.iter().any(|by| by.matches(who));
    let mut groups: Vec<(Vec<Who>, u32)> = Vec::new();
    let own = rule.approve.as_ref().map(|approve| approve.by.clone()).unwrap_or_default();
    let mut counts = true;
    let floors = rule.floors.iter().map(|floor| (&floor.approve, 1));
    for (approve, least) in rule.approve.iter().map(|approve| (approve, approve.quorum)).chain(floors) {
        counts &= humans.iter().filter(|who| named(&approve.by, who) || named(&own, who)).count() >= approve.quorum as usize;
        let mut by = approve.by.clone();
        by.sort();
        by.dedup();
        if !groups.iter().any(|(known, _)| *known == by) {
            groups.push((by, least));
        }
    }
    fn placed(places: &[&Vec<Who>], humans: &[&Person]) -> bool {
        let Some((first, rest)) = places.split_first() else { return true };
        (0..humans.len()).any(|at| {
            let mut others = humans.to_vec();
            let who = others.remove(at);
            first.iter().any(|by| by.matches(who)) && placed(rest, &others)
        })
    }
    let places: Vec<&Vec<Who>> = groups.iter().flat_map(|(by, least)| std::iter::repeat_n(by, *least as usize)).collect();
    counts && placed(&places, &humans)
}
