//! Judging: may this person ask for this, under which rule, tightened by which floors. Why not, and what would pass, is
//! [`refuse`](super::refuse)'s.

use super::refuse::list;
use super::rules::{Allow, Deny, May, Require, Unmet};
use super::{Act, BoundRule, Floor, Policy};
use crate::access::channels::{Channels, Kind};
use crate::access::host::Host;
use crate::access::names::Login;
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::access::time::Span;

/// What somebody wishes, before policy has filled in what they left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The account on the host.
    pub login: Login,
    /// The kinds they named; none means those that the rule gives.
    pub channels: Option<Channels>,
    /// How long; none means the rule's default.
    pub length: Option<Span>,
    /// What was said with it; none where that is still to come, and floors that want a reason or a ticket are taken to be met.
    pub why: Option<Why>,
}

/// What floors want to know of a request's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Why {
    /// The reason's length in characters.
    pub reason: usize,
    /// A ticket is named.
    pub ticket: bool,
}

impl Wish {
    /// All that a rule gives as `login`.
    pub fn of(login: Login) -> Self {
        Self { login, channels: None, length: None, why: None }
    }
}

/// A wish that one rule alone covers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// Every kind that was named, or those that the rule gives without what a deny or an unmet floor takes.
    pub channels: Channels,
    /// The length asked for, or the rule's default.
    pub length: Span,
    /// The rule with the floors under it, as they stand now.
    pub rule: BoundRule,
}

/// The denies and floors that speak of one person, host and login.
pub(super) struct Ground<'p> {
    pub host: &'p Host,
    pub denies: Vec<&'p Deny>,
    pub floors: Vec<&'p Require>,
}

impl<'p> Ground<'p> {
    /// The first kind of `channels` that a deny hits, and that deny.
    pub fn first_hit<'c>(&self, channels: &'c Channels) -> Option<(&'p Deny, &'c Kind)> {
        channels.iter().find_map(|kind| self.denies.iter().find(|deny| deny.scope.hits(self.host, kind)).map(|deny| (*deny, kind)))
    }

    /// The first floor that a request for `channels` does not meet, and what it lacks.
    pub fn first_unmet(&self, channels: &Channels, length: Option<Span>, why: Option<Why>) -> Option<(&'p Require, Unmet)> {
        let unmet = |floor: &&'p Require| {
            floor.unmet(length, why).filter(|_| floor.scope.hits_any(self.host, channels)).map(|unmet| (*floor, unmet))
        };
        self.floors.iter().find_map(unmet)
    }

    /// What `allow` gives where no kind was named: without what is denied, and without kinds whose floors are not met.
    pub fn by_default(&self, allow: &Allow, wish: &Wish) -> Channels {
        let stays = |kind: &Kind| {
            !self.denies.iter().any(|deny| deny.scope.hits(self.host, kind))
                && !self.floors.iter().any(|floor| floor.scope.hits(self.host, kind) && floor.unmet(wish.length, wish.why).is_some())
        };
        allow.channels.channels().only(stays)
    }

    pub fn floors_under(&self, channels: &Channels) -> Vec<&'p Require> {
        self.floors.iter().copied().filter(|floor| floor.scope.hits_any(self.host, channels)).collect()
    }

    /// What `allow` alone gives for this wish, with the floors under it, if it covers the whole of it.
    pub fn covered(&self, allow: &Allow, wish: &Wish) -> Option<(Channels, Span, Vec<&'p Require>)> {
        let channels = match &wish.channels {
            Some(named) => allow.gives(named).then(|| named.clone())?,
            None => self.by_default(allow, wish),
        };
        if channels.is_empty() || self.first_hit(&channels).is_some() || self.first_unmet(&channels, wish.length, wish.why).is_some() {
            return None;
        }
        let floors = self.floors_under(&channels);
        let max = most(allow, &floors);
        let length = wish.length.unwrap_or(allow.default_duration.min(max));
        (length <= max).then_some((channels, length, floors))
    }
}

impl Policy {
    /// The rule that covers this wish, or why none does. Only for a host that is visible to `who` (see [`Policy::look`]): the refusals
    /// give their full reasons.
    pub fn judge(&self, who: &Person, host: &Host, wish: &Wish) -> Result<Verdict, Refusal> {
        self.covering(who, host, wish).ok_or_else(|| self.why_not(who, host, wish))
    }

