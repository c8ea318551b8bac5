//! Tables of cases, and the laws of the policy as properties, judged against a slow and obvious reference.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::access::channels::{Channels, Kind};
use crate::access::host::{Address, Host};
use crate::access::names::{Login, Role, User, Vendor};
use crate::access::person::Person;
use crate::access::refusal::Refusal;

fn person(user: &str, roles: &[&str], vendor: Option<&str>) -> Person {
    Person {
        user: User::parse(user).unwrap(),
        roles: roles.iter().map(|role| Role::parse(role).unwrap()).collect(),
        vendor: vendor.map(|name| Vendor::parse(name).unwrap()),
    }
}

fn host(name: &str, labels: &[&str], logins: &[&str]) -> Host {
    Host {
        name: HostName::parse(name).unwrap(),
        aliases: vec![],
        address: Address { host: "10.0.0.5".into(), port: 22 },
        trust: vec![],
        labels: labels.iter().map(|label| crate::access::host::parse_label(label).unwrap()).collect::<BTreeMap<_, _>>(),
        logins: logins.iter().map(|login| Login::parse(login).unwrap()).collect(),
    }
}

fn wish(login: &str, channels: Option<&str>, length: Option<&str>) -> Wish {
    Wish {
        login: Login::parse(login).unwrap(),
        channels: channels.map(|c| c.parse().unwrap()),
        length: length.map(|l| l.parse().unwrap()),
        why: None,
    }
}

const POLICY: &str = r#"
# the databases
[[allow]]
id = "dba-phi"
who = ["role:dba"]
hosts = ["label:phi"]
logins = ["postgres"]
channels = ["shell", "exec", "sftp-read"]
max-duration = "4h"
approve = { by = ["role:phi-owner"], quorum = 2 }

# the vendor's own box
[[allow]]
id = "vendor"
who = ["vendor:acme", "user:vera"]
hosts = ["pacs-*"]
logins = ["*"]
channels = ["*"]
max-duration = "30m"
approve = { by = ["user:bob"] }

[[allow]]
id = "lab"
who = ["*"]
hosts = ["label:env=lab"]
logins = ["*"]
channels = ["*"]
max-duration = "8h"
default-duration = "2h"

[[deny]]
id = "no-vendor-writes"
who = ["vendor:*"]
channels = ["sftp-write"]
because = "vendors hand files over at the desk"

[[deny]]
id = "frozen"
hosts = ["pacs-frozen"]
because = "frozen until the audit ends"

[[may]]
who = ["role:auditor"]
do = ["sessions", "recordings", "replay"]
hosts = ["*"]

[[test]]
given = { user = "alice", roles = ["dba"], host = "phi-db", labels = ["phi"], login = "postgres", channels = ["shell"] }
expect = { decision = "approve", rule = "dba-phi", quorum = 2 }

[[test]]
given = { user = "vera", vendor = "acme", host = "pacs-frozen", login = "root" }
expect = { decision = "refuse" }
"#;

