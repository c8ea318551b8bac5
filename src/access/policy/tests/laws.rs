//! The laws, over generated policies and asks.

use proptest::collection::vec;
use proptest::prelude::*;

use super::reference::{Asked, allow, asked, deny, enough, file, floor, reference, seen};
use super::*;
use crate::access::channels::Kind;
use crate::access::refusal::Refusal;

fn got(policy: &Policy, asked: &Asked) -> Option<Verdict> {
    policy.judge(&asked.who, &asked.host, &asked.wish).ok()
}

/// The same ask with everything named that came out.
fn exactly(asked: &Asked, verdict: &Verdict) -> Asked {
    let wish = Wish { channels: Some(verdict.channels.clone()), length: Some(verdict.length), ..asked.wish.clone() };
    Asked { wish, ..asked.clone() }
}

/// The ask that a printed command makes.
fn typed(command: &str, asked: &Asked) -> Option<Asked> {
    let words: Vec<&str> = command.split(' ').collect();
    let after = |option: &str| words.iter().position(|word| *word == option).and_then(|at| words.get(at + 1)).copied();
    let login = after("--login").map_or(asked.wish.login.clone(), |login| Login::parse(login).unwrap());
    let why = Some(Why { reason: 1000, ticket: after("--ticket").is_some() });
    let wish =
        Wish { login, channels: after("--channels").map(|c| c.parse().unwrap()), length: after("--for").map(|l| l.parse().unwrap()), why };
    (words.get(2) == Some(&"request")).then(|| Asked { wish, ..asked.clone() })
}

