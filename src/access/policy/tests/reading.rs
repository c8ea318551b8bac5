//! What people read of a policy: explanations, who can do what, two policies side by side, quorums that nobody can reach.

use proptest::collection::vec;
use proptest::prelude::*;

use super::reference::{allow, asked, deny, file, floor};
use super::*;
use crate::access::channels::Channels;

const BEFORE: &str = r#"
[[allow]]
id = "dba"
who = ["role:dba"]
hosts = ["label:phi"]
logins = ["postgres"]
channels = ["shell", "exec"]
max-duration = "1h"

[[allow]]
id = "dba-long"
who = ["role:dba"]
hosts = ["label:phi"]
logins = ["postgres"]
channels = ["shell"]
max-duration = "4h"
approve = { by = ["role:owner"] }

[[may]]
who = ["role:auditor"]
do = ["sessions", "replay"]
hosts = ["label:phi"]
"#;

fn parse(text: &str) -> Policy {
    Policy::parse(text, "p").unwrap_or_else(|e| panic!("{e}"))
}

fn people() -> Vec<Person> {
    [("alice", "dba"), ("anna", "dba"), ("bob", "owner"), ("carol", "auditor"), ("dave", "ops")]
        .into_iter()
        .map(|(name, role)| person(name, &[role], None))
        .collect()
}

fn hosts() -> Vec<Host> {
    vec![host("phi-app", &["phi"], &["postgres"]), host("phi-db", &["phi"], &["postgres", "root"]), host("lab", &[], &["root"])]
}

fn difference(before: &str, after: &str) -> String {
    parse(after).compared_with(&parse(before), &people(), &hosts()).to_string()
}

#[test]
fn rights_are_told_by_terms() {
    let rights = parse(BEFORE).rights(&people()[0], &hosts()[1]);
    let told: Vec<String> = rights.iter().map(|right| format!("{} {}: {}", right.login, right.channels, right.terms)).collect();
    assert_eq!(told, ["postgres shell,exec: up to 1h, granted at once", "postgres shell: up to 4h, approved by 1 of role:owner"]);
    assert_eq!(parse(BEFORE).acts(&people()[3], &hosts()[0]), [Act::Sessions, Act::Replay]);
    assert!(parse(BEFORE).rights(&people()[3], &hosts()[0]).is_empty());
}

#[test]
fn a_difference_says_who_gains_and_who_loses() {
    assert_eq!(difference(BEFORE, BEFORE), "");
    assert_eq!(difference(BEFORE, &BEFORE.replace("id = \"dba\"", "id = \"renamed\"")), "", "a new name gives nothing");
    let wider = BEFORE.replace("channels = [\"shell\", \"exec\"]", "channels = [\"shell\", \"exec\", \"sftp-read\"]");
    assert_eq!(difference(BEFORE, &wider), "+ alice, anna: sftp-read as postgres on phi-app, phi-db: up to 1h, granted at once\n");
    assert_eq!(difference(&wider, BEFORE), "- alice, anna: sftp-read as postgres on phi-app, phi-db: up to 1h, granted at once\n");
    let longer = BEFORE.replace("max-duration = \"1h\"", "max-duration = \"2h\"");
    assert_eq!(
        difference(BEFORE, &longer),
        "+ alice, anna: exec as postgres on phi-app, phi-db: was up to 1h, granted at once; is up to 2h, granted at once\n\
         + alice, anna: shell as postgres on phi-app, phi-db: was up to 1h, granted at once, or up to 4h, approved by 1 of role:owner; \
         is up to 2h, granted at once, or up to 4h, approved by 1 of role:owner\n"
    );
    let other = BEFORE.replace("role:owner", "role:chief");
    assert!(difference(BEFORE, &other).starts_with("~ alice, anna: shell as postgres"), "{}", difference(BEFORE, &other));
    let denied = format!("{BEFORE}[[deny]]\nid = \"x\"\nwho = [\"user:anna\"]\nhosts = [\"phi-db\"]\nbecause = \"x\"\n");
    let lost = difference(BEFORE, &denied);
    assert!(lost.lines().all(|line| line.starts_with("- anna: ") && line.contains("on phi-db: ")), "{lost}");
    let floored = format!("{BEFORE}[[require]]\nticket = true\n");
    assert!(difference(BEFORE, &floored).lines().all(|line| line.starts_with("- alice, anna: ") && line.contains("a ticket")));
    let may = BEFORE.replace("do = [\"sessions\", \"replay\"]", "do = [\"sessions\", \"kill\"]");
    assert_eq!(difference(BEFORE, &may), "+ carol: may kill on phi-app, phi-db\n- carol: may replay on phi-app, phi-db\n");
    let (gone, all) = (parse("").compared_with(&parse(BEFORE), &people(), &hosts()), [Direction::Gains, Direction::Loses]);
    assert_eq!(all.map(|direction| gone.users(direction)), [0, 3]);
}