fn policy() -> Policy {
    Policy::parse(POLICY, "policy.toml").unwrap_or_else(|e| panic!("{e}"))
}

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
            both(&alice, &db, wish("postgres", Some("shell,forward:5432"), None)),
            "forward:5432 cannot be granted: forwards and the agent are not built in this version\nhint: ask with --channels shell",
        ),
        (
            both(&vera, &pacs, wish("svc", Some("shell,sftp-write"), Some("10m"))),
            "rule no-vendor-writes denies sftp-write as svc on pacs-1: vendors hand files over at the desk\n\
             hint: ssh jit-bastion request pacs-1 --login svc --for 10m --channels shell --reason WHY",
        ),
        (
            both(&vera, &host("pacs-frozen", &[], &["svc"]), wish("svc", None, None)),
            "rule frozen denies every channel kind as svc on pacs-frozen: frozen until the audit ends\nhint: an administrator can change the rule",
        ),
    ] {
        assert_eq!(got, expected);
    }
    // What came by default is dropped instead.
    let verdict = policy.judge(&vera, &pacs, &wish("svc", None, None)).unwrap();
    assert_eq!((verdict.channels.to_string(), verdict.length), ("shell,exec,sftp-read".into(), Span::minutes(30)));
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

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let allow =
        "[[allow]]\nid = \"a\"\nwho = [\"role:dba\"]\nhosts = [\"*\"]\nlogins = [\"*\"]\nchannels = [\"*\"]\nmax-duration = \"4h\"\n";
    let cases: Vec<(String, &str)> = vec![
        ("[[require]]\nhosts = [\"*\"]\n".into(), "p:1:3: unknown field `require`, expected one of `allow`, `deny`, `may`, `test`"),
        (format!("{allow}mfa = \"15m\"\n"), "p:8:1: unknown field `mfa`, expected one of `id`, `who`"),
        (format!("{allow}idle = \"15m\"\n"), "p:8:1: unknown field `idle`"),
        (allow.replace("role:dba", "dba"), "p:3:8: \"dba\" is not a selector of people: write role:NAME"),
        (allow.replace("hosts = [\"*\"]", "hosts = [\"a\", \"[b]\"]"), "p:4:15: \"[b]\" is not a name or pattern"),
        (allow.replace("hosts = [\"*\"]", "hosts = []"), "p:4:9: an empty list matches nothing"),
        (allow.replace("channels = [\"*\"]", "channels = [\"shell\", \"forward:22\"]"), "p:6:22: forward:22 has no effect"),
        (allow.replace("channels = [\"*\"]", "channels = [\"shell\", \"*\"]"), "p:6:22: \"*\" is not a channel kind"),
        (allow.replace("\"4h\"", "\"4\""), "p:7:16: \"4\" is not a duration"),
        (allow.replace("\"4h\"", "\"32d\""), "p:7:16: 768h is longer than 744h"),
        (format!("{allow}default-duration = \"5h\"\n"), "p:8:20: default-duration 5h is longer than max-duration 4h"),
        (format!("{allow}approve = {{ by = [\"role:x\"], quorum = 0 }}\n"), "p:8:39: a quorum of 0 asks nobody"),
        (
            format!("{allow}approve = {{ by = [\"user:x\", \"user:x\"], quorum = 2 }}\n"),
            "p:8:49: a quorum of 2 can never be reached: at most 1",
        ),
        (
            format!("{}approve = {{ by = [\"user:x\"] }}\n", allow.replace("role:dba", "user:x")),
            "p:8:18: a quorum of 1 can never be reached: at most 0",
        ),
        (format!("{allow}{allow}"), "p:9:6: the id \"a\" is taken by an earlier rule"),
        ("[[deny]]\nid = \"d\"\n".into(), "p:1:1: missing field `because`"),
        ("[[may]]\nwho = [\"*\"]\ndo = [\"fly\"]\nhosts = [\"*\"]\n".into(), "p:3:7: \"fly\" is not a word for an act"),
        (allow.replace("max-duration = \"4h\"\n", ""), "p:1:1: missing field `max-duration`"),
    ];
    for (text, expected) in cases {
        let error = Policy::parse(&text, "p").map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "expected {expected}\ngot {error}");
        assert!(error.contains('^'));
    }
}

// ---- The laws, over generated policies and asks ----

const USERS: [&str; 3] = ["alice", "bob", "carol"];
const ROLES: [&str; 2] = ["dba", "ops"];
const HOSTS: [(&str, &[&str]); 3] = [("phi-db", &["phi"]), ("phi-app", &["phi", "env=prod"]), ("lab", &["env=lab"])];
const LOGINS: [&str; 2] = ["root", "app"];
const KINDS: [&str; 4] = ["shell", "exec", "sftp-read", "sftp-write"];
const WHOS: [&str; 6] = ["*", "role:dba", "role:ops", "user:alice", "vendor:acme", "vendor:*"];
const PATTERNS: [&str; 5] = ["*", "phi-*", "lab", "label:phi", "label:env=prod"];

/// A rule as data, for both the real thing and the reference.
#[derive(Debug, Clone)]
struct Rule {
    who: Vec<&'static str>,
    hosts: Vec<&'static str>,
    logins: Vec<&'static str>,
    kinds: Vec<&'static str>,
    hours: u64,
    quorum: u32,
}

fn some(from: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(from, 1..=from.len())
}

