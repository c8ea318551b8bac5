//! Judging: may this person ask for this, under which rule; and if not, why, and what would pass.

use super::{Act, Allow, BoundRule, Deny, May, Policy, request_command};
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
    /// Every kind that was named, or those that the rule gives without what a deny takes.
    pub channels: Channels,
    /// The length asked for, or the rule's default.
    pub length: Span,
    /// The rule, as it stands now.
    pub rule: BoundRule,
}

impl Allow {
    fn matches(&self, who: &Person, host: &Host) -> bool {
        self.who.iter().any(|w| w.matches(who)) && self.hosts.iter().any(|h| h.matches(host))
    }

    fn gives_login(&self, login: &Login) -> bool {
        self.logins.iter().any(|glob| glob.matches(login.as_str()))
    }
}

impl Deny {
    fn matches(&self, who: &Person, host: &Host, login: &Login) -> bool {
        self.who.as_ref().is_none_or(|list| list.iter().any(|w| w.matches(who)))
            && self.hosts.as_ref().is_none_or(|list| list.iter().any(|h| h.matches(host)))
            && self.logins.as_ref().is_none_or(|list| list.iter().any(|glob| glob.matches(login.as_str())))
    }

    fn hits(&self, kind: &Kind) -> bool {
        self.channels.as_ref().is_none_or(|kinds| kinds.covers(kind))
    }
}

impl Policy {
    /// The rule that covers this wish, or why none does. Only for a host that is visible to `who` (see [`Policy::look`]): the refusals
    /// give their full reasons.
    pub fn judge(&self, who: &Person, host: &Host, wish: &Wish) -> Result<Verdict, Refusal> {
        self.covering(who, host, wish).ok_or_else(|| self.why_not(who, host, wish))
    }

    /// The verdict alone. Says nothing about why not, and so can be asked again while a refusal looks for what would pass.
    fn covering(&self, who: &Person, host: &Host, wish: &Wish) -> Option<Verdict> {
        let denies = self.denies_for(who, host, &wish.login);
        let named = wish.channels.as_ref();
        let open = host.logins.contains(&wish.login)
            && named.is_none_or(|named| named.iter().all(Kind::is_built) && first_hit(&denies, named).is_none());
        let mut allows = self.allows_for(who, host, &wish.login).into_iter().filter(|_| open);
        allows
            .find_map(|allow| covered(allow, &denies, wish).map(|(channels, length)| Verdict { channels, length, rule: self.bind(allow) }))
    }

    /// Why nothing covers this wish, and what would pass.
    fn why_not(&self, who: &Person, host: &Host, wish: &Wish) -> Refusal {
        if !host.logins.contains(&wish.login) {
            return self.no_such_login(who, host, &wish.login);
        }
        if let Some(refusal) = wish.channels.as_ref().and_then(not_built) {
            return refusal;
        }
        let denies = self.denies_for(who, host, &wish.login);
        let allows = self.allows_for(who, host, &wish.login);
        if allows.is_empty() {
            return self.no_login(who, host, &wish.login);
        }
        match wish.channels.as_ref().and_then(|named| first_hit(&denies, named)) {
            Some((deny, kind)) => self.denied(who, host, wish, deny, kind),
            None => near_miss(&allows, &denies, host, wish),
        }
    }

    fn denies_for(&self, who: &Person, host: &Host, login: &Login) -> Vec<&Deny> {
        self.denies.iter().filter(|deny| deny.matches(who, host, login)).collect()
    }

    fn allows_for(&self, who: &Person, host: &Host, login: &Login) -> Vec<&Allow> {
        self.allows.iter().filter(|allow| allow.matches(who, host) && allow.gives_login(login)).collect()
    }

    /// The door before every word about a host: it is visible if some allow covers any ask of theirs there (denies aside), if they ever
    /// `held` a grant on it, or if they may see every host. Otherwise the same sentence as for a host that does not exist.
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
                Err(Refusal::new("choose-login", format!("{} has several logins that you may ask for: {}", host.name, list(&logins)))
                    .hint(request_command(&host.name, Some(first), None, None)))
            }
        }
    }

    /// Do the denies of now leave all of this standing? Asked again at every approval and for every live grant.
    pub fn denies_now(&self, who: &Person, host: &Host, login: &Login, channels: &Channels) -> Result<(), Refusal> {
        match first_hit(&self.denies_for(who, host, login), channels) {
            Some((deny, kind)) => {
                Err(Refusal::new("denied", format!("rule {} denies {kind} to {} on {}: {}", deny.id, who.user, host.name, deny.because)))
            }
            None => Ok(()),
        }
    }

    /// Would policy still give all of this, to these roles, under any one rule? If not, a live grant is cut.
    pub fn still_allows(&self, who: &Person, host: &Host, login: &Login, channels: &Channels) -> Result<(), Refusal> {
        self.denies_now(who, host, login, channels)?;
        let covers =
            |allow: &Allow| allow.matches(who, host) && allow.gives_login(login) && channels.iter().all(|kind| allow.channels.covers(kind));
        if self.allows.iter().any(covers) {
            return Ok(());
        }
        Err(Refusal::new("not-covered", format!("no rule gives {channels} as {login} on {} to {} any more", host.name, who.user)))
    }

    fn no_such_login(&self, who: &Person, host: &Host, login: &Login) -> Refusal {
        let refusal = Refusal::new("no-such-login", format!("{} has no login {login}", host.name));
        match self.logins_for(who, host).as_slice() {
            [] => refusal.hint("an administrator registers logins with `jit-bastion host add`"),
            logins => refusal.hint(format!("you may ask for {}", list(logins))),
        }
    }

    fn no_login(&self, who: &Person, host: &Host, login: &Login) -> Refusal {
        let refusal = Refusal::new("not-covered", format!("no rule lets you ask for {login} on {}", host.name));
        match self.logins_for(who, host).as_slice() {
            [] => refusal.hint("an administrator would add an [[allow]] rule to the policy"),
            [first, ..] => refusal.hint(request_command(&host.name, Some(first), None, None)),
        }
    }

    fn denied(&self, who: &Person, host: &Host, wish: &Wish, deny: &Deny, kind: &Kind) -> Refusal {
        let refusal =
            Refusal::new("denied", format!("rule {} denies {kind} as {} on {}: {}", deny.id, wish.login, host.name, deny.because));
        let named = wish.channels.clone().unwrap_or_default();
        let rest = named.only(|kind| self.denies_now(who, host, &wish.login, &std::iter::once(kind.clone()).collect()).is_ok());
        let narrower = Wish { channels: Some(rest.clone()), ..wish.clone() };
        if rest.is_empty() || self.covering(who, host, &narrower).is_none() {
            return refusal.hint("an administrator can change the rule; nothing that you named is left without it");
        }
        refusal.hint(request_command(&host.name, Some(&wish.login), Some(&rest.to_string()), wish.length))
    }
}