#[test]
fn many_users_and_hosts_are_compared_at_once() {
    let people: Vec<Person> = (0..1000).map(|n| person(&format!("u{n}"), &[["dba", "ops", "none"][n % 3]], None)).collect();
    let hosts: Vec<Host> = (0..1000).map(|n| host(&format!("h{n}"), [&["phi"][..], &["env=lab"]][n % 2], &["postgres"])).collect();
    let started = std::time::Instant::now();
    let difference = parse("").compared_with(&parse(BEFORE), &people, &hosts);
    assert_eq!(difference.users(Direction::Loses), 334);
    assert_eq!(difference.changes.iter().map(|change| change.hosts.len()).max(), Some(500));
    assert!(difference.to_string().len() < 2000, "{difference}");
    assert_eq!(parse(BEFORE).unreached(&people, &hosts).len(), 1);
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn quorums_are_counted_over_those_who_exist() {
    let two = BEFORE.replace("approve = { by = [\"role:owner\"] }", "approve = { by = [\"role:owner\"], quorum = 2 }");
    assert_eq!(parse(BEFORE).unreached(&people(), &hosts()), []);
    let vain = parse(&two).unreached(&people(), &hosts());
    // Short asks are granted at once by the rule before; long ones are what the second rule is for.
    assert_eq!(vain.len(), 1);
    assert_eq!((vain[0].rule.as_str(), vain[0].missing, vain[0].never), ("dba-long", 1, true));
    let own = BEFORE.replace("by = [\"role:owner\"]", "by = [\"user:alice\"]");
    let vain = parse(&own).unreached(&people(), &hosts());
    assert_eq!((vain[0].askers.len(), vain[0].never), (1, false), "alice alone waits in vain");
    assert_eq!(parse(&two).unreached(&[], &hosts()), [], "nobody asks");
}

#[test]
fn an_explanation_names_every_rule_about_the_host() {
    let text = format!(
        "{BEFORE}\n[[allow]]\nid = \"lab\"\nwho = [\"*\"]\nhosts = [\"lab\"]\nlogins = [\"*\"]\nchannels = [\"*\"]\nmax-duration = \"1h\"\n\
         [[allow]]\nid = \"root\"\nwho = [\"role:ops\"]\nhosts = [\"*\"]\nlogins = [\"root\"]\nchannels = [\"*\"]\nmax-duration = \"1h\"\n\
         [[require]]\nid = \"why\"\nreason = {{ min-length = 10 }}\n\
         [[deny]]\nid = \"no-exec\"\nchannels = [\"exec\", \"agent\"]\nbecause = \"no\"\n"
    );
    let (policy, alice, db) = (parse(&text), &people()[0], &hosts()[1]);
    let explained = policy.explain(alice, db, &wish("postgres", Some("shell"), Some("3h")));
    let said = |sayings: &[Saying]| {
        sayings.iter().map(|s| format!("{}{} {}", if s.applies { "*" } else { "" }, s.id, s.words)).collect::<Vec<_>>()
    };
    assert_eq!(
        said(&explained.rules),
        ["dba gives 1h at most, not 3h", "*dba-long covers it and comes first: it binds", "root not for you: it speaks to role:ops",]
    );
    assert_eq!(said(&explained.floors), ["*why a reason of at least 10 characters"]);
    assert_eq!(said(&explained.denies), ["no-exec takes nothing of this: no"]);
    assert_eq!(
        explained.command.as_deref(),
        Some("ssh jit-bastion request phi-db --login postgres --for 3h --channels shell --reason WHY")
    );
    // Whom a rule names besides is no outsider's concern.
    let outsider = person("vic", &[], Some("acme"));
    assert!(policy.explain(&outsider, db, &wish("postgres", Some("shell"), None)).rules.iter().all(|s| s.words == "not for you"));
    let refused = policy.explain(alice, db, &wish("postgres", Some("shell,exec"), None));
    assert!(refused.verdict.is_err());
    assert_eq!(said(&refused.rules)[0], "dba no-exec denies exec");
    assert_eq!(said(&refused.denies), ["*no-exec takes exec: no"]);
    assert_eq!(refused.command.as_deref(), Some("ssh jit-bastion request phi-db --login postgres --channels shell --reason WHY"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_difference_is_what_somebody_could_ask_for(allows in vec(allow(), 0..4), floors in vec(floor(), 0..2), denies in vec(deny(), 0..2), more in allow(), asked in asked()) {
        let (before, after) = (file(&allows, &floors, &denies), file(&[allows.clone(), vec![more]].concat(), &floors, &denies));
        let difference = after.compared_with(&before, std::slice::from_ref(&asked.who), std::slice::from_ref(&asked.host));
        // One more rule at the end takes nothing away and changes no terms.
        prop_assert!(difference.changes.iter().all(|change| change.direction == Direction::Gains), "{}", difference);
        let backwards = before.compared_with(&after, std::slice::from_ref(&asked.who), std::slice::from_ref(&asked.host));
        prop_assert!(backwards.changes.iter().all(|change| change.direction == Direction::Loses), "{}", backwards);
        prop_assert_eq!(difference.changes.len(), backwards.changes.len());
        // Whoever can ask for one kind now and could not before is among those who gain.
        for kind in Channels::all().iter() {
            let one = Wish { channels: Some([kind.clone()].into_iter().collect()), length: None, why: None, login: asked.wish.login.clone() };
            let could = |policy: &Policy| policy.covering(&asked.who, &asked.host, &one).is_some();
            if could(&after) && !could(&before) {
                prop_assert!(difference.changes.iter().any(|change| change.login.as_ref() == Some(&one.login) && change.what.contains(&kind.to_string())));
            }
        }
    }

    #[test]
    fn an_explanation_agrees_with_the_judgement(allows in vec(allow(), 0..4), floors in vec(floor(), 0..2), denies in vec(deny(), 0..2), asked in asked()) {
        let policy = file(&allows, &floors, &denies);
        let explained = policy.explain(&asked.who, &asked.host, &asked.wish);
        let bound: Vec<&str> = explained.rules.iter().filter(|saying| saying.applies).map(|saying| saying.id.as_str()).collect();
        match policy.judge(&asked.who, &asked.host, &asked.wish) {
            Ok(verdict) => {
                prop_assert_eq!(bound, vec![verdict.rule.id.as_str()]);
                prop_assert!(explained.command.is_some());
            }
            Err(_) => prop_assert!(bound.is_empty()),
        }
        let covers = |saying: &&Saying| saying.words.starts_with("does not cover");
        prop_assert_eq!(explained.rules.iter().find(covers), None, "every rule has its reason");
    }
}