fn rule() -> impl Strategy<Value = Rule> {
    (some(&WHOS), some(&PATTERNS), some(&LOGINS), some(&KINDS), 1..5u64, 0..3u32)
        .prop_map(|(who, hosts, logins, kinds, hours, quorum)| Rule { who, hosts, logins, kinds, hours, quorum })
}

#[derive(Debug, Clone)]
struct Asked {
    who: Person,
    host: Host,
    wish: Wish,
}

fn asked() -> impl Strategy<Value = Asked> {
    let who = (0..3usize, proptest::sample::subsequence(&ROLES[..], 0..=2), any::<bool>());
    let what = (0..3usize, 0..2usize, proptest::option::of(some(&KINDS)), proptest::option::of(1..6u64));
    (who, what).prop_map(|((user, roles, vendor), (at, login, kinds, hours))| Asked {
        who: person(USERS[user], &roles, vendor.then_some("acme")),
        host: host(HOSTS[at].0, HOSTS[at].1, &LOGINS),
        wish: wish(LOGINS[login], kinds.map(|k| k.join(",")).as_deref(), hours.map(|h| format!("{h}h")).as_deref()),
    })
}

fn file(allows: &[Rule], denies: &[Rule]) -> Policy {
    let mut text = String::new();
    for (n, rule) in allows.iter().enumerate() {
        let approve = if rule.quorum > 0 { format!("approve = {{ by = [\"*\"], quorum = {} }}\n", rule.quorum) } else { String::new() };
        text += &format!(
            "[[allow]]\nid = \"a{n}\"\nwho = {:?}\nhosts = {:?}\nlogins = {:?}\nchannels = {:?}\nmax-duration = \"{}h\"\n{approve}",
            rule.who, rule.hosts, rule.logins, rule.kinds, rule.hours
        );
    }
    for (n, rule) in denies.iter().enumerate() {
        text += &format!(
            "[[deny]]\nid = \"d{n}\"\nwho = {:?}\nhosts = {:?}\nlogins = {:?}\nchannels = {:?}\nbecause = \"no\"\n",
            rule.who, rule.hosts, rule.logins, rule.kinds
        );
    }
    Policy::parse(&text, "p").unwrap_or_else(|e| panic!("{e}"))
}

/// The reference: every word of a rule is read again for every ask.
fn speaks_of(rule: &Rule, asked: &Asked) -> bool {
    let labels: &[&str] = HOSTS.iter().find(|(name, _)| *name == asked.host.name.as_str()).unwrap().1;
    let who = rule.who.iter().any(|who| match *who {
        "*" => true,
        "vendor:*" | "vendor:acme" => asked.who.vendor.is_some(),
        "user:alice" => asked.who.user.as_str() == "alice",
        role => asked.who.roles.contains(role.trim_start_matches("role:")),
    });
    let host = rule.hosts.iter().any(|pattern| match *pattern {
        "*" => true,
        "phi-*" => asked.host.name.as_str().starts_with("phi-"),
        "lab" => asked.host.name.as_str() == "lab",
        label => labels.contains(&label.trim_start_matches("label:")),
    });
    who && host && rule.logins.contains(&asked.wish.login.as_str())
}

/// What should come out: the number of the binding rule, the kinds, the hours; or nothing.
fn reference(allows: &[Rule], denies: &[Rule], asked: &Asked) -> Option<(usize, Vec<&'static str>, u64)> {
    let denied = |kind: &str| denies.iter().any(|deny| speaks_of(deny, asked) && deny.kinds.contains(&kind));
    allows.iter().enumerate().find_map(|(n, rule)| {
        let kinds: Vec<&'static str> = match &asked.wish.channels {
            None => rule.kinds.iter().copied().filter(|kind| !denied(kind)).collect(),
            Some(named) => KINDS.into_iter().filter(|kind| named.covers(&kind.parse().unwrap())).collect(),
        };
        let hours = asked.wish.length.map_or(1, |length| length.as_seconds() / 3600);
        let covered = kinds.iter().all(|kind| rule.kinds.contains(kind) && !denied(kind));
        (speaks_of(rule, asked) && !kinds.is_empty() && covered && hours <= rule.hours).then_some((n, kinds, hours))
    })
}

