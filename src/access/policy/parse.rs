//! Reading a policy file: only keys that have an effect are known; everything else is an error with its place.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::bound::{Approvers, MOST_HUMANS, SelfExtend};
use super::raw::{RawAllow, RawApprove, RawDeny, RawExtend, RawMask, RawMay, RawPolicy, RawRequire, Texts};
use super::reached::unreached;
use super::rules::{Allow, Deny, May, Require, Scope};
use super::selector::{Glob, Kinds, Who};
use super::trial::Trial;
use super::{Act, Policy, PolicyError, Source};
use crate::access::channels::Kind;
use crate::access::mask::Mask;
use crate::access::names::{BadName, RuleId, escaped};
use crate::access::time::Span;

/// A request that nobody answers lapses after a day, unless the rule says otherwise.
const LAPSE: Span = Span::minutes(24 * 60);
/// What a rule gives when it does not say how long: an hour, or less.
const DEFAULT_DURATION: Span = Span::minutes(60);
/// Longer than a month is standing access by another name.
const LONGEST: Span = Span::minutes(31 * 24 * 60);
/// A reason has at most so many characters, so a floor cannot want more.
const LONGEST_REASON: u32 = 1000;
/// A grant that its holder extends more often than this has no end.
const MOST_TIMES: u32 = 100;

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
    let wanted: Vec<Option<Range<usize>>> =
        raw.allow.iter().map(|raw| raw.get_ref().approve.as_ref().map(|approve| approve.get_ref().place())).collect();
    let allows: Vec<Allow> = raw.allow.into_iter().map(|raw| reader.allow(raw, &mut ids)).collect::<Result<_, _>>()?;
    let requires: Vec<(Require, Range<usize>)> =
        raw.require.into_iter().zip(1..).map(|(raw, number)| reader.require(raw, number, &mut ids)).collect::<Result<_, _>>()?;
    reader.reached(&allows, &wanted, &requires)?;
    let requires = requires.into_iter().map(|(floor, _)| floor).collect();
    let denies = raw.deny.into_iter().map(|raw| reader.deny(raw, &mut ids)).collect::<Result<_, _>>()?;
    let mays = raw.may.into_iter().map(|raw| reader.may(raw.into_inner())).collect::<Result<_, _>>()?;
    let trials = raw.test.into_iter().map(|raw| Trial::read(raw, |span, message| reader.error(span, message))).collect::<Result<_, _>>()?;
    let mask = Arc::new(reader.mask(raw.mask)?);
    Ok(Policy { source: reader.source, allows, requires, denies, mays, trials, mask })
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
        let (approve, signed) = self.approvers(raw.approve)?;
        Ok(Allow {
            id: self.id(&raw.id, ids)?,
            who: self.list(&raw.who, Who::try_from)?,
            hosts: self.list(&raw.hosts, |text| text.parse())?,
            logins: self.list(&raw.logins, |text| Glob::parse(&text))?,
            channels: self.kinds(&raw.channels)?,
            max_duration: max,
            default_duration: default,
            approve,
            signed,
            extend: raw.extend.map(|extend| self.extend(extend.into_inner())).transpose()?,
            idle: raw.idle.map(|idle| self.at_most_a_month(&idle)).transpose()?,
            idle_commands: raw.idle_commands,
            record_input: raw.record_input,
            unindexed: raw.index == Some(false),
            require_cert: raw.require_cert,
            egress: raw.egress,
            keep: raw.keep,
            statements: raw.statements,
            direct: raw.direct,
            lapse: raw.lapse.map_or(Ok(LAPSE), |lapse| self.at_most_a_month(&lapse))?,
            text,
        })
    }

    fn extend(&self, raw: RawExtend) -> Result<SelfExtend, PolicyError> {
        let times = raw.times.as_ref().map_or(1, |times| *times.get_ref());
        if !(1..=MOST_TIMES).contains(&times) {
            let span = raw.times.map_or(0..0, |times| times.span());
            return Err(self
                .error(span, format!("times = {times}: write 1 to {MOST_TIMES}"))
                .hint("leave `extend` out: then an extension is approved like a request"));
        }
        Ok(SelfExtend { length: self.at_most_a_month(&raw.length)?, times })
    }

    fn require(&self, raw: Spanned<RawRequire>, number: usize, ids: &mut BTreeSet<RuleId>) -> Result<(Require, Range<usize>), PolicyError> {
        let span = raw.span();
        let raw = raw.into_inner();
        let place = raw.approve.as_ref().map_or_else(|| span.clone(), |approve| approve.get_ref().place());
        let id = match &raw.id {
            Some(id) => self.id(id, ids)?,
            None => self.id(&Spanned::new(span.clone(), format!("require-{number}")), ids)?,
        };
        let reason = raw.reason.map(|reason| {
            let least = reason.into_inner().min_length;
            match *least.get_ref() {
                chars @ 1..=LONGEST_REASON => Ok(chars),
                chars => Err(self.error(least.span(), format!("min-length = {chars}: write 1 to {LONGEST_REASON}"))),
            }
        });
        let (approve, signed) = self.approvers(raw.approve)?;
        let floor = Require {
            id,
            scope: self.scope([raw.who, raw.hosts, raw.logins, raw.channels])?,
            reason: reason.transpose()?,
            ticket: raw.ticket,
            idle: raw.idle.map(|idle| self.at_most_a_month(&idle)).transpose()?,
            idle_commands: raw.idle_commands,
            max_duration: raw.max_duration.map(|max| self.at_most_a_month(&max)).transpose()?,
            record_input: raw.record_input,
            unindexed: raw.index == Some(false),
            require_cert: raw.require_cert,
            egress: raw.egress,
            signed,
            approve,
        };
        if floor.demands().is_empty() {
            return Err(self
                .error(span, "this floor demands nothing")
                .hint("set reason, ticket, idle, max-duration, record-input, index, require-cert, egress or approve"));
        }
        Ok((floor, place))
    }

    /// Whom the file names one by one is counted here; holders of a role are counted by `check`, which knows the users.
    fn reached(&self, allows: &[Allow], wanted: &[Option<Range<usize>>], requires: &[(Require, Range<usize>)]) -> Result<(), PolicyError> {
        for (allow, place) in allows.iter().zip(wanted) {
            let floors: Vec<&Require> = requires.iter().map(|(floor, _)| floor).collect();
            let Some(short) = unreached(allow, &floors) else { continue };
            let floor = short.floor.and_then(|id| requires.iter().find(|(floor, _)| floor.id == id));
            let place = floor.map(|(_, place)| place.clone()).or_else(|| place.clone()).unwrap_or(allow.text.clone());
            let under = floor.map_or_else(String::new, |(floor, _)| format!(" (rule {} over floor {})", allow.id, floor.id));
            let message =
                format!("a quorum of {} can never be reached{under}: at most {} of those named can say yes", short.quorum, short.most);
            return Err(self
                .error(place, message)
                .hint("nobody approves their own request, and one human counts once; name more people or a role"));
        }
        Ok(())
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
            scope: self.scope([raw.who, raw.hosts, raw.logins, raw.channels])?,
            because: escaped(raw.because.into_inner().trim()),
        })
    }

    /// What a deny or a floor speaks of.
    fn scope(&self, [who, hosts, logins, channels]: [Option<Texts>; 4]) -> Result<Scope, PolicyError> {
        Ok(Scope {
            who: who.map(|list| self.list(&list, Who::try_from)).transpose()?,
            hosts: hosts.map(|list| self.list(&list, |text| text.parse())).transpose()?,
            logins: logins.map(|list| self.list(&list, |text| Glob::parse(&text))).transpose()?,
            channels: channels.map(|list| self.kinds(&list)).transpose()?,
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

    /// What is masked: each pattern alone first, so that an error has its place.
    fn mask(&self, raw: Option<Spanned<RawMask>>) -> Result<Mask, PolicyError> {
        let Some(patterns) = raw.map(|raw| raw.into_inner().patterns) else { return Ok(Mask::built_in()) };
        for pattern in patterns.get_ref() {
            if let Err(bad) = Mask::new([pattern.get_ref().as_str()]) {
                return Err(self
                    .error(pattern.span(), format!("this pattern cannot be used: {bad}"))
                    .hint("write a regular expression without look-around and backreferences, such as '\\bPAT-[0-9]{6}\\b'"));
            }
        }
        let all = Mask::new(patterns.get_ref().iter().map(|pattern| pattern.get_ref().as_str()));
        all.map_err(|bad| self.error(patterns.span(), bad.to_string()))
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
        Ok(Kinds::Some(kinds.into_iter().collect()))
    }

    /// Who approves, and whether with a signature.
    fn approvers(&self, raw: Option<Spanned<RawApprove>>) -> Result<(Option<Approvers>, bool), PolicyError> {
        let Some(raw) = raw.map(Spanned::into_inner) else { return Ok((None, false)) };
        let place = raw.place();
        let by = self.list(&raw.by, Who::try_from)?;
        match raw.quorum.map_or(1, Spanned::into_inner) {
            0 => Err(self
                .error(place, "a quorum of 0 asks nobody")
                .hint("leave `approve` out: then it is granted at once, and logged as such")),
            quorum @ 1..=MOST_HUMANS => Ok((Some(Approvers { by, quorum }), raw.signed)),
            quorum => Err(self.error(place, format!("a quorum of {quorum} is more than {MOST_HUMANS}, the most that a rule can want"))),
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
