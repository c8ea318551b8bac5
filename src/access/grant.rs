//! A grant: a right that ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::channels::Channels;
use super::names::{Actor, GrantId, HostName, Login, RequestId, RuleId, User};
use super::policy::BoundRule;
use super::refusal::Refusal;
use super::time::{Span, Timestamp};

/// The right that came out of one request, under exactly one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Where it came from.
    pub request: RequestId,
    /// Whose it is.
    pub user: User,
    /// Where to.
    pub host: HostName,
    /// As whom.
    pub login: Login,
    /// To open what.
    pub channels: Channels,
    /// The rule it is bound to, as the request keeps it.
    pub rule: RuleId,
    /// From this moment.
    pub begins: Timestamp,
    /// To this moment, which is outside.
    pub ends: Timestamp,
    /// How often its holder has taken more time without being approved again.
    pub extended: u32,
    /// Ended before its time.
    pub finished: Option<Finished>,
}

/// How a grant ended before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Closed by its holder, or revoked.
    pub how: Finish,
    /// By whom.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// Two ways to end a grant early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The holder was done.
    Closed,
    /// Somebody took it away.
    Revoked,
}

/// Where a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantState {
    /// It has not begun.
    Waiting,
    /// It admits.
    Active,
    /// Its time is up.
    Ended,
    /// Closed by its holder.
    Closed,
    /// Taken away.
    Revoked,
}

impl GrantState {
    /// The word in commands and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Closed => "closed",
            Self::Revoked => "revoked",
        }
    }
}

/// A visit that stands at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Whose key was proven.
    pub user: User,
    /// The registered name.
    pub host: HostName,
    /// As whom.
    pub login: Login,
}

impl Grant {
    /// Where it stands at `now`.
    pub fn state(&self, now: Timestamp) -> GrantState {
        match &self.finished {
            Some(Finished { how: Finish::Closed, .. }) => GrantState::Closed,
            Some(Finished { how: Finish::Revoked, .. }) => GrantState::Revoked,
            None if now >= self.ends => GrantState::Ended,
            None if now < self.begins => GrantState::Waiting,
            None => GrantState::Active,
        }
    }

    /// Does it admit this visit now; and for how long still?
    pub fn admits(&self, visit: &Visit, now: Timestamp) -> Result<Span, Refusal> {
        if visit.user != self.user || visit.host != self.host || visit.login != self.login {
            return Err(Refusal::new("other-grant", format!("{} is for {} as {} on {}", self.id, self.user, self.login, self.host)));
        }
        match self.state(now) {
            GrantState::Active => Ok(self.ends.since(now)),
            GrantState::Waiting => Err(Refusal::new("not-yet", format!("{} begins at {}", self.id, self.begins))
                .hint(format!("come back then, or ask to go in now: {}", self.again()))),
            GrantState::Ended => Err(Refusal::new("ended", format!("{} ended at {}", self.id, self.ends)).hint(self.again())),
            GrantState::Closed | GrantState::Revoked => Err(self.over().hint(self.again())),
        }
    }

    /// The holder is done (or somebody on the bastion's own command line says so).
    pub fn close(self, by: Actor, now: Timestamp) -> Result<Self, Refusal> {
        match &by {
            Actor::User(user) if *user != self.user => Err(Refusal::new("not-yours", format!("{} is the grant of {}", self.id, self.user))
                .hint(format!("`ssh jit-bastion revoke {} --note TEXT` takes it away, where a rule lets you", self.id))),
            _ => self.finish(Finish::Closed, by, now),
        }
    }

    /// Taken away. Whether `by` may is the caller's to ask.
    pub fn revoke(self, by: Actor, now: Timestamp) -> Result<Self, Refusal> {
        self.finish(Finish::Revoked, by, now)
    }

    /// Its end, or somebody's word, is behind it.
    pub fn is_over(&self, now: Timestamp) -> bool {
        !matches!(self.state(now), GrantState::Waiting | GrantState::Active)
    }

    /// Refused where it is over.
    pub fn stands(&self, now: Timestamp) -> Result<(), Refusal> {
        if self.is_over(now) { Err(self.over().hint(self.again())) } else { Ok(()) }
    }

    /// The end that its holder may move it to alone, by `length`, as `rule` says; none where that takes an approval. All that one takes
    /// alone is bounded: from begin to end never more than the rule's longest grant and every extension that it gives.
    pub fn by_oneself(&self, length: Span, rule: &BoundRule) -> Option<Timestamp> {
        let extend = rule.extend.as_ref()?;
        let all = Duration::from_micros(extend.length.micros().unsigned_abs().saturating_mul(extend.times.into()));
        let most = self.begins.plus(rule.max_duration).plus(Span::from_duration(all));
        let ends = self.ends.plus(length);
        (self.extended < extend.times && length <= extend.length && ends <= most).then_some(ends)
    }

