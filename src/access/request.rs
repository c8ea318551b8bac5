//! A request and its states. A state carries its data; a move consumes the request and gives the next one, or a refusal.

#[cfg(test)]
mod life;
mod text;

use serde::{Deserialize, Serialize};

use super::channels::Channels;
use super::grant::Grant;
use super::names::{GrantId, HostName, Login, Note, Reason, RequestId, Ticket, User};
use super::person::Person;
use super::policy::BoundRule;
use super::refusal::Refusal;
use super::signature::Signature;
use super::time::{Span, Timestamp};

/// When the right begins and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// Not before this; none means when it is approved.
    pub from: Option<Timestamp>,
    /// How long from then.
    pub length: Span,
}

impl When {
    /// The end, where it is known before the approval.
    pub fn until(&self) -> Option<Timestamp> {
        self.from.map(|from| from.plus(self.length))
    }
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
    /// More time of this grant is asked for, from the end that it had then (`when.from`); none asks for a new one.
    pub extends: Option<GrantId>,
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
    /// Made with a key of theirs over [`Request::approval_text`].
    pub signature: Option<Signature>,
}

impl Approval {
    /// A plain yes or no.
    pub fn new(by: User, at: Timestamp, note: Option<Note>) -> Self {
        Self { by, at, note, length: None, channels: None, signature: None }
    }
}

/// What the last yes makes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, for the length of one act")]
pub enum Makes {
    /// A new grant under this id.
    New(GrantId),
    /// More time of this grant, as it stands now.
    Later(Grant),
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
#[expect(clippy::large_enum_variant, reason = "a no carries its approver's words; requests are read one by one")]
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

