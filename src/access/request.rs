//! A request and its states. A state carries its data; a move consumes the request and gives the next one, or a refusal.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::channels::Channels;
use super::grant::Grant;
use super::names::{GrantId, HostName, Login, Note, Reason, RequestId, Ticket, User};
use super::person::Person;
use super::policy::{BoundRule, hex};
use super::refusal::Refusal;
use super::time::{Span, Timestamp};

/// When the right begins and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// Not before this; none means when it is approved.
    pub from: Option<Timestamp>,
    /// How long from then.
    pub length: Span,
}

/// What exactly is asked for; nothing is left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who asks, and will use it.
    pub user: User,
    /// Where to.
    pub host: HostName,
    /// As whom.
    pub login: Login,
    /// To open what.
    pub channels: Channels,
    /// When and how long.
    pub when: When,
    /// Why.
    pub reason: Reason,
    /// Its id in another system.
    pub ticket: Option<Ticket>,
}

/// A yes or a no, by one human.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Who decided.
    pub by: User,
    /// When.
    pub at: Timestamp,
    /// What they said with it.
    pub note: Option<Note>,
    /// No longer than this.
    pub length: Option<Span>,
    /// These kinds only.
    pub channels: Option<Channels>,
}

impl Approval {
    /// A plain yes or no.
    pub fn new(by: User, at: Timestamp, note: Option<Note>) -> Self {
        Self { by, at, note, length: None, channels: None }
    }
}

/// A request, with the rule that was bound when it was filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// What is asked.
    pub asked: Ask,
    /// The one rule that covers it.
    pub rule: BoundRule,
    /// When.
    pub filed_at: Timestamp,
    /// What became of it.
    pub state: State,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It waits; so far these said yes.
    Pending {
        /// Each by another human.
        approvals: Vec<Approval>,
    },
    /// A grant came of it.
    Approved {
        /// That grant.
        grant: GrantId,
        /// Who said yes; empty when it was granted at once.
        approvals: Vec<Approval>,
    },
    /// Somebody said no.
    Denied {
        /// Who, and why.
        by: Approval,
    },
    /// The asker took it back.
    Withdrawn,
    /// Nobody answered in time.
    Lapsed,
}

impl State {
    /// `pending approved denied withdrawn lapsed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
        }
    }
}

impl Request {
    /// Newly filed and pending, also when the rule asks nobody (see [`Request::grant_at_once`]).
    pub fn file(id: RequestId, asked: Ask, rule: BoundRule, now: Timestamp) -> Self {
        Self { id, asked, rule, filed_at: now, state: State::Pending { approvals: vec![] } }
    }

    /// When it lapses if nobody answers.
    pub fn lapses_at(&self) -> Timestamp {
        self.filed_at.plus(self.rule.lapse)
    }

