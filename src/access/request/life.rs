//! The whole life of a request, of its grant and of the requests for more time, held against a slow reference that keeps nothing but the
//! moves that were taken and reads every answer out of them anew.

use proptest::prelude::*;

use super::tests::{NAMES, all, at, owner, request, user};
use super::*;
use crate::access::grant::GrantState;
use crate::access::names::Actor;
use crate::access::policy::SelfExtend;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// Seconds go by.
    Wait(i64),
    /// About the request: who, and minutes at most.
    Yes(usize, Option<u64>),
    No(usize),
    Withdraw(usize),
    Lapse,
    /// About the grant.
    Close(usize),
    Revoke,
    /// So many minutes more, alone.
    Alone(u64),
    /// So many minutes more are asked for, and then decided.
    Ask(u64),
    MoreYes(usize, Option<u64>),
    MoreNo(usize),
    MoreLapse,
}

/// Seconds, and the shape of the rule.
#[derive(Debug, Clone, Copy)]
struct Terms {
    quorum: u32,
    from: Option<i64>,
    alone: u32,
}

const FILED: i64 = 100;
const LENGTH: i64 = 90 * 60;
const LAPSE: i64 = 60 * 60;
const LONGEST: i64 = 240 * 60;
const ALONE: u64 = 30;

/// The reference: what was taken, and when.
struct Past {
    terms: Terms,
    taken: Vec<(i64, Move)>,
}

impl Past {
    /// The yeses to the request, or to the newest request for more time.
    fn yeses(&self, more: bool) -> Vec<(i64, usize, Option<u64>)> {
        let since = if more { self.taken.iter().rposition(|(_, m)| matches!(m, Move::Ask(_))).unwrap_or(self.taken.len()) } else { 0 };
        let said = self.taken.iter().skip(since).filter_map(|(at, m)| match (m, more) {
            (Move::Yes(who, most), false) | (Move::MoreYes(who, most), true) => Some((*at, *who, *most)),
            _ => None,
        });
        said.collect()
    }

    fn settled(&self) -> bool {
        self.taken.iter().any(|(_, m)| matches!(m, Move::No(_) | Move::Withdraw(_) | Move::Lapse))
            || self.yeses(false).len() == self.terms.quorum as usize
    }

    fn lapses(&self) -> i64 {
        self.terms.from.map_or(FILED + LAPSE, |from| (from + LENGTH).min(FILED + LAPSE))
    }

    /// Begin and first end.
    fn granted(&self, yeses: &[(i64, usize, Option<u64>)]) -> Option<(i64, i64)> {
        let last = yeses.last().filter(|_| yeses.len() == self.terms.quorum as usize)?.0;
        let begin = self.terms.from.unwrap_or(last);
        let end = begin + shortest(LENGTH, yeses);
        (end > begin.max(last)).then_some((begin.max(last), end))
    }

    /// The newest request for more time: when it was filed, from which end, for how long; and whether it still waits.
    fn more(&self) -> Option<(i64, i64, i64, bool)> {
        let at = self.taken.iter().rposition(|(_, m)| matches!(m, Move::Ask(_)))?;
        let (filed, Move::Ask(minutes)) = self.taken[at] else { return None };
        let before = Self { terms: self.terms, taken: self.taken[..at].to_vec() };
        let decided = self.taken[at..].iter().any(|(_, m)| matches!(m, Move::MoreNo(_) | Move::MoreLapse))
            || self.yeses(true).len() == self.terms.quorum as usize;
        Some((filed, before.end()?, i64::try_from(minutes).unwrap() * 60, !decided))
    }

    fn end(&self) -> Option<i64> {
        let (_, mut end) = self.granted(&self.yeses(false))?;
        for n in 0..self.taken.len() {
            match self.taken[n].1 {
                Move::Alone(minutes) => end += i64::try_from(minutes).unwrap() * 60,
                Move::MoreYes(..) => {
                    let until = Self { terms: self.terms, taken: self.taken[..=n].to_vec() };
                    let ask = until.taken.iter().rposition(|(_, m)| matches!(m, Move::Ask(_))).unwrap();
                    let from = Self { terms: self.terms, taken: until.taken[..ask].to_vec() }.end().unwrap();
                    let Move::Ask(minutes) = until.taken[ask].1 else { unreachable!() };
                    let yeses = until.yeses(true);
                    if yeses.len() == self.terms.quorum as usize {
                        end = from + shortest(i64::try_from(minutes).unwrap() * 60, &yeses);
                    }
                }
                _ => {}
            }
        }
        Some(end)
    }

    fn finished(&self) -> bool {
        self.taken.iter().any(|(_, m)| matches!(m, Move::Close(_) | Move::Revoke))
    }

    fn stands(&self, now: i64) -> bool {
        !self.finished() && self.end().is_some_and(|end| now < end)
    }