fn crowd() -> impl Strategy<Value = Vec<Person>> {
    let names = prop::sample::select(vec!["alice", "bob", "carol", "dave", "erin", "frank"]);
    let roles = proptest::sample::subsequence(&["owner", "security"][..], 0..=2);
    vec((names, roles).prop_map(|(name, roles)| person(name, &roles, None)), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn judged_as_the_reference_judges(allows in vec(allow(), 0..5), floors in vec(floor(), 0..4), denies in vec(deny(), 0..2), asked in asked()) {
        let verdict = got(&file(&allows, &floors, &denies), &asked);
        prop_assert_eq!(verdict.as_ref().map(seen), reference(&allows, &floors, &denies, &asked));
    }

    #[test]
    fn nothing_is_allowed_by_default(floors in vec(floor(), 0..3), denies in vec(deny(), 0..3), asked in asked()) {
        let policy = file(&[], &floors, &denies);
        prop_assert!(got(&policy, &asked).is_none());
        prop_assert!(!policy.visible(&asked.who, &asked.host));
        prop_assert!(Act::ALL.into_iter().all(|act| !policy.may_somewhere(&asked.who, act)));
    }

    #[test]
    fn a_deny_wins_over_every_allow(allows in vec(allow(), 1..5), floors in vec(floor(), 0..3), deny in deny(), asked in asked()) {
        let policy = file(&allows, &floors, std::slice::from_ref(&deny));
        if let Some(verdict) = got(&policy, &asked) && deny.matches(&asked) {
            for kind in verdict.channels.iter() {
                prop_assert!(!deny.names(&kind.to_string()));
            }
            prop_assert!(policy.denies_now(&asked.who, &asked.host, &asked.wish.login, &verdict.channels).is_ok());
        }
    }

    #[test]
    fn a_floor_never_loosens(allows in vec(allow(), 1..5), floors in vec(floor(), 0..3), more in floor(), at in 0..4usize, asked in asked(), yeses in crowd()) {
        let mut under = floors.clone();
        under.insert(at.min(floors.len()), more);
        let Some(after) = got(&file(&allows, &under, &[]), &asked) else { return Ok(()) };
        // Asked for by name, the same would have come without the floor, under the same rule, for no more than now.
        let before = got(&file(&allows, &floors, &[]), &exactly(&asked, &after));
        let before = before.ok_or_else(|| TestCaseError::fail("the floor gave something"))?;
        let (was, is) = (&before.rule, &after.rule);
        prop_assert_eq!(&was.id, &is.id);
        prop_assert!(is.max_duration <= was.max_duration && is.default_duration <= was.default_duration && is.quorum() >= was.quorum());
        prop_assert!(was.idle.is_none_or(|was| is.idle.is_some_and(|is| is <= was)));
        prop_assert!(was.egress.is_none_or(|was| is.egress.is_some_and(|is| is <= was)));
        prop_assert!(is.reason_min_length >= was.reason_min_length && is.ticket >= was.ticket && is.record_input >= was.record_input);
        prop_assert!(is.signed >= was.signed && is.require_cert >= was.require_cert && is.extend == was.extend);
        prop_assert!(is.missing(&asked.who.user, &yeses) >= was.missing(&asked.who.user, &yeses));
    }

    #[test]
    fn one_more_allow_refuses_nothing(allows in vec(allow(), 0..4), more in allow(), at in 0..5usize, floors in vec(floor(), 0..3), denies in vec(deny(), 0..2), asked in asked()) {
        let before = got(&file(&allows, &floors, &denies), &asked);
        let mut wider = allows.clone();
        wider.insert(at.min(allows.len()), more);
        if before.is_some() {
            prop_assert!(got(&file(&wider, &floors, &denies), &asked).is_some());
        }
    }

    #[test]
    fn one_more_deny_or_floor_gives_nothing(allows in vec(allow(), 0..4), floors in vec(floor(), 0..3), denies in vec(deny(), 0..2), no in deny(), under in floor(), asked in asked()) {
        for narrow in [
            file(&allows, &floors, &[denies.clone(), vec![no]].concat()),
            file(&allows, &[floors.clone(), vec![under]].concat(), &denies),
        ] {
            if let Some(verdict) = got(&narrow, &asked) {
                // Whatever comes out could have been asked for by name before.
                prop_assert!(got(&file(&allows, &floors, &denies), &exactly(&asked, &verdict)).is_some());
            }
        }
    }

    #[test]
    fn a_grant_is_bound_to_exactly_one_rule(allows in vec(allow(), 1..5), floors in vec(floor(), 0..3), asked in asked()) {
        if let Some(verdict) = got(&file(&allows, &floors, &[]), &asked) {
            // That one rule alone, without all the others, gives the same.
            let number: usize = verdict.rule.id.as_str().trim_start_matches('a').parse().unwrap();
            let alone = got(&file(&allows[number..=number], &floors, &[]), &asked);
            let alone = alone.ok_or_else(|| TestCaseError::fail("rules were joined"))?;
            prop_assert_eq!((&alone.channels, alone.length, alone.rule.quorum()), (&verdict.channels, verdict.length, verdict.rule.quorum()));
        }
    }

    #[test]
    fn whatever_is_given_is_still_allowed_and_visible(allows in vec(allow(), 0..5), floors in vec(floor(), 0..3), denies in vec(deny(), 0..2), asked in asked()) {
        let policy = file(&allows, &floors, &denies);
        if let Some(verdict) = got(&policy, &asked) {
            prop_assert!(policy.visible(&asked.who, &asked.host));
            prop_assert!(policy.still_allows(&asked.who, &asked.host, &asked.wish.login, &verdict.channels).is_ok());
            prop_assert!(verdict.length <= verdict.rule.max_duration);
            // Under the same policy nothing gets stricter afterwards.
            let now = policy.tightened(&verdict.rule, &asked.who, &asked.host, &asked.wish.login, &verdict.channels);
            prop_assert_eq!(now, verdict.rule);
        }
    }

    #[test]
    fn the_ask_that_a_refusal_prints_passes(allows in vec(allow(), 1..5), floors in vec(floor(), 0..3), denies in vec(deny(), 0..2), asked in asked()) {
        let policy = file(&allows, &floors, &denies);
        if let Err(Refusal { next, .. }) = policy.judge(&asked.who, &asked.host, &asked.wish) {
            let next = next.ok_or_else(|| TestCaseError::fail("no next step"))?;
            if let Some(typed) = typed(&next, &asked) {
                prop_assert!(got(&policy, &typed).is_some(), "{}", next);
            } else {
                // Then nothing at all passes there, as that login.
                let any = Asked { wish: Wish::of(asked.wish.login.clone()), ..asked.clone() };
                prop_assert!(got(&policy, &any).is_none(), "{}", next);
            }
        }
    }

    #[test]
    fn nobody_approves_their_own_and_one_human_counts_once(allows in vec(allow(), 1..3), floors in vec(floor(), 0..3), asked in asked(), yeses in crowd()) {
        let Some(verdict) = got(&file(&allows, &floors, &[]), &asked) else { return Ok(()) };
        let (rule, asker) = (&verdict.rule, &asked.who.user);
        prop_assert_eq!(rule.missing(asker, &yeses) == 0, enough(rule, asker, &yeses));
        let others: Vec<Person> = yeses.iter().filter(|who| who.user != *asker).cloned().collect();
        prop_assert_eq!(rule.missing(asker, &yeses), rule.missing(asker, &others), "the asker's own yes counts for nothing");
        prop_assert!(yeses.iter().all(|who| who.user != *asker || rule.may_decide(who, asker).is_err()));
        let twice = [others.clone(), others.clone()].concat();
        prop_assert_eq!(rule.missing(asker, &twice), rule.missing(asker, &others));
        prop_assert!(rule.missing(asker, &others) as usize + others.len() >= rule.quorum() as usize);
        // One more yes takes away one missing at most, and never adds one.
        for n in 0..others.len() {
            let (fewer, more) = (rule.missing(asker, &others[..n]), rule.missing(asker, &others[..=n]));
            prop_assert!(more <= fewer && fewer - more <= 1);
        }
    }

    #[test]
    fn floors_that_came_since_only_tighten(allows in vec(allow(), 1..3), floors in vec(floor(), 0..3), since in vec(floor(), 0..3), asked in asked(), yeses in crowd()) {
        let Some(verdict) = got(&file(&allows, &floors, &[]), &asked) else { return Ok(()) };
        let (was, asker) = (&verdict.rule, &asked.who.user);
        let is = file(&allows, &since, &[]).tightened(was, &asked.who, &asked.host, &asked.wish.login, &verdict.channels);
        prop_assert!(is.max_duration <= was.max_duration && is.quorum() >= was.quorum() && is.ticket >= was.ticket && is.signed >= was.signed);
        prop_assert!(is.missing(asker, &yeses) >= was.missing(asker, &yeses));
        prop_assert!(was.egress.is_none_or(|was| is.egress.is_some_and(|is| is <= was)));
        // What an approver said yes to is told as it was.
        prop_assert_eq!((&is.id, &is.text, &is.policy, is.egress_filed), (&was.id, &was.text, &was.policy, was.egress_filed));
    }

    #[test]
    fn direct_is_what_a_rule_for_all_of_it_says(allows in vec(allow(), 0..4), asked in asked()) {
        let policy = file(&allows, &[], &[]);
        let Some(verdict) = got(&policy, &asked) else { return Ok(()) };
        let direct = policy.gives_direct(&asked.who, &asked.host, &asked.wish.login, &verdict.channels);
        let says = allows.iter().any(|rule| rule.demands.open[0] && rule.speaks.matches(&asked) && verdict.channels.iter().all(|kind| rule.speaks.names(&kind.to_string())));
        prop_assert_eq!(direct, says);
        prop_assert!(direct || !verdict.rule.direct);
        let none: Vec<_> = allows.iter().cloned().map(|mut rule| { rule.demands.open[0] = false; rule }).collect();
        prop_assert!(!file(&none, &[], &[]).gives_direct(&asked.who, &asked.host, &asked.wish.login, &verdict.channels));
    }

    #[test]
    fn a_deny_of_a_part_denies_the_whole(port in 1..65535u16) {
        let policy = file(&[], &[], &[]);
        prop_assert!(policy.denies().is_empty());
        let kinds = Kinds::Some([Kind::Forward(crate::access::channels::Destination::Port(port))].into());
        let (any, host) = ("forward:*".parse().unwrap(), host("phi-db", &[], &["root"]));
        prop_assert!(kinds.touches(&host, &any) && !kinds.covers(&any));
        for same in ["localhost", "127.0.0.1", "127.1", "phi-db", "[::1]"] {
            prop_assert!(kinds.touches(&host, &format!("forward:{same}:{port}").parse().unwrap()), "{}", same);
        }
        let elsewhere = format!("forward:elsewhere:{port}").parse().unwrap();
        prop_assert!(!kinds.touches(&host, &elsewhere));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(\\PC|\n){0,200}") {
        if let Err(error) = Policy::parse(&text, "p") {
            prop_assert!(error.to_string().contains('^'));
        }
    }
}
