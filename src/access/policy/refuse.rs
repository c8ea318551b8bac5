//! Why a wish is not covered, in a sentence, and the command that would pass.

use std::collections::BTreeSet;
use std::fmt;

use super::judge::{Ground, Wish};
use super::rules::{Allow, Deny, Require, Unmet};
use super::{Policy, Verdict};
use crate::access::channels::{Channels, Kind};
use crate::access::host::Host;
use crate::access::names::{HostName, Login};
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::access::time::Span;

/// `ssh jit-bastion request ..`, as it can be typed.
#[derive(Debug, Clone)]
pub(crate) struct Command<'a> {
    /// Where to.
    pub host: &'a HostName,
    /// As whom.
    pub login: Option<&'a Login>,
    /// How long.
    pub length: Option<Span>,
    /// Which kinds.
    pub channels: Option<Channels>,
    /// A ticket must be named.
    pub ticket: bool,
}

impl<'a> Command<'a> {
    /// With everything left to the rule.
    pub fn at(host: &'a Host) -> Self {
        Self { host: &host.name, login: None, length: None, channels: None, ticket: false }
    }
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ssh jit-bastion request {}", self.host)?;
        self.login.map_or(Ok(()), |login| write!(f, " --login {login}"))?;
        self.length.map_or(Ok(()), |length| write!(f, " --for {length}"))?;
        self.channels.as_ref().map_or(Ok(()), |channels| write!(f, " --channels {channels}"))?;
        f.write_str(if self.ticket { " --ticket ID --reason WHY" } else { " --reason WHY" })
    }
}

impl Policy {
    /// Why nothing covers this wish, and what would pass.
    pub(super) fn why_not(&self, who: &Person, host: &Host, wish: &Wish) -> Refusal {
        if !host.logins.contains(&wish.login) {
            return self.no_such_login(who, host, &wish.login);
        }
        if wish.channels.as_ref().is_some_and(Channels::is_empty) {
            return nothing();
        }
        let allows = self.allows_for(who, host, &wish.login);
        if allows.is_empty() {
            return self.no_login(who, host, wish);
        }
        let ground = self.ground(who, host, &wish.login);
        let refusal = match wish.channels.as_ref().and_then(|named| ground.first_hit(named)) {
            Some((deny, kind)) => denied(host, wish, deny, &kind.to_string()),
            None => self.near_miss(&allows, &ground, who, host, wish),
        };
        match self.passing(who, host, wish) {
            Some(command) => refusal.hint(command.to_string()),
            None => refusal.hint("an administrator can change the rule; nothing that you could ask for there is left"),
        }
    }

    /// The command nearest to `wish` that passes: the same kinds before fewer, the same length before a shorter one.
    pub(crate) fn passing<'a>(&self, who: &Person, host: &'a Host, wish: &'a Wish) -> Option<Command<'a>> {
        let ground = self.ground(who, host, &wish.login);
        let allows = self.allows_for(who, host, &wish.login);
        for channels in kinds_to_try(&allows, &ground, wish) {
            for length in self.lengths_to_try(&allows, &ground, wish) {
                let tried = Wish { login: wish.login.clone(), channels: channels.clone(), length, why: None };
                let Some(verdict) = self.covering(who, host, &tried) else { continue };
                return Some(Command { login: Some(&wish.login), length, channels, ticket: verdict.rule.ticket, ..Command::at(host) });
            }
        }
        None
    }

    /// The length asked for, then every shorter one at which a rule or floor ends, the longest first.
    fn lengths_to_try(&self, allows: &[&Allow], ground: &Ground<'_>, wish: &Wish) -> Vec<Option<Span>> {
        let ends = allows.iter().map(|allow| allow.max_duration).chain(ground.floors.iter().filter_map(|floor| floor.max_duration));
        let shorter: BTreeSet<Span> = ends.filter(|end| wish.length.is_some_and(|length| *end < length)).collect();
        std::iter::once(wish.length).chain(shorter.into_iter().rev().map(Some)).collect()
    }

    /// Rules match who, host and login, and no deny stands in the way of a named kind, but none covers the rest.
    fn near_miss(&self, allows: &[&Allow], ground: &Ground<'_>, who: &Person, host: &Host, wish: &Wish) -> Refusal {
        let silent = Wish { why: None, ..wish.clone() };
        if self.covering(who, host, &silent).is_some() {
            let asked = |allow: &&Allow| wish.channels.clone().unwrap_or_else(|| ground.by_default(allow, &silent));
            let unmet = allows.iter().find_map(|allow| ground.first_unmet(&asked(allow), wish.length, wish.why));
            return unmet.map_or_else(|| not_covered(host, wish), |(floor, unmet)| lacking(floor, unmet, host, wish));
        }
        let short = Wish { length: None, ..silent.clone() };
        if let (Some(asked), true) = (wish.length, self.covering(who, host, &short).is_some()) {
            return self.too_long(ground, who, host, &silent, asked);
        }
        if wish.channels.is_some() {
            return not_covered(host, wish);
        }
        // No kind was named, and none is left: the deny that takes most says best why; of several the first.
        let kinds: Vec<Kind> = allows.iter().flat_map(|allow| allow.channels.channels().iter().cloned().collect::<Vec<_>>()).collect();
        let most = ground.denies.iter().rev().max_by_key(|deny| kinds.iter().filter(|kind| deny.scope.hits(ground.host, kind)).count());
        most.map_or_else(|| not_covered(host, wish), |deny| denied(host, wish, deny, "every channel kind"))
    }

