//! What a policy file consists of: allows, floors, denies and mays, and of whom, where and what each speaks.

use std::collections::BTreeSet;
use std::ops::Range;

use super::act::Act;
use super::bound::{Approvers, SelfExtend};
use super::judge::Why;
use super::keep::{Keep, Statements};
use super::selector::{Glob, HostPattern, Kinds, Who};
use crate::access::channels::{Channels, Kind};
use crate::access::host::Host;
use crate::access::names::{Login, RuleId};
use crate::access::person::Person;
use crate::access::size::Size;
use crate::access::time::Span;

/// An allow: who may ask for what, for how long, and who decides.
#[derive(Debug, Clone)]
pub struct Allow {
    /// Its name in requests, events and recordings.
    pub id: RuleId,
    pub(super) who: Vec<Who>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) logins: Vec<Glob>,
    pub(super) channels: Kinds,
    pub(super) max_duration: Span,
    pub(super) default_duration: Span,
    pub(super) approve: Option<Approvers>,
    pub(super) signed: bool,
    pub(super) extend: Option<SelfExtend>,
    pub(super) idle: Option<Span>,
    pub(super) idle_commands: bool,
    pub(super) record_input: bool,
    pub(super) unindexed: bool,
    pub(super) require_cert: bool,
    pub(super) egress: Option<Size>,
    pub(super) keep: Option<Keep>,
    pub(super) statements: Statements,
    pub(super) direct: bool,
    pub(super) lapse: Span,
    pub(super) text: Range<usize>,
}

impl Allow {
    pub(super) fn speaks_to(&self, who: &Person) -> bool {
        self.who.iter().any(|w| w.matches(who))
    }

    pub(super) fn speaks_of(&self, host: &Host) -> bool {
        self.hosts.iter().any(|h| h.matches(host))
    }

    pub(super) fn matches(&self, who: &Person, host: &Host) -> bool {
        self.speaks_to(who) && self.speaks_of(host)
    }

    pub(super) fn gives_login(&self, login: &Login) -> bool {
        self.logins.iter().any(|glob| glob.matches(login.as_str()))
    }

    pub(super) fn gives(&self, channels: &Channels) -> bool {
        channels.iter().all(|kind| self.channels.covers(kind))
    }
}

/// Of what a deny or a floor speaks; what is absent matches all.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub who: Option<Vec<Who>>,
    pub hosts: Option<Vec<HostPattern>>,
    pub logins: Option<Vec<Glob>>,
    pub channels: Option<Kinds>,
}

impl Scope {
    pub fn matches(&self, who: &Person, host: &Host, login: &Login) -> bool {
        self.who.as_ref().is_none_or(|list| list.iter().any(|w| w.matches(who)))
            && self.hosts.as_ref().is_none_or(|list| list.iter().any(|h| h.matches(host)))
            && self.logins.as_ref().is_none_or(|list| list.iter().any(|glob| glob.matches(login.as_str())))
    }

    pub fn hits(&self, host: &Host, kind: &Kind) -> bool {
        self.channels.as_ref().is_none_or(|kinds| kinds.touches(host, kind))
    }

    pub fn hits_any(&self, host: &Host, channels: &Channels) -> bool {
        channels.iter().any(|kind| self.hits(host, kind))
    }
}

/// A deny: always wins.
#[derive(Debug, Clone)]
pub struct Deny {
    /// Its name in refusals.
    pub id: RuleId,
    pub(super) scope: Scope,
    pub(super) because: String,
}

/// A floor under every request that it speaks of.
#[derive(Debug, Clone)]
pub struct Require {
    /// Its name in refusals; where the file gives none, `require-N`, the N-th of the file.
    pub id: RuleId,
    pub(super) scope: Scope,
    pub(super) reason: Option<u32>,
    pub(super) ticket: bool,
    pub(super) idle: Option<Span>,
    pub(super) idle_commands: bool,
    pub(super) max_duration: Option<Span>,
    pub(super) record_input: bool,
    pub(super) unindexed: bool,
    pub(super) require_cert: bool,
    pub(super) egress: Option<Size>,
    pub(super) signed: bool,
    pub(super) approve: Option<Approvers>,
}

/// What a request lacks under a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmet {
    /// It is longer than this.
    TooLong(Span),
    /// Its reason has fewer characters than this.
    Reason(u32),
    /// It names no ticket.
    Ticket,
}

impl Require {
    /// What is missing, if anything; a length or words that are not given are taken to be right.
    pub(super) fn unmet(&self, length: Option<Span>, why: Option<Why>) -> Option<Unmet> {
        if let Some(max) = self.max_duration.filter(|max| length.is_some_and(|length| length > *max)) {
            return Some(Unmet::TooLong(max));
        }
        let why = why?;
        if let Some(least) = self.reason.filter(|least| why.reason < *least as usize) {
            return Some(Unmet::Reason(least));
        }
        (self.ticket && !why.ticket).then_some(Unmet::Ticket)
    }

    /// Everything that it demands, in words.
    pub(super) fn demands(&self) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.reason.map(|least| format!("a reason of at least {least} characters")));
        words.extend(self.ticket.then(|| "a ticket".to_owned()));
        words.extend(self.max_duration.map(|max| format!("at most {max}")));
        words.extend(self.approve.as_ref().map(|approve| format!("an approval by {}, {} in all", listed(&approve.by), approve.quorum)));
        words.extend(self.signed.then(|| "signed approvals".to_owned()));
        words.extend(self.require_cert.then(|| "an access certificate".to_owned()));
        words.extend(self.idle.map(|idle| format!("logoff after {idle} idle")));
        words.extend(self.idle_commands.then(|| "idle also while a command runs".to_owned()));
        words.extend(self.record_input.then(|| "what is typed is recorded".to_owned()));
        words.extend(self.unindexed.then(|| "what stood on the screen is kept out of the index".to_owned()));
        words.extend(self.egress.map(|egress| format!("at most {egress} towards the client")));
        words
    }
}

/// A right to look or to end, on some hosts.
#[derive(Debug, Clone)]
pub(super) struct May {
    pub who: Vec<Who>,
    pub acts: BTreeSet<Act>,
    pub hosts: Vec<HostPattern>,
}

/// The items with commas between.
pub(super) fn listed<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