    /// Is it still to be decided at `now`?
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.state, State::Pending { .. }) && now < self.lapses_at()
    }

    /// The yeses so far.
    pub fn approvals(&self) -> &[Approval] {
        match &self.state {
            State::Pending { approvals } | State::Approved { approvals, .. } => approvals,
            _ => &[],
        }
    }

    /// The grant of a rule that asks nobody.
    pub fn grant_at_once(self, grant: GrantId, now: Timestamp) -> Result<(Self, Grant), Refusal> {
        if self.rule.approve.is_some() {
            return Err(Refusal::new("needs-approval", format!("rule {} wants an approval", self.rule.id))
                .hint(format!("these can: {}", self.rule.approver_words())));
        }
        self.open(now)?;
        Ok(self.granted(grant, vec![], now))
    }

    /// One more yes by `who`; with the last one that the quorum needs, the grant (under the id `grant`). `who` is the approver as their
    /// roles are now. The denies of now are the caller's to ask (`Policy::denies_now`).
    pub fn approve(self, yes: Approval, who: &Person, grant: GrantId) -> Result<(Self, Option<Grant>), Refusal> {
        let now = yes.at;
        let mut approvals = self.open(now)?.to_vec();
        self.may_decide(&yes, who)?;
        if approvals.iter().any(|earlier| earlier.by == yes.by) {
            let missing = self.rule.quorum() as usize - approvals.len().min(self.rule.quorum() as usize);
            return Err(Refusal::new("already-approved", format!("you have said yes to {} already", self.id))
                .hint(format!("{missing} more must say yes: {}", self.rule.approver_words())));
        }
        self.only_narrows(&yes, &approvals)?;
        approvals.push(yes);
        if approvals.len() < self.rule.quorum() as usize {
            return Ok((Self { state: State::Pending { approvals }, ..self }, None));
        }
        let (approved, grant) = self.granted(grant, approvals, now);
        Ok((approved, Some(grant)))
    }

    /// A no by `who`: one is enough.
    pub fn deny(self, no: Approval, who: &Person) -> Result<Self, Refusal> {
        self.open(no.at)?;
        self.may_decide(&no, who)?;
        Ok(Self { state: State::Denied { by: no }, ..self })
    }

    /// Taken back by the asker.
    pub fn withdraw(self, by: &User, now: Timestamp) -> Result<Self, Refusal> {
        if *by != self.asked.user {
            return Err(Refusal::new("not-yours", format!("{} was filed by {}", self.id, self.asked.user))
                .hint("only the asker withdraws; an approver denies"));
        }
        self.open(now)?;
        Ok(Self { state: State::Withdrawn, ..self })
    }

    /// Nobody answered. Refused before its time.
    pub fn lapse(self, now: Timestamp) -> Result<Self, Refusal> {
        if !matches!(self.state, State::Pending { .. }) {
            self.open(now)?;
        }
        if now < self.lapses_at() {
            return Err(Refusal::new("not-lapsed", format!("{} waits until {}", self.id, self.lapses_at())));
        }
        Ok(Self { state: State::Lapsed, ..self })
    }

    /// The exact text that an approver says yes to, version 1: one `key: value` a line in this order, each line ended by a line feed, values
    /// escaped so that no text can forge a line (`\\` is a backslash). Never changes for a request, whatever becomes of it.
    pub fn canonical_text(&self) -> String {
        let ask = &self.asked;
        let from = ask.when.from.map_or_else(|| "when approved".into(), |from| from.to_string());
        let ticket = ask.ticket.as_ref().map_or("", Ticket::as_str);
        let lines = [
            ("request", self.id.as_str()),
            ("user", ask.user.as_str()),
            ("host", ask.host.as_str()),
            ("login", ask.login.as_str()),
            ("channels", &ask.channels.to_string()),
            ("from", &from),
            ("for", &ask.when.length.to_string()),
            ("reason", ask.reason.as_str()),
            ("ticket", ticket),
            ("rule", self.rule.id.as_str()),
            ("policy", &self.rule.policy),
            ("filed", &self.filed_at.to_string()),
        ];
        let mut text = String::from("jit-bastion approval 1\n");
        for (key, value) in lines {
            text.push_str(key);
            text.push_str(": ");
            text.push_str(&super::names::escaped(&value.replace('\\', "\\\\")));
            text.push('\n');
        }
        text
    }

    /// SHA-256 of [`Request::canonical_text`], in hex.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.canonical_text().as_bytes()))
    }

    /// The yeses so far if it can still be decided; else what was decided, by whom.
    fn open(&self, now: Timestamp) -> Result<&[Approval], Refusal> {
        let told = |what: String| {
            Err(Refusal::new("already-decided", format!("{} {what}", self.id))
                .hint(format!("`ssh jit-bastion show {}` tells the rest", self.id)))
        };
        match &self.state {
            State::Pending { .. } if now >= self.lapses_at() => told(format!("lapsed at {}", self.lapses_at())),
            State::Pending { approvals } => Ok(approvals),
            State::Approved { grant, approvals } => match approvals.last() {
                Some(last) => told(format!("was approved by {} at {}: {grant}", last.by, last.at)),
                None => told(format!("was granted at once: {grant}")),
            },
            State::Denied { by } => told(format!("was denied by {} at {}", by.by, by.at)),
            State::Withdrawn => told(format!("was withdrawn by {}", self.asked.user)),
            State::Lapsed => told(format!("lapsed at {}", self.lapses_at())),
        }
    }

    fn may_decide(&self, decision: &Approval, who: &Person) -> Result<(), Refusal> {
        if decision.by != who.user {
            return Err(Refusal::new("not-approver", format!("{} cannot decide for {}", who.user, decision.by)));
        }
        self.rule.may_decide(who, &self.asked.user)
    }

    /// An approver may shorten and narrow, never lengthen; and something must be left.
    fn only_narrows(&self, yes: &Approval, earlier: &[Approval]) -> Result<(), Refusal> {
        let asked = self.asked.when.length;
        if let Some(length) = yes.length.filter(|length| *length > asked) {
            return Err(Refusal::new("lengthens", format!("{length} is longer than the {asked} that {} asks for", self.id))
                .hint("an approver may shorten and narrow, never lengthen"));
        }
        if let Some(channels) = yes.channels.as_ref().filter(|channels| !self.asked.channels.covers_all(channels)) {
            return Err(Refusal::new(
                "lengthens",
                format!("{channels} is more than the {} that {} asks for", self.asked.channels, self.id),
            )
            .hint("an approver may shorten and narrow, never lengthen"));
        }
        let left = narrowed(&self.asked.channels, earlier.iter().chain([yes]));
        if left.is_empty() {
            return Err(Refusal::new("nothing-left", "no channel kind is left that every approver agreed to")
                .hint(format!("`ssh jit-bastion deny {} --note TEXT` says no", self.id)));
        }
        Ok(())
    }

    fn granted(self, id: GrantId, approvals: Vec<Approval>, now: Timestamp) -> (Self, Grant) {
        let ask = &self.asked;
        let length = approvals.iter().filter_map(|yes| yes.length).fold(ask.when.length, Span::min);
        // A right that was to begin in the past does not end later for it.
        let begins = ask.when.from.map_or(now, |from| from.max(now));
        let ends = ask.when.from.unwrap_or(now).plus(length).max(begins);
        let grant = Grant {
            id: id.clone(),
            request: self.id.clone(),
            user: ask.user.clone(),
            host: ask.host.clone(),
            login: ask.login.clone(),
            channels: narrowed(&ask.channels, &approvals),
            rule: self.rule.id.clone(),
            begins,
            ends,
            finished: None,
        };
        (Self { state: State::Approved { grant: id, approvals }, ..self }, grant)
    }
}

fn narrowed<'a>(asked: &Channels, approvals: impl IntoIterator<Item = &'a Approval>) -> Channels {
    approvals.into_iter().filter_map(|yes| yes.channels.as_ref()).fold(asked.clone(), |left, only| left.only(|kind| only.covers(kind)))
}
