//! Reading a policy file: only keys that have an effect are known; everything else is an error with its place.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::selector::{Glob, Kinds, Who};
use super::trial::{RawTrial, Trial};
use super::{Act, Allow, Approvers, Deny, May, Policy, PolicyError, Source};
use crate::access::channels::Kind;
use crate::access::names::{BadName, RuleId, User};
use crate::access::time::Span;

/// A request that nobody answers lapses after a day, unless the rule says otherwise.
const LAPSE: Span = Span::minutes(24 * 60);
/// What a rule gives when it does not say how long: an hour, or less.
const DEFAULT_DURATION: Span = Span::minutes(60);
/// Longer than a month is standing access by another name.
const LONGEST: Span = Span::minutes(31 * 24 * 60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    #[serde(default)]
    allow: Vec<Spanned<RawAllow>>,
    #[serde(default)]
    deny: Vec<Spanned<RawDeny>>,
    #[serde(default)]
    may: Vec<Spanned<RawMay>>,
    #[serde(default)]
    test: Vec<Spanned<RawTrial>>,
}

impl RawPolicy {
    fn starts(&self) -> Vec<usize> {
        let allows = self.allow.iter().map(|table| table.span().start);
        let denies = self.deny.iter().map(|table| table.span().start);
        let mays = self.may.iter().map(|table| table.span().start);
        allows.chain(denies).chain(mays).chain(self.test.iter().map(|table| table.span().start)).collect()
    }
}

