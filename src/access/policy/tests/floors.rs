//! Floors: what they demand, what they shorten, how they are told, and what a reload makes of them.

use super::*;
use crate::access::time::Span;

const FLOORS: &str = r#"
[[allow]]
id = "dba"
who = ["role:dba"]
hosts = ["label:phi"]
logins = ["*"]
channels = ["shell", "exec", "sftp-write"]
max-duration = "4h"
default-duration = "2h"
idle = "30m"
egress = "2GiB"
extend = { self = "30m", times = 2 }
approve = { by = ["role:owner"], signed = true }

[[require]]
hosts = ["label:phi"]
reason = { min-length = 10 }
idle = "15m"

[[require]]
id = "writes"
channels = ["sftp-write", "forward:*"]
ticket = true
max-duration = "90m"
egress = "64MiB"
record-input = true
require-cert = true
"#;

fn dba() -> (Policy, Person, Host) {
    let policy = Policy::parse(FLOORS, "p").unwrap_or_else(|e| panic!("{e}"));
    (policy, person("alice", &["dba"], None), host("phi-db", &["phi"], &["postgres"]))
}

#[test]
fn the_strictest_wins() {
    let (policy, alice, db) = dba();
    let all = policy.judge(&alice, &db, &wish("postgres", None, None)).unwrap();
    assert_eq!((all.length, all.rule.max_duration, all.rule.idle), (Span::minutes(90), Span::minutes(90), Some(Span::minutes(15))));
    assert_eq!((all.rule.reason_min_length, all.rule.ticket, all.rule.record_input, all.rule.require_cert), (Some(10), true, true, true));
    assert!(all.rule.signed && all.rule.extend == Some(SelfExtend { length: Span::minutes(30), times: 2 }));
    let shell = policy.judge(&alice, &db, &wish("postgres", Some("shell"), Some("4h"))).unwrap();
    assert_eq!((all.rule.egress, shell.rule.egress), ("64MiB".parse().ok(), "2GiB".parse().ok()));
    assert_eq!((shell.length, shell.rule.ticket, shell.rule.record_input), (Span::minutes(240), false, false));
    assert_eq!(policy.floors().iter().map(|floor| floor.id.as_str()).collect::<Vec<_>>(), ["require-1", "writes"]);
}

#[test]
fn a_floor_that_is_not_met_says_what_would_pass() {
    let (policy, alice, db) = dba();
    let why = |reason, ticket| Some(Why { reason, ticket });
    for (asked, expected) in [
        (
            wish("postgres", Some("shell,sftp-write"), Some("2h")),
            "2h is longer than the 1h30m that floor writes allows on phi-db\n\
             hint: ssh jit-bastion request phi-db --login postgres --for 1h30m --channels shell,sftp-write --ticket ID --reason WHY",
        ),
        (
            wish("postgres", Some("sftp-write"), Some("9h")),
            "9h is longer than the 1h30m that floor writes allows on phi-db\n\
             hint: ssh jit-bastion request phi-db --login postgres --for 1h30m --channels sftp-write --ticket ID --reason WHY",
        ),
        (
            wish("postgres", Some("shell"), Some("9h")),
            "9h is longer than the 4h that rule dba gives\n\
             hint: ssh jit-bastion request phi-db --login postgres --for 4h --channels shell --reason WHY",
        ),
        (
            Wish { why: why(10, false), ..wish("postgres", Some("sftp-write"), None) },
            "floor writes wants a ticket for phi-db\n\
             hint: ssh jit-bastion request phi-db --login postgres --channels sftp-write --ticket ID --reason WHY",
        ),
        (
            Wish { why: why(9, true), ..wish("postgres", None, None) },
            "floor require-1 wants a reason of at least 10 characters for phi-db\n\
             hint: ssh jit-bastion request phi-db --login postgres --ticket ID --reason WHY",
        ),
    ] {
        assert_eq!(policy.judge(&alice, &db, &asked).unwrap_err().to_string(), expected);
    }
}

#[test]
fn kinds_that_came_by_default_are_dropped_with_their_floor() {
    let (policy, alice, db) = dba();
    let longer = policy.judge(&alice, &db, &wish("postgres", None, Some("3h"))).unwrap();
    assert_eq!((longer.channels.to_string(), longer.length), ("shell,exec".into(), Span::minutes(180)));
    let no_ticket = Wish { why: Some(Why { reason: 20, ticket: false }), ..wish("postgres", None, None) };
    let verdict = policy.judge(&alice, &db, &no_ticket).unwrap();
    assert_eq!((verdict.channels.to_string(), verdict.length, verdict.rule.ticket), ("shell,exec".into(), Span::minutes(120), false));
}

#[test]
fn what_was_filed_before_is_judged_by_the_floors_of_now() {
    let (policy, alice, db) = dba();
    let before = Policy::parse(&FLOORS[..FLOORS.find("[[require]]").unwrap()], "p").unwrap();
    let filed = before.judge(&alice, &db, &wish("postgres", None, None)).unwrap();
    assert_eq!((filed.rule.ticket, filed.rule.idle), (false, Some(Span::minutes(30))));
    let login = Login::parse("postgres").unwrap();
    let now = policy.tightened(&filed.rule, &alice, &db, &login, &filed.channels);
    assert_eq!(
        (now.ticket, now.idle, now.max_duration, &now.policy),
        (true, Some(Span::minutes(15)), Span::minutes(90), &filed.rule.policy)
    );
    let narrower = policy.tightened(&filed.rule, &alice, &db, &login, &"shell".parse().unwrap());
    assert_eq!((narrower.ticket, narrower.max_duration), (false, Span::minutes(240)));
    assert!(policy.still_allows(&alice, &db, &login, &filed.channels).is_ok(), "a floor cuts nobody");
}