    /// The verdict alone. Says nothing about why not, and so can be asked again while a refusal looks for what would pass.
    pub fn covering(&self, who: &Person, host: &Host, wish: &Wish) -> Option<Verdict> {
        if !host.logins.contains(&wish.login) || wish.channels.as_ref().is_some_and(Channels::is_empty) {
            return None;
        }
        let ground = self.ground(who, host, &wish.login);
        self.allows_for(who, host, &wish.login).into_iter().find_map(|allow| {
            let (channels, length, floors) = ground.covered(allow, wish)?;
            Some(Verdict { channels, length, rule: self.bind(allow, &floors) })
        })
    }

    pub(super) fn ground<'p>(&'p self, who: &Person, host: &'p Host, login: &Login) -> Ground<'p> {
        Ground {
            host,
            denies: self.denies.iter().filter(|deny| deny.scope.matches(who, host, login)).collect(),
            floors: self.requires.iter().filter(|floor| floor.scope.matches(who, host, login)).collect(),
        }
    }

    pub(super) fn allows_for(&self, who: &Person, host: &Host, login: &Login) -> Vec<&Allow> {
        self.allows.iter().filter(|allow| allow.matches(who, host) && allow.gives_login(login)).collect()
    }

    /// The door before every word about a host: it is visible if some allow covers any ask of theirs there (denies and floors aside), if
    /// they ever `held` a grant on it, or if they may see every host. Otherwise the same sentence as for a host that does not exist.
    pub fn look<'h>(&self, who: &Person, host: Option<&'h Host>, held: bool, typed: &str) -> Result<&'h Host, Refusal> {
        host.filter(|host| held || self.visible(who, host)).ok_or_else(|| Refusal::no_such_host(typed))
    }

    /// See [`Policy::look`]; without the grants of the past.
    pub fn visible(&self, who: &Person, host: &Host) -> bool {
        self.may(who, Act::Hosts, host)
            || self.allows.iter().any(|allow| allow.matches(who, host) && host.logins.iter().any(|login| allow.gives_login(login)))
    }

    /// May `who` do `act` on `host`?
    pub fn may(&self, who: &Person, act: Act, host: &Host) -> bool {
        self.mays_of(who, act).any(|may| may.hosts.iter().any(|pattern| pattern.matches(host)))
    }

    /// May `who` do `act` on any host at all?
    pub fn may_somewhere(&self, who: &Person, act: Act) -> bool {
        self.mays_of(who, act).next().is_some()
    }

    fn mays_of(&self, who: &Person, act: Act) -> impl Iterator<Item = &May> {
        self.mays.iter().filter(move |may| may.acts.contains(&act) && may.who.iter().any(|w| w.matches(who)))
    }

    /// The logins of `host` that `who` may ask for now, in the host's order.
    pub fn logins_for(&self, who: &Person, host: &Host) -> Vec<Login> {
        let passes = |login: &&Login| self.covering(who, host, &Wish::of((*login).clone())).is_some();
        host.logins.iter().filter(passes).cloned().collect()
    }

    /// The login when none was named: the only one that `who` may ask for. Several are refused with the code `choose-login`.
    pub fn only_login(&self, who: &Person, host: &Host) -> Result<Login, Refusal> {
        let logins = self.logins_for(who, host);
        match logins.as_slice() {
            [only] => Ok(only.clone()),
            [] => match host.logins.first() {
                // The judgement of the default login says best why nothing passes.
                Some(login) => Err(self.why_not(who, host, &Wish::of(login.clone()))),
                None => Err(Refusal::new("not-covered", format!("{} has no logins", host.name))
                    .hint("an administrator registers them with `jit-bastion host add`")),
            },
            [first, ..] => {
                let refusal =
                    Refusal::new("choose-login", format!("{} has several logins that you may ask for: {}", host.name, list(&logins)));
                Err(refusal.hint(super::refuse::Command { login: Some(first), ..super::refuse::Command::at(host) }.to_string()))
            }
        }
    }

    /// Do the denies of now leave all of this standing? Asked again at every approval and for every live grant.
    pub fn denies_now(&self, who: &Person, host: &Host, login: &Login, channels: &Channels) -> Result<(), Refusal> {
        match self.ground(who, host, login).first_hit(channels) {
            Some((deny, kind)) => {
                let refusal =
                    Refusal::new("denied", format!("rule {} denies {kind} to {} on {}: {}", deny.id, who.user, host.name, deny.because));
                Err(refusal.hint(format!("`ssh jit-bastion explain {}` says what can be asked for there", host.name)))
            }
            None => Ok(()),
        }
    }

    /// Would policy still give all of this, to these roles, under any one rule? If not, a live grant is cut. Floors do not ask here:
    /// they say how a right is obtained and how a visit goes, and those of now are judged at each approval and each visit.
    pub fn still_allows(&self, who: &Person, host: &Host, login: &Login, channels: &Channels) -> Result<(), Refusal> {
        self.denies_now(who, host, login, channels)?;
        if self.allows_for(who, host, login).iter().any(|allow| allow.gives(channels)) {
            return Ok(());
        }
        Err(Refusal::new("not-covered", format!("no rule gives {channels} as {login} on {} to {} any more", host.name, who.user))
            .hint(format!("`ssh jit-bastion explain {}` says what can be asked for there", host.name)))
    }

    /// Would some rule give all of this, and forwards straight through the outer connection with it?
    pub fn gives_direct(&self, who: &Person, host: &Host, login: &Login, channels: &Channels) -> bool {
        self.allows_for(who, host, login).iter().any(|allow| allow.direct && allow.gives(channels))
    }

    /// The rule that was bound when a request was filed, with the floors of now under it as well: an approval, an extension and a visit
    /// are judged by this. What was stricter at filing stays.
    pub fn tightened(&self, rule: &BoundRule, who: &Person, host: &Host, login: &Login, channels: &Channels) -> BoundRule {
        let mut rule = rule.clone();
        for floor in self.ground(who, host, login).floors_under(channels) {
            tighten(&mut rule, floor);
        }
        rule
    }

    fn bind(&self, allow: &Allow, floors: &[&Require]) -> BoundRule {
        let mut rule = BoundRule {
            id: allow.id.clone(),
            text: self.source.text.get(allow.text.clone()).unwrap_or("").trim_end().to_owned(),
            policy: self.digest(),
            approve: allow.approve.clone(),
            max_duration: allow.max_duration,
            default_duration: allow.default_duration,
            lapse: allow.lapse,
            idle: allow.idle,
            idle_commands: allow.idle_commands,
            record_input: allow.record_input,
            unindexed: allow.unindexed,
            extend: allow.extend,
            signed: allow.signed,
            require_cert: allow.require_cert,
            egress: allow.egress,
            egress_filed: None,
            keep: allow.keep,
            statements: allow.statements,
            direct: allow.direct,
            reason_min_length: None,
            ticket: false,
            floors: vec![],
        };
        for floor in floors {
            tighten(&mut rule, floor);
        }
        rule.egress_filed = rule.egress;
        rule
    }
}

/// The longest that `allow` gives over these floors.
pub(super) fn most(allow: &Allow, floors: &[&Require]) -> Span {
    floors.iter().filter_map(|floor| floor.max_duration).fold(allow.max_duration, Span::min)
}

/// Strictest wins: the smallest time and budget, the largest quorum, everything that anybody demands.
fn tighten(rule: &mut BoundRule, floor: &Require) {
    if let Some(max) = floor.max_duration {
        rule.max_duration = rule.max_duration.min(max);
        rule.default_duration = rule.default_duration.min(max);
    }
    rule.idle = [rule.idle, floor.idle].into_iter().flatten().min();
    rule.egress = [rule.egress, floor.egress].into_iter().flatten().min();
    rule.reason_min_length = rule.reason_min_length.max(floor.reason);
    rule.idle_commands |= floor.idle_commands;
    rule.ticket |= floor.ticket;
    rule.record_input |= floor.record_input;
    rule.unindexed |= floor.unindexed;
    rule.signed |= floor.signed;
    rule.require_cert |= floor.require_cert;
    if let Some(approve) = &floor.approve {
        let known = Floor { id: floor.id.clone(), approve: approve.clone() };
        if !rule.floors.contains(&known) {
            rule.floors.push(known);
        }
    }
}