    /// By its holder alone, as [`Grant::by_oneself`] found.
    pub fn lengthened_by_oneself(self, ends: Timestamp, now: Timestamp) -> Result<Self, Refusal> {
        let longer = self.lengthened(ends, now)?;
        Ok(Self { extended: longer.extended.saturating_add(1), ..longer })
    }

    /// The furthest end that an approval may move it to at `now`: the rule's longest grant, counted from now.
    pub fn furthest(&self, rule: &BoundRule, now: Timestamp) -> Timestamp {
        self.begins.max(now).plus(rule.max_duration)
    }

    /// It ends at `ends`, which is later than it was. What is over stays over.
    pub fn lengthened(self, ends: Timestamp, now: Timestamp) -> Result<Self, Refusal> {
        self.stands(now)?;
        if ends <= self.ends {
            return Err(Refusal::new("not-later", format!("{} ends at {} already", self.id, self.ends))
                .hint("an extension moves the end to a later time"));
        }
        Ok(Self { ends, ..self })
    }

    fn again(&self) -> String {
        format!("ssh jit-bastion request {} --login {} --reason WHY", self.host, self.login)
    }

    fn finish(self, how: Finish, by: Actor, now: Timestamp) -> Result<Self, Refusal> {
        match self.state(now) {
            GrantState::Active | GrantState::Waiting => Ok(Self { finished: Some(Finished { how, by, at: now }), ..self }),
            GrantState::Ended | GrantState::Closed | GrantState::Revoked => Err(self.over()),
        }
    }

    fn over(&self) -> Refusal {
        let refusal = match &self.finished {
            Some(Finished { how: Finish::Closed, by, at }) => format!("{} was closed by {by} at {at}", self.id),
            Some(Finished { how: Finish::Revoked, by, at }) => format!("{} was revoked by {by} at {at}", self.id),
            None => format!("{} ended at {}", self.id, self.ends),
        };
        Refusal::new("already-over", refusal).hint("`ssh jit-bastion grants` lists those that are not")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            id: GrantId::parse("g-7k2m9q").unwrap(),
            request: RequestId::parse("r-7k2m9q").unwrap(),
            user: User::parse("alice").unwrap(),
            host: HostName::parse("phi-db").unwrap(),
            login: Login::parse("postgres").unwrap(),
            channels: Channels::all(),
            rule: RuleId::parse("dba").unwrap(),
            begins: Timestamp::from_micros(10_000_000),
            ends: Timestamp::from_micros(20_000_000),
            extended: 0,
            finished: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn visit(user: &str, host: &str, login: &str) -> Visit {
        Visit { user: User::parse(user).unwrap(), host: HostName::parse(host).unwrap(), login: Login::parse(login).unwrap() }
    }

    #[test]
    fn admits_its_holder_there_as_that_login_within_its_time() {
        let mine = visit("alice", "phi-db", "postgres");
        for (second, expected) in [(9, Err("not-yet")), (10, Ok(10)), (19, Ok(1)), (20, Err("ended"))] {
            let got = grant().admits(&mine, at(second)).map(Span::as_seconds).map_err(|no| no.code);
            assert_eq!(got, expected, "{second}");
        }
        for other in [visit("bob", "phi-db", "postgres"), visit("alice", "phi-app", "postgres"), visit("alice", "phi-db", "root")] {
            assert_eq!(grant().admits(&other, at(15)).map_err(|no| no.code), Err("other-grant"));
        }
    }

    #[test]
    fn ends_once_and_says_who_did_it() {
        let (alice, bob) = (Actor::User(User::parse("alice").unwrap()), Actor::User(User::parse("bob").unwrap()));
        assert_eq!(grant().close(bob.clone(), at(15)).map_err(|no| no.code), Err("not-yours"));
        let closed = grant().close(alice, at(15)).unwrap();
        assert_eq!(closed.state(at(16)), GrantState::Closed);
        let no = closed.revoke(bob.clone(), at(17)).unwrap_err();
        assert_eq!(no.message, "g-7k2m9q was closed by alice at 1970-01-01T00:00:15.000Z");
        let revoked = grant().revoke(bob, at(5)).unwrap();
        assert_eq!(revoked.state(at(15)), GrantState::Revoked, "also before it began");
        assert!(grant().revoke(Actor::System, at(20)).is_err());
    }
}
