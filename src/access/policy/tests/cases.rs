//! What the rules of one small hospital say.

use super::*;
use crate::access::time::Span;

#[test]
fn the_first_rule_that_alone_covers_binds() {
    let policy = policy();
    let (alice, db) = (person("alice", &["dba"], None), host("phi-db", &["phi"], &["postgres", "root"]));
    let verdict = policy.judge(&alice, &db, &wish("postgres", None, None)).unwrap();
    assert_eq!((verdict.rule.id.as_str(), verdict.rule.quorum(), verdict.length), ("dba-phi", 2, Span::minutes(60)));
    assert_eq!(verdict.channels.to_string(), "shell,exec,sftp-read");
    assert!(
        verdict.rule.text.starts_with("[[allow]]\nid = \"dba-phi\"") && verdict.rule.text.ends_with("quorum = 2 }"),
        "{}",
        verdict.rule.text
    );
    assert_eq!(verdict.rule.policy, policy.digest());
    let verdict = policy.judge(&alice, &host("x", &["env=lab"], &["root"]), &wish("root", Some("exec"), Some("8h"))).unwrap();
    assert_eq!((verdict.rule.quorum(), verdict.channels.to_string()), (0, "exec".into()));
}

#[test]
fn every_refusal_has_its_reason_and_what_would_pass() {
    let policy = policy();
    let (alice, vera) = (person("alice", &["dba"], None), person("vera", &[], Some("acme")));
    let (db, pacs) = (host("phi-db", &["phi"], &["postgres", "root"]), host("pacs-1", &[], &["svc"]));
    let both = |who: &Person, host: &Host, wish: Wish| policy.judge(who, host, &wish).unwrap_err().to_string();
    for (got, expected) in [
        (
            both(&alice, &db, wish("postgres", None, Some("5h"))),
            "5h is longer than the 4h that rule dba-phi gives\nhint: ssh jit-bastion request phi-db --login postgres --for 4h --reason WHY",
        ),
        (
            both(&alice, &db, wish("root", None, None)),
            "no rule lets you ask for root on phi-db\nhint: ssh jit-bastion request phi-db --login postgres --reason WHY",
        ),
        (both(&alice, &db, wish("oracle", None, None)), "phi-db has no login oracle\nhint: you may ask for postgres"),
        (
            both(&alice, &db, wish("postgres", Some("shell,sftp-write"), None)),
            "no one rule covers shell,sftp-write as postgres on phi-db\nhint: ssh jit-bastion request phi-db --login postgres --channels shell --reason WHY",
        ),
        (
            both(&alice, &db, wish("postgres", Some("shell,reverse:5432"), None)),
            "no one rule covers shell,reverse:5432 as postgres on phi-db\nhint: ssh jit-bastion request phi-db --login postgres --channels shell --reason WHY",
        ),
        (
            both(&vera, &pacs, wish("svc", Some("shell,sftp-write"), Some("10m"))),
            "rule no-vendor-writes denies sftp-write as svc on pacs-1: vendors hand files over at the desk\n\
             hint: ssh jit-bastion request pacs-1 --login svc --for 10m --channels shell --reason WHY",
        ),
        (
            both(&vera, &host("pacs-frozen", &[], &["svc"]), wish("svc", None, None)),
            "rule frozen denies every channel kind as svc on pacs-frozen: frozen until the audit ends\nhint: an administrator can change the rule; nothing that you could ask for there is left",
        ),
    ] {
        assert_eq!(got, expected);
    }
    // What came by default is dropped instead.
    let verdict = policy.judge(&vera, &pacs, &wish("svc", None, None)).unwrap();
    assert_eq!(
        (verdict.channels.to_string(), verdict.length),
        ("shell,exec,sftp-read,forward:*,reverse:*,agent".into(), Span::minutes(30))
    );
}

#[test]
fn invisible_and_unknown_look_alike() {
    let policy = policy();
    let alice = person("alice", &["dba"], None);
    let pacs = host("pacs-1", &[], &["svc"]);
    let hidden = policy.look(&alice, Some(&pacs), false, "pacs-1").unwrap_err();
    let unknown = policy.look(&alice, None, false, "pacs-1").unwrap_err();
    assert_eq!(hidden, unknown);
    assert!(policy.look(&alice, Some(&pacs), true, "pacs-1").is_ok(), "whoever held a grant there knows it");
    let frozen = host("pacs-frozen", &[], &["svc"]);
    assert!(policy.visible(&person("vera", &[], None), &frozen), "denies aside");
    assert!(!policy.visible(&person("alice", &["dba"], None), &host("phi-app", &["phi"], &["root"])), "no login there is theirs");
}

#[test]
fn acts_are_nobodys_by_default() {
    let policy = policy();
    let (carol, alice) = (person("carol", &["auditor"], None), person("alice", &["dba"], None));
    assert!(policy.may(&carol, Act::Replay, &host("x", &[], &[])));
    assert!(policy.may_somewhere(&carol, Act::Sessions));
    assert!(!policy.may_somewhere(&carol, Act::Kill) && !policy.may_somewhere(&alice, Act::Replay));
}

#[test]
fn logins_are_chosen_only_when_there_is_no_choice() {
    let policy = policy();
    let alice = person("alice", &["dba"], None);
    assert_eq!(policy.only_login(&alice, &host("phi-db", &["phi"], &["root", "postgres"])).map(String::from), Ok("postgres".into()));
    let lab = host("lab-1", &["env=lab"], &["root", "app"]);
    let several = policy.only_login(&alice, &lab).unwrap_err();
    assert_eq!(several.code, "choose-login");
    assert_eq!(
        several.to_string(),
        "lab-1 has several logins that you may ask for: root, app\nhint: ssh jit-bastion request lab-1 --login root --reason WHY"
    );
}

#[test]
fn the_files_own_tests_run() {
    assert_eq!(policy().run_tests(|_| None), vec![]);
    let wrong = POLICY.replace("expect = { decision = \"refuse\" }", "expect = { decision = \"grant\", rule = \"lab\" }");
    let failures = Policy::parse(&wrong, "policy.toml").unwrap().run_tests(|_| None);
    let [failure] = failures.as_slice() else { panic!("{failures:?}") };
    assert!(failure.to_string().starts_with("policy.toml:51:"), "{failure}");
    assert!(failure.message.starts_with("test failed: expected grant, rule lab, got refuse: rule frozen denies"), "{failure}");
}