fn got(policy: &Policy, asked: &Asked) -> Option<Verdict> {
    policy.judge(&asked.who, &asked.host, &asked.wish).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn judged_as_the_reference_judges(allows in prop::collection::vec(rule(), 0..5), denies in prop::collection::vec(rule(), 0..3), asked in asked()) {
        let verdict = got(&file(&allows, &denies), &asked);
        let expected = reference(&allows, &denies, &asked);
        let seen = verdict.map(|v| (v.rule.id.to_string(), v.channels, v.length));
        let wanted = expected.map(|(n, kinds, hours)| (format!("a{n}"), kinds.join(",").parse::<Channels>().unwrap(), Span::minutes(60 * hours)));
        prop_assert_eq!(seen, wanted);
    }

    #[test]
    fn nothing_is_allowed_by_default(denies in prop::collection::vec(rule(), 0..3), asked in asked()) {
        let policy = file(&[], &denies);
        prop_assert!(got(&policy, &asked).is_none());
        prop_assert!(!policy.visible(&asked.who, &asked.host));
        prop_assert!(!policy.may_somewhere(&asked.who, Act::Replay));
    }

    #[test]
    fn a_deny_wins_over_every_allow(allows in prop::collection::vec(rule(), 1..5), deny in rule(), asked in asked()) {
        let policy = file(&allows, std::slice::from_ref(&deny));
        if let Some(verdict) = got(&policy, &asked) && speaks_of(&deny, &asked) {
            for kind in &deny.kinds {
                prop_assert!(!verdict.channels.covers(&kind.parse::<Kind>().unwrap()));
            }
            prop_assert!(policy.denies_now(&asked.who, &asked.host, &asked.wish.login, &verdict.channels).is_ok());
        }
    }

    #[test]
    fn one_more_allow_refuses_nothing(allows in prop::collection::vec(rule(), 0..4), more in rule(), at in 0..5usize, denies in prop::collection::vec(rule(), 0..3), asked in asked()) {
        let before = got(&file(&allows, &denies), &asked);
        let mut wider = allows.clone();
        wider.insert(at.min(allows.len()), more);
        if before.is_some() {
            prop_assert!(got(&file(&wider, &denies), &asked).is_some());
        }
    }

    #[test]
    fn one_more_deny_gives_nothing(allows in prop::collection::vec(rule(), 0..4), denies in prop::collection::vec(rule(), 0..2), more in rule(), asked in asked()) {
        let narrow = file(&allows, &[denies.clone(), vec![more]].concat());
        if let Some(verdict) = got(&narrow, &asked) {
            // Whatever comes out could have been asked for by name before.
            let exact = Wish { channels: Some(verdict.channels), length: Some(verdict.length), ..asked.wish.clone() };
            let exact = Asked { wish: exact, ..asked.clone() };
            prop_assert!(got(&file(&allows, &denies), &exact).is_some());
        }
    }

    #[test]
    fn whatever_is_given_is_still_allowed_and_visible(allows in prop::collection::vec(rule(), 0..5), denies in prop::collection::vec(rule(), 0..3), asked in asked()) {
        let policy = file(&allows, &denies);
        if let Some(verdict) = got(&policy, &asked) {
            prop_assert!(policy.visible(&asked.who, &asked.host));
            prop_assert!(policy.still_allows(&asked.who, &asked.host, &asked.wish.login, &verdict.channels).is_ok());
            prop_assert!(verdict.length <= verdict.rule.max_duration);
        }
    }

    #[test]
    fn the_ask_that_a_refusal_prints_passes(allows in prop::collection::vec(rule(), 1..5), denies in prop::collection::vec(rule(), 0..3), asked in asked()) {
        let policy = file(&allows, &denies);
        if let Err(Refusal { code: "denied", next: Some(next), .. }) = policy.judge(&asked.who, &asked.host, &asked.wish)
            && let Some((_, channels)) = next.split_once("--channels ")
        {
            let channels = channels.split(' ').next().and_then(|c| c.parse().ok());
            let narrower = Wish { channels, ..asked.wish.clone() };
            let narrower = Asked { wish: narrower, ..asked.clone() };
            prop_assert!(got(&policy, &narrower).is_some());
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(\\PC|\n){0,200}") {
        if let Err(error) = Policy::parse(&text, "p") {
            prop_assert!(error.to_string().contains('^'));
        }
    }
}