    fn takes(&self, m: Move, now: i64) -> bool {
        let quorum = self.terms.quorum as usize;
        let approver = |who: usize, yeses: &[(i64, usize, Option<u64>)]| who != 0 && !yeses.iter().any(|yes| yes.1 == who);
        let fits = |most: Option<u64>, length: i64| most.is_none_or(|most| i64::try_from(most).unwrap() * 60 <= length);
        let open = !self.settled() && now < self.lapses();
        let more = self.more().filter(|more| more.3);
        let more_open = more.filter(|(filed, from, ..)| now < (filed + LAPSE).min(*from) && self.stands(now));
        match m {
            Move::Wait(_) => true,
            Move::Yes(who, most) => {
                let mut yeses = self.yeses(false);
                let may = open && approver(who, &yeses) && fits(most, LENGTH);
                yeses.push((now, who, most));
                may && (yeses.len() < quorum || self.granted(&yeses).is_some())
            }
            Move::No(who) => open && who != 0,
            Move::Withdraw(who) => open && who == 0,
            Move::Lapse => !self.settled() && now >= self.lapses(),
            Move::Close(who) => who == 0 && self.stands(now),
            Move::Revoke => self.stands(now),
            Move::Alone(minutes) => {
                let (times, seconds) = (i64::from(self.terms.alone), i64::try_from(minutes).unwrap() * 60);
                let most = self.granted(&self.yeses(false)).map(|(begin, _)| begin + LONGEST + times * i64::try_from(ALONE).unwrap() * 60);
                let taken = self.taken.iter().filter(|(_, m)| matches!(m, Move::Alone(_))).count();
                let reach = self.end().zip(most).is_some_and(|(end, most)| end + seconds <= most);
                self.stands(now) && minutes <= ALONE && taken < self.terms.alone as usize && reach
            }
            Move::Ask(minutes) => {
                let begin = self.granted(&self.yeses(false)).map(|(begin, _)| begin);
                let reach = |end: i64| end + i64::try_from(minutes).unwrap() * 60 <= begin.unwrap_or(now).max(now) + LONGEST;
                self.stands(now) && more.is_none() && self.end().is_some_and(reach)
            }
            Move::MoreYes(who, most) => {
                let mut yeses = self.yeses(true);
                let Some((_, from, length, _)) = more_open else { return false };
                let may = approver(who, &yeses) && fits(most, length);
                yeses.push((now, who, most));
                may && (yeses.len() < quorum || self.end().is_some_and(|end| from + shortest(length, &yeses) > end))
            }
            // A no is heard also where the grant is over by somebody's word; a yes is not.
            Move::MoreNo(who) => who != 0 && more.is_some_and(|(filed, from, ..)| now < (filed + LAPSE).min(from)),
            Move::MoreLapse => more.is_some_and(|(filed, from, ..)| now >= (filed + LAPSE).min(from) || !self.stands(now)),
        }
    }
}

fn shortest(length: i64, yeses: &[(i64, usize, Option<u64>)]) -> i64 {
    yeses.iter().filter_map(|yes| yes.2).map(|most| i64::try_from(most).unwrap() * 60).fold(length, i64::min)
}

/// The product: the same moves on the real types.
#[derive(Clone)]
struct Real {
    request: Request,
    grant: Option<Grant>,
    more: Option<Request>,
}

impl Real {
    fn take(self, m: Move, now: Timestamp) -> Result<Self, Refusal> {
        let none = || Refusal::new("none", "nothing to move");
        let yes =
            |who: usize, most: Option<u64>| Approval { length: most.map(Span::minutes), ..Approval::new(user(NAMES[who]), now, None) };
        let waits = |more: Option<Request>| more.filter(|more| matches!(more.state, State::Pending { .. })).ok_or_else(none);
        let Self { request, grant, more } = self;
        Ok(match m {
            Move::Wait(_) => Self { request, grant, more },
            Move::Yes(who, most) => {
                let makes = Makes::New(GrantId::parse("g-7k2m9q").unwrap());
                let (request, made) = request.approve(yes(who, most), &owner(NAMES[who]), makes, &all())?;
                Self { request, grant: made.or(grant), more }
            }
            Move::No(who) => Self { request: request.deny(yes(who, None), &owner(NAMES[who]))?, grant, more },
            Move::Withdraw(who) => Self { request: request.withdraw(&user(NAMES[who]), now)?, grant, more },
            Move::Lapse => Self { request: request.lapse(None, now)?, grant, more },
            Move::Close(who) => Self { grant: Some(grant.ok_or_else(none)?.close(Actor::User(user(NAMES[who])), now)?), request, more },
            Move::Revoke => Self { grant: Some(grant.ok_or_else(none)?.revoke(Actor::System, now)?), request, more },
            Move::Alone(minutes) => {
                let grant = grant.ok_or_else(none)?;
                let ends = grant.by_oneself(Span::minutes(minutes), &request.rule).ok_or_else(none)?;
                Self { grant: Some(grant.lengthened_by_oneself(ends, now)?), request, more }
            }
            Move::Ask(minutes) => {
                let grant = grant.ok_or_else(none)?;
                grant.stands(now)?;
                let when = When { from: Some(grant.ends), length: Span::minutes(minutes) };
                if waits(more).is_ok() || when.until().is_some_and(|until| until > grant.furthest(&request.rule, now)) {
                    return Err(none());
                }
                let asked = Ask { when, extends: Some(grant.id.clone()), ..request.asked.clone() };
                let more = Request::file(RequestId::parse("r-00000m").unwrap(), asked, request.rule.clone(), now);
                Self { request, grant: Some(grant), more: Some(more) }
            }
            Move::MoreYes(who, most) => {
                let makes = Makes::Later(grant.clone().ok_or_else(none)?);
                let (more, longer) = waits(more)?.approve(yes(who, most), &owner(NAMES[who]), makes, &all())?;
                Self { request, grant: longer.or(grant), more: Some(more) }
            }
            Move::MoreNo(who) => Self { more: Some(waits(more)?.deny(yes(who, None), &owner(NAMES[who]))?), request, grant },
            Move::MoreLapse => Self { more: Some(waits(more)?.lapse(grant.as_ref(), now)?), request, grant },
        })
    }
}