type Texts = Spanned<Vec<Spanned<String>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawAllow {
    id: Spanned<String>,
    who: Texts,
    hosts: Texts,
    logins: Texts,
    channels: Texts,
    max_duration: Spanned<Span>,
    default_duration: Option<Spanned<Span>>,
    approve: Option<Spanned<RawApprove>>,
    lapse: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApprove {
    by: Texts,
    quorum: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDeny {
    id: Spanned<String>,
    who: Option<Texts>,
    hosts: Option<Texts>,
    logins: Option<Texts>,
    channels: Option<Texts>,
    because: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMay {
    who: Texts,
    r#do: Texts,
    hosts: Texts,
}

/// See [`Policy::parse`].
pub(super) fn parse(text: &str, file: &str) -> Result<Policy, PolicyError> {
    let raw: RawPolicy = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let found = PolicyError::at(file, text, span, error.message());
        if error.message().starts_with("unknown") {
            found.hint("a key that is not listed has no effect in this version, so it is refused")
        } else {
            found
        }
    })?;
    let reader = Reader { source: Source::new(file, text), starts: raw.starts() };
    let mut ids = BTreeSet::new();
    let allows = raw.allow.into_iter().map(|raw| reader.allow(raw, &mut ids)).collect::<Result<_, _>>()?;
    let denies = raw.deny.into_iter().map(|raw| reader.deny(raw, &mut ids)).collect::<Result<_, _>>()?;
    let mays = raw.may.into_iter().map(|raw| reader.may(raw.into_inner())).collect::<Result<_, _>>()?;
    let trials = raw.test.into_iter().map(|raw| Trial::read(raw, |span, message| reader.error(span, message))).collect::<Result<_, _>>()?;
    Ok(Policy { source: reader.source, allows, denies, mays, trials })
}

struct Reader {
    source: Source,
    /// Where each table of the file begins.
    starts: Vec<usize>,
}

impl Reader {
    fn error(&self, span: Range<usize>, message: impl Into<String>) -> PolicyError {
        PolicyError::at(&self.source.file, &self.source.text, span, message)
    }

    fn allow(&self, raw: Spanned<RawAllow>, ids: &mut BTreeSet<RuleId>) -> Result<Allow, PolicyError> {
        let text = self.rule_text(raw.span().start);
        let raw = raw.into_inner();
        let max = self.at_most_a_month(&raw.max_duration)?;
        let default = match raw.default_duration {
            Some(default) if *default.get_ref() > max => {
                return Err(self.error(default.span(), format!("default-duration {} is longer than max-duration {max}", default.get_ref())));
            }
            Some(default) => default.into_inner(),
            None => DEFAULT_DURATION.min(max),
        };
        let who = self.list(&raw.who, Who::try_from)?;
        let approve = raw.approve.map(|approve| self.approvers(approve.into_inner(), &who)).transpose()?;
        Ok(Allow {
            id: self.id(&raw.id, ids)?,
            hosts: self.list(&raw.hosts, |text| text.parse())?,
            logins: self.list(&raw.logins, |text| Glob::parse(&text))?,
            channels: self.kinds(&raw.channels)?,
            max_duration: max,
            default_duration: default,
            lapse: raw.lapse.map_or(Ok(LAPSE), |lapse| self.at_most_a_month(&lapse))?,
            approve,
            who,
            text,
        })
    }

    fn deny(&self, raw: Spanned<RawDeny>, ids: &mut BTreeSet<RuleId>) -> Result<Deny, PolicyError> {
        let raw = raw.into_inner();
        if raw.because.get_ref().trim().is_empty() {
            return Err(self
                .error(raw.because.span(), "because is empty: the requester reads it")
                .hint("say in a sentence why this is denied"));
        }
        Ok(Deny {
            id: self.id(&raw.id, ids)?,
            who: raw.who.map(|list| self.list(&list, Who::try_from)).transpose()?,
            hosts: raw.hosts.map(|list| self.list(&list, |text| text.parse())).transpose()?,
            logins: raw.logins.map(|list| self.list(&list, |text| Glob::parse(&text))).transpose()?,
            channels: raw.channels.map(|list| self.kinds(&list)).transpose()?,
            because: raw.because.into_inner().trim().to_owned(),
        })
    }

    fn may(&self, raw: RawMay) -> Result<May, PolicyError> {
        let acts = self.list(&raw.r#do, |text| text.parse::<Act>())?;
        Ok(May {
            who: self.list(&raw.who, Who::try_from)?,
            acts: acts.into_iter().collect(),
            hosts: self.list(&raw.hosts, |text| text.parse())?,
        })
    }

    fn id(&self, raw: &Spanned<String>, ids: &mut BTreeSet<RuleId>) -> Result<RuleId, PolicyError> {
        let id = RuleId::parse(raw.get_ref()).map_err(|bad| self.error(raw.span(), bad.to_string()))?;
        if !ids.insert(id.clone()) {
            return Err(self
                .error(raw.span(), format!("the id \"{id}\" is taken by an earlier rule"))
                .hint("give each rule its own id; requests and events name it"));
        }
        Ok(id)
    }

    fn list<T>(&self, raw: &Texts, read: impl Fn(String) -> Result<T, BadName>) -> Result<Vec<T>, PolicyError> {
        if raw.get_ref().is_empty() {
            return Err(self.error(raw.span(), "an empty list matches nothing").hint("name something, or write [\"*\"] for all"));
        }
        let one = |text: &Spanned<String>| read(text.get_ref().clone()).map_err(|bad| self.error(text.span(), bad.to_string()));
        raw.get_ref().iter().map(one).collect()
    }

    fn kinds(&self, raw: &Texts) -> Result<Kinds, PolicyError> {
        if let [only] = raw.get_ref().as_slice()
            && only.get_ref() == "*"
        {
            return Ok(Kinds::All);
        }
        let kinds = self.list(raw, |text| text.parse::<Kind>())?;
        for (kind, text) in kinds.iter().zip(raw.get_ref()) {
            if !kind.is_built() {
                return Err(self
                    .error(text.span(), format!("{kind} has no effect: forwards and the agent are not built in this version"))
                    .hint("the kinds are shell, exec, sftp-read and sftp-write; [\"*\"] is all of them"));
            }
        }
        Ok(Kinds::Some(kinds.into_iter().collect()))
    }

    fn approvers(&self, raw: RawApprove, askers: &[Who]) -> Result<Approvers, PolicyError> {
        let by = self.list(&raw.by, Who::try_from)?;
        let span = raw.quorum.as_ref().map_or_else(|| raw.by.span(), Spanned::span);
        let quorum = raw.quorum.map_or(1, Spanned::into_inner);
        if quorum == 0 {
            return Err(self
                .error(span, "a quorum of 0 asks nobody")
                .hint("leave `approve` out: then it is granted at once, and logged as such"));
        }
        let reach = most_approvers(&by, askers);
        match reach {
            Some(reach) if (reach as u64) < u64::from(quorum) => Err(self
                .error(span, format!("a quorum of {quorum} can never be reached: at most {reach} of those named can say yes"))
                .hint("nobody approves their own request, and one human counts once; name more people or a role")),
            _ => Ok(Approvers { by, quorum }),
        }
    }

    fn at_most_a_month(&self, raw: &Spanned<Span>) -> Result<Span, PolicyError> {
        let span = *raw.get_ref();
        if span > LONGEST {
            return Err(self.error(raw.span(), format!("{span} is longer than {LONGEST}, the most that a rule can say")));
        }
        Ok(span)
    }

    /// From the rule's header to where the next one begins, without the comments that stand before that one.
    fn rule_text(&self, start: usize) -> Range<usize> {
        let end = self.starts.iter().copied().filter(|next| *next > start).min().unwrap_or(self.source.text.len());
        let own = self.source.text.get(start..end).unwrap_or("");
        let kept = own.split_inclusive('\n').collect::<Vec<_>>();
        let after = kept
            .iter()
            .rev()
            .take_while(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
            .map(|line| line.len())
            .sum::<usize>();
        start..end - after
    }
}

/// How many different humans can say yes in the worst case, if the list names humans only.
fn most_approvers(by: &[Who], askers: &[Who]) -> Option<usize> {
    let mut named: BTreeSet<&User> = BTreeSet::new();
    for who in by {
        match who {
            Who::User(user) => named.insert(user),
            _ => return None,
        };
    }
    // An asker who is among the named cannot count: the rule must work for each asker that it names.
    let own = askers.iter().any(|who| matches!(who, Who::User(user) if named.contains(user)));
    Some(named.len() - usize::from(own))
}