    /// When it lapses if nobody answers: as the rule says, but no later than a yes could still give something. An extension is answered
    /// before the end that it moves, any other request before its own end.
    pub fn lapses_at(&self) -> Timestamp {
        let answered = self.filed_at.plus(self.rule.lapse);
        let pointless = if self.asked.extends.is_some() { self.asked.when.from } else { self.asked.when.until() };
        pointless.map_or(answered, |pointless| pointless.min(answered))
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
    pub fn grant_at_once(self, makes: Makes, now: Timestamp) -> Result<(Self, Grant), Refusal> {
        if self.rule.quorum() > 0 {
            return Err(Refusal::new("needs-approval", format!("rule {} wants an approval", self.rule.id))
                .hint(format!("these can: {}", self.rule.approver_words())));
        }
        self.open(now)?;
        self.granted(makes, vec![], now)
    }

    /// One more yes by `who`; with the last one that the quorum needs, the grant that it `makes`. `who` is the approver as their
    /// roles are now; of the earlier ones those count who are among `present`, as their roles are now, and may still decide; what the
    /// others said stays. A signature is checked here; whether its key is one of `who`'s, and the denies of now (`Policy::denies_now`),
    /// are the caller's to ask.
    pub fn approve(self, yes: Approval, who: &Person, makes: Makes, present: &[Person]) -> Result<(Self, Option<Grant>), Refusal> {
        let now = yes.at;
        let mut approvals = self.open(now)?.to_vec();
        self.may_decide(&yes, who)?;
        self.signed_as_wanted(&yes)?;
        if let Makes::Later(grant) = &makes {
            grant.stands(now)?;
        }
        // Where the rule wants signatures now, a yes from before it did counts only once it is said again, signed.
        let counts = |earlier: &Approval| !self.rule.signed || earlier.signature.is_some();
        let earlier = present.iter().filter(|person| approvals.iter().any(|earlier| earlier.by == person.user && counts(earlier)));
        let counting: Vec<Person> = earlier.chain([who]).cloned().collect();
        let missing = self.rule.missing(&self.asked.user, &counting);
        if let Some(unsigned) = approvals.iter().position(|earlier| earlier.by == yes.by && !counts(earlier)) {
            approvals.remove(unsigned);
            self.only_narrows(&yes, &approvals)?;
            approvals.insert(unsigned, yes);
        } else if approvals.iter().any(|earlier| earlier.by == yes.by) {
            // Where somebody's yes counts again, enough may have spoken: then the same yes once more is what lets it begin.
            if missing > 0 || yes.length.is_some() || yes.channels.is_some() {
                return Err(Refusal::new("already-approved", format!("you have said yes to {} already", self.id))
                    .hint(format!("{missing} more must say yes: {}", self.rule.approver_words())));
            }
        } else {
            self.only_narrows(&yes, &approvals)?;
            approvals.push(yes);
        }
        if missing > 0 {
            return Ok((Self { state: State::Pending { approvals }, ..self }, None));
        }
        let (approved, grant) = self.granted(makes, approvals, now)?;
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

    /// Nobody answered. Refused before its time, unless it is an extension and `extended`, the grant that it would extend, is over.
    pub fn lapse(self, extended: Option<&Grant>, now: Timestamp) -> Result<Self, Refusal> {
        if !matches!(self.state, State::Pending { .. }) {
            self.open(now)?;
        }
        let pointless = extended.is_some_and(|grant| self.asked.extends.as_ref() == Some(&grant.id) && grant.is_over(now));
        if now < self.lapses_at() && !pointless {
            return Err(Refusal::new("not-lapsed", format!("{} waits until {}", self.id, self.lapses_at())));
        }
        Ok(Self { state: State::Lapsed, ..self })
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

    /// A signature is over exactly this yes; and there is one where the rule wants one.
    fn signed_as_wanted(&self, yes: &Approval) -> Result<(), Refusal> {
        match &yes.signature {
            Some(signature) => signature.verify(&self.approval_text(yes.length, yes.channels.as_ref())),
            None if self.rule.signed => Err(Refusal::new(
                "unsigned",
                format!("rule {} wants your approval of {} signed with a key of yours", self.rule.id, self.id),
            )
            .hint(self.signing_command(yes.length, yes.channels.as_ref()))),
            None => Ok(()),
        }
    }

    /// An approver may shorten and narrow, never lengthen; and something must be left.
    fn only_narrows(&self, yes: &Approval, earlier: &[Approval]) -> Result<(), Refusal> {
        if let (Some(grant), Some(_)) = (&self.asked.extends, &yes.channels) {
            return Err(Refusal::new("only-time", format!("{} asks for more time of {grant}; its channel kinds stay", self.id))
                .hint(format!("`ssh jit-bastion approve {} --for D` gives less time", self.id)));
        }
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

    fn granted(self, makes: Makes, approvals: Vec<Approval>, now: Timestamp) -> Result<(Self, Grant), Refusal> {
        let ask = &self.asked;
        let length = approvals.iter().filter_map(|yes| yes.length).fold(ask.when.length, Span::min);
        // A right that was to begin in the past does not end later for it.
        let begins = ask.when.from.map_or(now, |from| from.max(now));
        let ends = ask.when.from.unwrap_or(now).plus(length);
        let grant = match makes {
            Makes::Later(grant) => grant.lengthened(ends, now)?,
            Makes::New(_) if ends <= begins => {
                return Err(Refusal::new(
                    "nothing-left",
                    format!("the {length} from {begins} on that would be granted were over at {ends}"),
                )
                .hint(format!("leave --for out, or `ssh jit-bastion deny {} --note TEXT`", self.id)));
            }
            Makes::New(id) => Grant {
                id,
                request: self.id.clone(),
                user: ask.user.clone(),
                host: ask.host.clone(),
                login: ask.login.clone(),
                channels: narrowed(&ask.channels, &approvals),
                rule: self.rule.id.clone(),
                begins,
                ends,
                extended: 0,
                finished: None,
            },
        };
        Ok((Self { state: State::Approved { grant: grant.id.clone(), approvals }, ..self }, grant))
    }
}

fn narrowed<'a>(asked: &Channels, approvals: impl IntoIterator<Item = &'a Approval>) -> Channels {
    approvals.into_iter().filter_map(|yes| yes.channels.as_ref()).fold(asked.clone(), |left, only| left.within(only))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::access::names::{Role, RuleId};
    use crate::access::policy::{Approvers, Who, hex};

    pub(super) const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

    pub(super) fn user(name: &str) -> User {
        User::parse(name).unwrap()
    }

    pub(super) fn owner(name: &str) -> Person {
        Person::staff(user(name), [Role::parse("owner").unwrap(), Role::parse("chief").unwrap()])
    }

    pub(super) fn all() -> Vec<Person> {
        NAMES.into_iter().map(owner).collect()
    }

    pub(super) fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn id() -> Makes {
        Makes::New(GrantId::parse("g-7k2m9q").unwrap())
    }

    pub(super) fn request(quorum: u32, reason: &str) -> Request {
        let by = vec!["role:owner".parse::<Who>().unwrap(), "role:chief".parse().unwrap()];
        let rule = BoundRule {
            id: RuleId::parse("dba").unwrap(),
            text: "[[allow]]".into(),
            policy: "ab".repeat(32),
            approve: (quorum > 0).then_some(Approvers { by, quorum }),
            max_duration: Span::minutes(240),
            default_duration: Span::minutes(60),
            lapse: Span::minutes(60),
            idle: None,
            idle_commands: false,
            record_input: false,
            unindexed: false,
            extend: None,
            signed: false,
            require_cert: false,
            egress: None,
            egress_filed: None,
            keep: None,
            statements: Default::default(),
            direct: false,
            reason_min_length: None,
            ticket: false,
            floors: vec![],
        };
        let asked = Ask {
            user: user("alice"),
            host: HostName::parse("phi-db").unwrap(),
            login: Login::parse("postgres").unwrap(),
            channels: "shell,exec".parse().unwrap(),
            when: When { from: None, length: Span::minutes(90) },
            reason: Reason::parse(reason).unwrap(),
            ticket: None,
            extends: None,
        };
        Request::file(RequestId::parse("r-7k2m9q").unwrap(), asked, rule, at(100))
    }

    fn yes(by: &str, second: i64) -> Approval {
        Approval::new(user(by), at(second), None)
    }

    #[test]
    fn a_quorum_of_humans_makes_a_grant() {
        let (first, none) = request(2, "x").approve(yes("bob", 110), &owner("bob"), id(), &all()).unwrap();
        assert!(none.is_none());
        let again = first.clone().approve(yes("bob", 111), &owner("bob"), id(), &all()).unwrap_err();
        assert_eq!(again.to_string(), "you have said yes to r-7k2m9q already\nhint: 1 more must say yes: role:owner, role:chief");
        let (approved, grant) = first.approve(yes("carol", 120), &owner("carol"), id(), &all()).unwrap();
        let grant = grant.unwrap();
        assert_eq!((grant.begins, grant.ends), (at(120), at(120 + 90 * 60)));
        assert_eq!((grant.rule.as_str(), grant.channels.to_string()), ("dba", "shell,exec".into()));
        let late = approved.deny(yes("dave", 130), &owner("dave")).unwrap_err();
        assert_eq!(late.message, "r-7k2m9q was approved by carol at 1970-01-01T00:02:00.000Z: g-7k2m9q");
    }

    #[test]
    fn states_have_their_words() {
        let grant = GrantId::parse("g-7k2m9q").unwrap();
        let states = [
            State::Pending { approvals: vec![] },
            State::Approved { grant, approvals: vec![] },
            State::Denied { by: yes("bob", 1) },
            State::Withdrawn,
            State::Lapsed,
        ];
        assert_eq!(states.each_ref().map(State::as_str).join(" "), "pending approved denied withdrawn lapsed");
        use crate::access::grant::GrantState::{Active, Closed, Ended, Revoked, Waiting};
        assert_eq!([Waiting, Active, Ended, Closed, Revoked].map(|state| state.as_str()).join(" "), "waiting active ended closed revoked");
    }

    #[test]
    fn who_may_not_decide_hears_why() {
        let code = |result: Result<(Request, Option<Grant>), Refusal>| result.map(|_| ()).map_err(|no| no.code);
        assert_eq!(code(request(1, "x").approve(yes("alice", 110), &owner("alice"), id(), &all())), Err("own-request"));
        assert_eq!(code(request(1, "x").approve(yes("bob", 110), &Person::staff(user("bob"), []), id(), &all())), Err("not-approver"));
        assert_eq!(code(request(1, "x").approve(yes("carol", 110), &owner("bob"), id(), &all())), Err("not-approver"));
        assert_eq!(code(request(1, "x").approve(yes("bob", 100 + 3600), &owner("bob"), id(), &all())), Err("already-decided"));
        assert!(request(1, "x").grant_at_once(id(), at(101)).is_err_and(|no| no.code == "needs-approval"));
        assert!(request(0, "x").grant_at_once(id(), at(101)).is_ok());
        assert!(request(0, "x").approve(yes("bob", 101), &owner("bob"), id(), &all()).is_err(), "nobody is named");
    }

    #[test]
    fn an_approver_narrows_and_never_widens() {
        let narrow = Approval { length: Some(Span::minutes(30)), channels: Some("exec".parse().unwrap()), ..yes("bob", 110) };
        let (_, grant) = request(1, "x").approve(narrow.clone(), &owner("bob"), id(), &all()).unwrap();
        let grant = grant.unwrap();
        assert_eq!((grant.ends.since(grant.begins), grant.channels.to_string()), (Span::minutes(30), "exec".into()));
        for wide in [
            Approval { length: Some(Span::minutes(91)), ..yes("bob", 110) },
            Approval { channels: Some("shell,sftp-read".parse().unwrap()), ..yes("bob", 110) },
        ] {
            assert!(request(1, "x").approve(wide, &owner("bob"), id(), &all()).is_err_and(|no| no.code == "lengthens"));
        }
        let (first, _) = request(2, "x").approve(narrow, &owner("bob"), id(), &all()).unwrap();
        let other = Approval { channels: Some("shell".parse().unwrap()), ..yes("carol", 120) };
        assert!(first.approve(other, &owner("carol"), id(), &all()).is_err_and(|no| no.code == "nothing-left"));
    }

    #[test]
    fn a_right_for_later_begins_then_and_ends_as_asked() {
        let mut later = request(1, "x");
        later.asked.when.from = Some(at(1000));
        let (_, grant) = later.clone().approve(yes("bob", 110), &owner("bob"), id(), &all()).unwrap();
        assert_eq!(grant.map(|g| (g.begins, g.ends)), Some((at(1000), at(1000 + 5400))));
        let (_, grant) = later.approve(yes("bob", 1300), &owner("bob"), id(), &all()).unwrap();
        assert_eq!(grant.map(|g| (g.begins, g.ends)), Some((at(1300), at(1000 + 5400))), "a late yes does not move the end");
    }

    #[test]
    fn only_the_asker_withdraws_and_only_time_lapses() {
        assert_eq!(request(1, "x").withdraw(&user("bob"), at(110)).map_err(|no| no.code), Err("not-yours"));
        assert_eq!(request(1, "x").withdraw(&user("alice"), at(110)).map(|r| r.state), Ok(State::Withdrawn));
        assert!(request(1, "x").lapse(None, at(3699)).is_err());
        assert_eq!(request(1, "x").lapse(None, at(3700)).map(|r| r.state), Ok(State::Lapsed));
        let withdrawn = request(1, "x").withdraw(&user("alice"), at(110)).unwrap();
        assert!(withdrawn.lapse(None, at(9999)).is_err());
    }

    #[test]
    fn a_yes_of_somebody_who_may_not_decide_any_more_does_not_count() {
        let (first, _) = request(2, "x").approve(yes("bob", 110), &owner("bob"), id(), &all()).unwrap();
        let without_bob: Vec<Person> = all().into_iter().filter(|who| who.user.as_str() != "bob").collect();
        let (second, none) = first.approve(yes("carol", 120), &owner("carol"), id(), &without_bob).unwrap();
        assert_eq!((second.approvals().len(), none), (2, None));
        let again = second.clone().approve(yes("carol", 121), &owner("carol"), id(), &without_bob);
        assert!(again.is_err_and(|no| no.code == "already-approved"));
        let (third, grant) = second.clone().approve(yes("carol", 122), &owner("carol"), id(), &all()).unwrap();
        assert!(grant.is_some(), "bob counts again");
        assert_eq!(third.approvals(), second.approvals());
    }

    #[test]
    fn the_text_that_is_approved_is_fixed() {
        let request = request(2, "fix\nrequest: r-000000 \\n\u{202e}");
        assert_eq!(
            request.canonical_text(),
            format!(
                "jit-bastion approval 1\nrequest: r-7k2m9q\nuser: alice\nhost: phi-db\nlogin: postgres\nchannels: shell,exec\nfrom: when approved\nfor: 1h30m\n\
                 reason: fix\\nrequest: r-000000 \\\\n\\u{{202e}}\nticket: \nrule: dba\npolicy: {}\nfiled: 1970-01-01T00:01:40.000Z\n",
                "ab".repeat(32)
            )
        );
        let (before, digest) = (request.canonical_text(), request.digest());
        let (after, _) = request.approve(yes("bob", 110), &owner("bob"), id(), &all()).unwrap();
        assert_eq!((after.canonical_text(), after.digest()), (before, digest));
        assert_eq!(after.digest().len(), 64);
    }

    #[test]
    fn more_time_and_less_stand_in_the_text_that_is_signed() {
        let mut more = request(1, "x");
        more.asked.when.from = Some(at(1000));
        let plain = more.canonical_text();
        more.asked.extends = Some(GrantId::parse("g-7k2m9q").unwrap());
        assert_eq!(more.canonical_text(), format!("{plain}extends: g-7k2m9q\nuntil: 1970-01-01T01:46:40.000Z\n"));
        let less = more.approval_text(Some(Span::minutes(10)), Some(&"exec".parse().unwrap()));
        assert_eq!(less, format!("{}approved-for: 10m\napproved-channels: exec\n", more.canonical_text()));
        assert!(more.is_digest(&more.digest().to_uppercase(), None, None) && !more.is_digest("", None, None));
        let digest = hex(&Sha256::digest(less.as_bytes()));
        assert!(more.is_digest(&digest, Some(Span::minutes(10)), Some(&"exec".parse().unwrap())));
        assert!(!more.is_digest(&digest, Some(Span::minutes(10)), None));
    }

    #[test]
    fn a_signed_yes_is_over_exactly_what_it_says() {
        use rand::SeedableRng;
        let key = ssh_key::PrivateKey::random(&mut rand::rngs::StdRng::seed_from_u64(1), ssh_key::Algorithm::Ed25519).unwrap();
        let signed = |text: &str| {
            let made = key.sign(crate::access::signature::NAMESPACE, ssh_key::HashAlg::Sha512, text.as_bytes()).unwrap();
            Some(Signature::parse(&made.to_pem(ssh_key::LineEnding::LF).unwrap()).unwrap())
        };
        let mut wanted = request(1, "x");
        wanted.rule.signed = true;
        let code = |yes: Approval| {
            wanted.clone().approve(yes, &owner("bob"), id(), &all()).map(|(_, grant)| grant.is_some()).map_err(|no| no.code)
        };
        let less = Approval { length: Some(Span::minutes(10)), ..yes("bob", 110) };
        let (plain, shorter) = (wanted.canonical_text(), wanted.approval_text(less.length, None));
        assert_eq!(code(Approval { signature: signed(&plain), ..yes("bob", 110) }), Ok(true));
        assert_eq!(code(Approval { signature: signed(&shorter), ..less.clone() }), Ok(true));
        assert_eq!(code(Approval { signature: signed(&plain), ..less.clone() }), Err("wrong-signature"));
        assert_eq!(code(Approval { signature: signed(&shorter), ..yes("bob", 110) }), Err("wrong-signature"));
        assert_eq!(code(Approval { signature: signed(&request(1, "y").canonical_text()), ..yes("bob", 110) }), Err("wrong-signature"));
        let refusal = wanted.clone().approve(less, &owner("bob"), id(), &all()).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "rule dba wants your approval of r-7k2m9q signed with a key of yours\nhint: ssh jit-bastion show r-7k2m9q --text --for 10m | \
             ssh-keygen -Y sign -n jit-bastion-approval -f KEY | ssh jit-bastion approve r-7k2m9q --for 10m --signature -"
        );
    }

    #[test]
    fn where_signatures_are_wanted_since_an_unsigned_yes_counts_only_when_it_is_said_again() {
        use rand::SeedableRng;
        let key = ssh_key::PrivateKey::random(&mut rand::rngs::StdRng::seed_from_u64(1), ssh_key::Algorithm::Ed25519).unwrap();
        let (mut waits, _) = request(2, "x").approve(yes("bob", 110), &owner("bob"), id(), &all()).unwrap();
        waits.rule.signed = true;
        let made = key.sign(crate::access::signature::NAMESPACE, ssh_key::HashAlg::Sha512, waits.canonical_text().as_bytes()).unwrap();
        let signed = |who: &str, second: i64| Approval {
            signature: Some(Signature::parse(&made.to_pem(ssh_key::LineEnding::LF).unwrap()).unwrap()),
            ..yes(who, second)
        };
        // carol's signature is the first that counts
        let (waits, grant) = waits.approve(signed("carol", 120), &owner("carol"), id(), &all()).unwrap();
        assert!(grant.is_none());
        assert_eq!(waits.clone().approve(signed("carol", 130), &owner("carol"), id(), &all()).unwrap_err().code, "already-approved");
        let (done, grant) = waits.approve(signed("bob", 140), &owner("bob"), id(), &all()).unwrap();
        assert!(grant.is_some());
        let told: Vec<_> = done.approvals().iter().map(|yes| (yes.by.as_str(), yes.signature.is_some())).collect();
        assert_eq!(told, [("bob", true), ("carol", true)], "each stands once");
    }

    #[test]
    fn an_extension_keeps_the_channels_and_a_short_yes_leaves_something() {
        let mut later = request(1, "x");
        later.asked.when.from = Some(at(1000));
        let short = Approval { length: Some(Span::minutes(5)), ..yes("bob", 1300) };
        assert!(later.clone().approve(short, &owner("bob"), id(), &all()).is_err_and(|no| no.code == "nothing-left"));
        let (_, grant) = later.clone().approve(yes("bob", 110), &owner("bob"), id(), &all()).unwrap();
        let grant = grant.unwrap();
        later.asked.when.from = Some(grant.ends);
        later.asked.extends = Some(grant.id.clone());
        let narrow = Approval { channels: Some("exec".parse().unwrap()), ..yes("bob", 120) };
        let code = later.clone().approve(narrow, &owner("bob"), Makes::Later(grant.clone()), &all()).map_err(|no| no.code);
        assert_eq!(code.map(|_| ()), Err("only-time"));
        let closed = grant.close(crate::access::names::Actor::User(user("alice")), at(115)).unwrap();
        let late = later.clone().approve(yes("bob", 120), &owner("bob"), Makes::Later(closed.clone()), &all());
        assert_eq!(late.map(|_| ()).map_err(|no| no.code), Err("already-over"));
        assert_eq!(later.lapse(Some(&closed), at(116)).map(|r| r.state), Ok(State::Lapsed));
    }

    proptest! {
        #[test]
        fn different_reasons_are_different_texts(one in "\\PC{1,20}|[\\\\nu{}\n\u{1b}a ]{1,12}", other in "\\PC{1,20}|[\\\\nu{}\n\u{1b}a ]{1,12}") {
            prop_assume!(!one.trim().is_empty() && !other.trim().is_empty());
            let (a, b) = (request(1, &one), request(1, &other));
            prop_assert_eq!(a.canonical_text() == b.canonical_text(), a.asked.reason == b.asked.reason);
            prop_assert_eq!(a.canonical_text().lines().count(), 13);
        }

        #[test]
        fn one_human_counts_once_and_nobody_for_themselves(yeses in prop::collection::vec(0..5usize, 0..8), quorum in 1..4u32) {
            let mut now = request(quorum, "x");
            for (n, who) in yeses.iter().enumerate() {
                let (second, name) = (110 + i64::try_from(n).unwrap(), NAMES[*who]);
                let Ok((next, grant)) = now.clone().approve(yes(name, second), &owner(name), id(), &all()) else { continue };
                let mut humans: Vec<&User> = next.approvals().iter().map(|yes| &yes.by).collect();
                humans.sort();
                humans.dedup();
                prop_assert_eq!(humans.len(), next.approvals().len());
                prop_assert!(!humans.contains(&&user("alice")));
                prop_assert_eq!(grant.is_some(), humans.len() == quorum as usize);
                now = next;
            }
            let distinct = yeses.iter().filter(|who| **who != 0).collect::<std::collections::BTreeSet<_>>().len();
            prop_assert_eq!(matches!(now.state, State::Approved { .. }), distinct >= quorum as usize);
        }
    }
}