fn moves() -> impl Strategy<Value = Move> {
    let most = || prop::option::weighted(0.3, 1..200_u64);
    prop_oneof![
        4 => prop_oneof![0..60_i64, 0..3600_i64, Just(1800), Just(3600)].prop_map(Move::Wait),
        6 => (0..5_usize, most()).prop_map(|(who, most)| Move::Yes(who, most)),
        1 => (0..5_usize).prop_map(Move::No),
        1 => (0..2_usize).prop_map(Move::Withdraw),
        1 => Just(Move::Lapse),
        1 => (0..3_usize).prop_map(Move::Close),
        1 => Just(Move::Revoke),
        4 => prop_oneof![1..40_u64, Just(ALONE)].prop_map(Move::Alone),
        4 => prop_oneof![1..60_u64, 1..300_u64].prop_map(Move::Ask),
        6 => (0..5_usize, most()).prop_map(|(who, most)| Move::MoreYes(who, most)),
        1 => (0..5_usize).prop_map(Move::MoreNo),
        1 => Just(Move::MoreLapse),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn every_life_is_the_one_that_its_moves_tell(
        quorum in 1..4_u32,
        alone in 0..3_u32,
        from in prop::option::of(0..4000_i64),
        moves in prop::collection::vec(moves(), 1..40),
    ) {
        let mut filed = request(quorum, "x");
        filed.asked.when.from = from.map(at);
        filed.rule.extend = (alone > 0).then_some(SelfExtend { length: Span::minutes(ALONE), times: alone });
        let mut real = Real { request: filed, grant: None, more: None };
        let mut past = Past { terms: Terms { quorum, from, alone }, taken: vec![] };
        let mut now = FILED;
        for m in moves {
            if let Move::Wait(seconds) = m {
                now += seconds;
            }
            let before = real.clone();
            let took = real.clone().take(m, at(now));
            let expected = past.takes(m, now);
            prop_assert_eq!(took.is_ok(), expected, "{:?} at {}: {:?}", m, now, took.err());
            let Ok(after) = took else { continue };
            past.taken.push((now, m));
            // The grant is where the reference says, and ends when it says.
            prop_assert_eq!(after.grant.as_ref().map(|grant| grant.ends), past.end().map(at), "{:?}", m);
            if let (Some(before), Some(after)) = (&before.grant, &after.grant) {
                let longer = matches!(m, Move::Alone(_) | Move::MoreYes(..));
                prop_assert!(after.ends == before.ends || (longer && after.ends > before.ends), "it ends later by an extension alone, and never earlier");
                prop_assert_eq!((after.begins, &after.channels, &after.login), (before.begins, &before.channels, &before.login));
                prop_assert!(!before.is_over(at(now)) || after == before, "what is over stays over, and as it was");
            }
            if let Some(grant) = &after.grant {
                prop_assert_eq!(!grant.is_over(at(now)), past.stands(now));
                prop_assert!(grant.ends > grant.begins && grant.extended <= alone);
                prop_assert_eq!(grant.state(at(now)) == GrantState::Waiting, past.stands(now) && at(now) < grant.begins);
            }
            prop_assert_eq!(matches!(after.request.state, State::Pending { .. }), !past.settled());
            if !matches!(before.request.state, State::Pending { .. }) {
                prop_assert_eq!(&after.request.state, &before.request.state, "what is decided stays decided");
            }
            prop_assert_eq!(after.request.canonical_text(), before.request.canonical_text());
            real = after;
        }
    }
}
