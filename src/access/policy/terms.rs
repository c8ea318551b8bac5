//! What one person may ask for on one host, and on which terms: the whole of it, kind by kind, for people who read a policy.

use std::collections::BTreeMap;
use std::fmt;

use super::judge::Wish;
use super::{Act, Beyond, BoundRule, Keep, Policy, SelfExtend, Statements};
use crate::access::channels::{Channels, Kind};
use crate::access::host::Host;
use crate::access::names::{Login, RuleId};
use crate::access::person::Person;
use crate::access::size::Size;
use crate::access::time::Span;

/// On which terms something may be had: for how long, who decides, and what is demanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The rule that binds.
    pub rule: RuleId,
    /// Up to this long.
    pub longest: Span,
    /// How many humans must say yes; 0: granted at once.
    pub quorum: u32,
    /// Who they can be, as the policy names them.
    pub approvers: String,
    /// Approvals are signed.
    pub signed: bool,
    /// Logged off after this.
    pub idle: Option<Span>,
    /// What is typed is recorded.
    pub record_input: bool,
    /// Visits need an access certificate.
    pub require_cert: bool,
    /// A ticket is needed.
    pub ticket: bool,
    /// The fewest characters of a reason.
    pub reason_min_length: Option<u32>,
    /// So many bytes towards the client.
    pub egress: Option<Size>,
    /// How much is kept of commands and forwards.
    pub keep: Option<Keep>,
    /// How statements to a database are told.
    pub statements: Statements,
    /// Forwards straight through the outer connection.
    pub direct: bool,
    /// What its holder adds alone.
    pub extend: Option<SelfExtend>,
}

impl Terms {
    /// The terms of a rule that bound, up to its longest time.
    pub fn of(rule: &BoundRule) -> Self {
        Self {
            rule: rule.id.clone(),
            longest: rule.max_duration,
            quorum: rule.quorum(),
            approvers: rule.approver_words(),
            signed: rule.signed && rule.quorum() > 0,
            idle: rule.idle,
            record_input: rule.record_input,
            require_cert: rule.require_cert,
            ticket: rule.ticket,
            reason_min_length: rule.reason_min_length,
            egress: rule.egress,
            keep: rule.keep,
            statements: rule.statements,
            direct: rule.direct,
            extend: rule.extend,
        }
    }

    /// Whoever has had it on the terms of `other` has it on these without giving more for it, time aside.
    pub(super) fn demand_no_more_than(&self, other: &Self) -> bool {
        let own = |extend: Option<SelfExtend>| extend.map_or(0, |own| own.length.as_seconds() * u64::from(own.times));
        let decided = self.quorum == 0 || (self.quorum <= other.quorum && self.approvers == other.approvers);
        let late = |idle: Option<Span>| idle.map_or(u64::MAX, Span::as_seconds);
        let much = |size: Option<Size>| size.map_or(u64::MAX, Size::as_bytes);
        decided
            && self.signed <= other.signed
            && late(self.idle) >= late(other.idle)
            && self.record_input <= other.record_input
            && self.require_cert <= other.require_cert
            && self.ticket <= other.ticket
            && self.reason_min_length <= other.reason_min_length
            && much(self.egress) >= much(other.egress)
            && seen(self.keep) <= seen(other.keep)
            && much(ends_after(self.keep)) >= much(ends_after(other.keep))
            && self.statements <= other.statements
            && self.direct >= other.direct
            && own(self.extend) >= own(other.extend)
    }
}