/// The first kind of `channels` that a deny hits, and that deny.
fn first_hit<'a, 'c>(denies: &[&'a Deny], channels: &'c Channels) -> Option<(&'a Deny, &'c Kind)> {
    channels.iter().find_map(|kind| denies.iter().find(|deny| deny.hits(kind)).map(|deny| (*deny, kind)))
}

/// What `allow` alone gives for this wish, if it covers the whole of it.
fn covered(allow: &Allow, denies: &[&Deny], wish: &Wish) -> Option<(Channels, Span)> {
    let channels = match &wish.channels {
        Some(named) => named.iter().all(|kind| allow.channels.covers(kind)).then(|| named.clone())?,
        None => default_channels(allow, denies),
    };
    let length = wish.length.unwrap_or(allow.default_duration);
    (!channels.is_empty() && length <= allow.max_duration).then_some((channels, length))
}

fn default_channels(allow: &Allow, denies: &[&Deny]) -> Channels {
    allow.channels.channels().only(|kind| !denies.iter().any(|deny| deny.hits(kind)))
}

/// The refusal of a named set that no rule can ever cover: kinds that are not built, or none.
fn not_built(named: &Channels) -> Option<Refusal> {
    let built = named.only(Kind::is_built);
    if named.is_empty() {
        let refusal = Refusal::new("not-covered", "no channel kind is asked for");
        return Some(refusal.hint("leave --channels out, or name shell, exec, sftp-read or sftp-write"));
    }
    let kind = named.iter().find(|kind| !kind.is_built())?;
    let refusal = Refusal::new("not-built", format!("{kind} cannot be granted: forwards and the agent are not built in this version"));
    Some(match built.is_empty() {
        true => refusal.hint("ask for shell, exec, sftp-read or sftp-write"),
        false => refusal.hint(format!("ask with --channels {built}")),
    })
}

/// Rules match who, host and login, but none covers the rest: says what the nearest one would give.
fn near_miss(allows: &[&Allow], denies: &[&Deny], host: &Host, wish: &Wish) -> Refusal {
    let fits = |allow: &&&Allow| match &wish.channels {
        Some(named) => named.iter().all(|kind| allow.channels.covers(kind)),
        None => !default_channels(allow, denies).is_empty(),
    };
    let named = wish.channels.as_ref().map(ToString::to_string);
    if let Some(longest) = allows.iter().filter(fits).max_by_key(|allow| allow.max_duration) {
        let asked = wish.length.unwrap_or(longest.default_duration);
        return Refusal::new("too-long", format!("{asked} is longer than the {} that rule {} gives", longest.max_duration, longest.id))
            .hint(request_command(&host.name, Some(&wish.login), named.as_deref(), Some(longest.max_duration)));
    }
    let Some(named) = &wish.channels else {
        let kinds: Vec<Kind> = allows.iter().flat_map(|allow| allow.channels.channels().iter().cloned().collect::<Vec<_>>()).collect();
        // The deny that takes most says best why nothing is left; of several the first.
        let deny = denies.iter().rev().max_by_key(|deny| kinds.iter().filter(|kind| deny.hits(kind)).count());
        let (id, because) =
            deny.map_or((String::new(), String::new()), |deny| (format!("rule {} ", deny.id), format!(": {}", deny.because)));
        return Refusal::new("denied", format!("{id}denies every channel kind as {} on {}{because}", wish.login, host.name))
            .hint("an administrator can change the rule");
    };
    let given =
        allows.iter().map(|allow| named.only(|kind| allow.channels.covers(kind))).max_by_key(|set| set.iter().count()).unwrap_or_default();
    let refusal = Refusal::new("not-covered", format!("no one rule covers {named} as {} on {}", wish.login, host.name));
    if given.is_empty() {
        let first = allows.first().map(|allow| default_channels(allow, denies)).unwrap_or_default();
        return refusal.hint(format!("you may ask for {first} there"));
    }
    refusal.hint(request_command(&host.name, Some(&wish.login), Some(&given.to_string()), wish.length))
}

fn list(logins: &[Login]) -> String {
    logins.iter().map(Login::as_str).collect::<Vec<_>>().join(", ")
}