    /// The same for less time passes: who says so, the rule or a floor.
    fn too_long(&self, ground: &Ground<'_>, who: &Person, host: &Host, wish: &Wish, asked: Span) -> Refusal {
        let allows = self.allows_for(who, host, &wish.login);
        let verdict = self.lengths_to_try(&allows, ground, wish).into_iter().find_map(|length| {
            let tried = Wish { length, ..wish.clone() };
            self.covering(who, host, &tried)
        });
        let Some(Verdict { channels, rule, length }) = verdict else { return not_covered(host, wish) };
        let allow = allows.iter().find(|allow| allow.id == rule.id && allow.max_duration > length);
        let under = ground.floors_under(wish.channels.as_ref().unwrap_or(&channels));
        match under.into_iter().find(|floor| allow.is_some() && floor.max_duration == Some(length)) {
            Some(floor) => lacking(floor, Unmet::TooLong(length), host, &Wish { length: Some(asked), ..wish.clone() }),
            None => Refusal::new("too-long", format!("{asked} is longer than the {length} that rule {} gives", rule.id)),
        }
    }

    fn no_such_login(&self, who: &Person, host: &Host, login: &Login) -> Refusal {
        let refusal = Refusal::new("no-such-login", format!("{} has no login {login}", host.name));
        match self.logins_for(who, host).as_slice() {
            [] => refusal.hint("an administrator registers logins with `jit-bastion host add`"),
            logins => refusal.hint(format!("you may ask for {}", list(logins))),
        }
    }

    fn no_login(&self, who: &Person, host: &Host, wish: &Wish) -> Refusal {
        let refusal = Refusal::new("not-covered", format!("no rule lets you ask for {} on {}", wish.login, host.name));
        let others = self.logins_for(who, host);
        let wishes: Vec<Wish> = others.into_iter().map(|login| Wish { login, ..wish.clone() }).collect();
        match wishes.iter().find_map(|wish| self.passing(who, host, wish)) {
            Some(command) => refusal.hint(command.to_string()),
            None => refusal.hint("an administrator would add an [[allow]] rule to the policy"),
        }
    }
}

/// What was named without what is denied, then the most of it that one rule gives, then what comes by default.
fn kinds_to_try(allows: &[&Allow], ground: &Ground<'_>, wish: &Wish) -> Vec<Option<Channels>> {
    let Some(named) = &wish.channels else { return vec![None] };
    let free = named.only(|kind| !ground.denies.iter().any(|deny| deny.scope.hits(ground.host, kind)));
    let mut parts: Vec<Channels> = allows.iter().map(|allow| free.only(|kind| allow.channels.covers(kind))).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.iter().count()));
    parts.insert(0, free);
    parts.retain(|part| !part.is_empty());
    parts.into_iter().map(Some).chain([None]).collect()
}

/// The refusal of a named set without a kind in it.
fn nothing() -> Refusal {
    let refusal = Refusal::new("not-covered", "no channel kind is asked for");
    refusal.hint("leave --channels out, or name shell, exec, sftp-read, sftp-write, forward:.., reverse:.. or agent")
}

fn denied(host: &Host, wish: &Wish, deny: &Deny, what: &str) -> Refusal {
    Refusal::new("denied", format!("rule {} denies {what} as {} on {}: {}", deny.id, wish.login, host.name, deny.because))
}

fn not_covered(host: &Host, wish: &Wish) -> Refusal {
    let what = wish.channels.as_ref().map_or_else(|| "this".to_owned(), ToString::to_string);
    Refusal::new("not-covered", format!("no one rule covers {what} as {} on {}", wish.login, host.name))
}

/// A floor is not met.
fn lacking(floor: &Require, unmet: Unmet, host: &Host, wish: &Wish) -> Refusal {
    let id = &floor.id;
    match unmet {
        Unmet::TooLong(max) => {
            let asked = wish.length.map_or_else(|| "it".to_owned(), |length| length.to_string());
            Refusal::new("too-long", format!("{asked} is longer than the {max} that floor {id} allows on {}", host.name))
        }
        Unmet::Reason(least) => {
            Refusal::new("short-reason", format!("floor {id} wants a reason of at least {least} characters for {}", host.name))
        }
        Unmet::Ticket => Refusal::new("no-ticket", format!("floor {id} wants a ticket for {}", host.name)),
    }
}

pub(super) fn list(logins: &[Login]) -> String {
    logins.iter().map(Login::as_str).collect::<Vec<_>>().join(", ")
}