/// `up to 4h, by 2 of role:owner; signed; idle 15m`, without the rule's name.
impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "up to {}, ", self.longest)?;
        match self.quorum {
            0 => f.write_str("granted at once")?,
            quorum => write!(f, "approved by {quorum} of {}", self.approvers)?,
        }
        let words = [
            self.signed.then(|| "signed".to_owned()),
            self.reason_min_length.map(|least| format!("a reason of {least} characters")),
            self.ticket.then(|| "a ticket".to_owned()),
            self.require_cert.then(|| "an access certificate".to_owned()),
            self.idle.map(|idle| format!("idle {idle}")),
            self.record_input.then(|| "typed input is recorded".to_owned()),
            self.egress.map(|egress| format!("at most {egress} to the client")),
            self.keep.map(|keep| keep.to_string()),
            (self.statements == Statements::Whole).then(|| "whole statements".to_owned()),
            self.direct.then(|| "direct forwards".to_owned()),
            self.extend.map(|own| match own.times {
                1 => format!("{} more by oneself, once", own.length),
                times => format!("{} more by oneself, {times} times", own.length),
            }),
        ];
        words.into_iter().flatten().try_for_each(|word| write!(f, "; {word}"))
    }
}

/// How much is kept: of forwards their content, of a command so many bytes.
fn seen(keep: Option<Keep>) -> (bool, u64) {
    let command = match keep.and_then(Keep::of_commands) {
        Some((bytes, Beyond::Hash)) => bytes.as_bytes(),
        _ => u64::MAX,
    };
    (keep == Some(Keep::Bytes), command)
}

/// A command may be so long.
fn ends_after(keep: Option<Keep>) -> Option<Size> {
    keep.and_then(Keep::of_commands).filter(|(_, beyond)| *beyond == Beyond::End).map(|(bytes, _)| bytes)
}

/// Some kinds, as one login, on the same terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// As whom.
    pub login: Login,
    /// What may be opened.
    pub channels: Channels,
    /// On these terms.
    pub terms: Terms,
}

impl Policy {
    /// All that `who` may ask for on `host`, in the order of its logins.
    pub fn rights(&self, who: &Person, host: &Host) -> Vec<Right> {
        let mut rights: Vec<Right> = Vec::new();
        let kinds = self.kinds();
        for login in &host.logins {
            for (kind, steps) in self.steps(who, host, login, &kinds) {
                for terms in steps {
                    match rights.iter_mut().find(|right| right.login == *login && right.terms == terms) {
                        Some(right) => right.channels = right.channels.iter().cloned().chain([kind.clone()]).collect(),
                        None => rights.push(Right { login: login.clone(), channels: [kind.clone()].into_iter().collect(), terms }),
                    }
                }
            }
        }
        rights.iter_mut().for_each(|right| right.channels = right.channels.widest());
        rights
    }

    /// What `who` may do on `host` with what others have.
    pub fn acts(&self, who: &Person, host: &Host) -> Vec<Act> {
        Act::ALL.into_iter().filter(|act| self.may(who, *act, host)).collect()
    }

    /// For each kind that may be asked for, the terms for short asks first, then those for longer ones: a rule that binds in its place
    /// in the file and reaches further than all before it.
    pub(super) fn steps(&self, who: &Person, host: &Host, login: &Login, kinds: &Channels) -> BTreeMap<Kind, Vec<Terms>> {
        let mut all = BTreeMap::new();
        if self.allows_for(who, host, login).is_empty() {
            return all;
        }
        for kind in kinds.iter() {
            let steps: Vec<Terms> = self.binding(who, host, login, kind).iter().map(Terms::of).collect();
            if !steps.is_empty() {
                all.insert(kind.clone(), steps);
            }
        }
        all
    }

    /// The rules that bind asks for this one kind: the first for short ones, each next for those that are too long for all before it.
    pub(super) fn binding(&self, who: &Person, host: &Host, login: &Login, kind: &Kind) -> Vec<BoundRule> {
        let mut rules: Vec<BoundRule> = Vec::new();
        let named = Wish { channels: Some([kind.clone()].into_iter().collect()), ..Wish::of(login.clone()) };
        let mut next = self.covering(who, host, &named);
        while let Some(verdict) = next {
            let longer = Span::seconds(verdict.rule.max_duration.as_seconds() + 1);
            rules.push(verdict.rule);
            next = self.covering(who, host, &Wish { length: Some(longer), ..named.clone() });
        }
        rules
    }
}
