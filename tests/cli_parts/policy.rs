//! `policy ..` and what `check` says of a policy, over users and hosts that are registered.

use super::*;

const RULES: &str = r#"
[[allow]]
id = "dba"
who = ["role:dba"]
hosts = ["label:phi"]
logins = ["postgres"]
channels = ["shell", "exec"]
max-duration = "4h"
approve = { by = ["role:owner"] }

[[require]]
id = "why"
hosts = ["label:phi"]
reason = { min-length = 10 }

[[may]]
who = ["role:owner"]
do = ["sessions", "kill"]
hosts = ["*"]

[[test]]
given = { user = "alice", roles = ["dba"], host = "phi-db", login = "postgres", reason = "too short" }
expect = { decision = "refuse", rule = "why", because = "at least 10 characters" }
"#;

#[test]
fn a_policy_is_tested_asked_and_compared() {
    let place = Place::installed();
    fs::write(place.path("jb/policy.toml"), RULES).expect("written");
    for (user, role, key) in [("alice", "dba", KEY), ("bob", "owner", OTHER)] {
        fs::write(place.path("key.pub"), key).expect("written");
        place.expect(0, &["user", "add", user, "--key", "key.pub", "--role", role]);
    }
    place.expect(0, &["host", "add", "phi-db", "--address", "10.0.0.5", "--login", "postgres", "--label", "phi", "--key", KEY]);

    assert_eq!(
        place.expect(0, &["policy", "who-can", "phi-db"]),
        "user   login     channels    up to  approval         rule  also\n\
         alice  postgres  shell,exec  4h     1 of role:owner  dba   a reason of 10 characters\n\
         bob    -         -           -      -                -     may sessions, kill\n"
    );
    let what = place.json(0, &["policy", "what-can", "alice"]);
    assert_eq!((&what[0]["host"], &what[0]["max-duration"], &what[0]["quorum"]), (&"phi-db".into(), &"4h".into(), &1.into()));
    assert!(place.expect(1, &["policy", "who-can", "nowhere"]).contains("no host \"nowhere\"\nhint: "));
    assert!(place.expect(1, &["policy", "what-can", "carol"]).contains("no user \"carol\""));

    assert!(place.expect(0, &["policy", "test"]).ends_with("policy.toml: 1 tests passed\n"));
    fs::write(place.path("new.toml"), RULES.replace("[\"shell\", \"exec\"]", "[\"shell\"]").replace("min-length = 10", "min-length = 20"))
        .expect("written");
    let failed = place.expect(1, &["policy", "test", "new.toml"]);
    assert!(failed.contains("new.toml:21:1: test failed: expected refuse, rule why, because at least 10"), "{failed}");
    let diff = place.expect(0, &["policy", "diff", "jb/policy.toml", "new.toml"]);
    assert!(
        diff.starts_with("- alice: exec as postgres on phi-db: up to 4h, approved by 1 of role:owner; a reason of 10 characters\n"),
        "{diff}"
    );
    let diff = place.json(0, &["policy", "diff", "new.toml", "jb/policy.toml"]);
    assert_eq!((diff["gains"][0]["users"][0].as_str(), diff["loses"].as_array().map(Vec::len)), (Some("alice"), Some(0)), "{diff}");
    assert!(place.expect(0, &["policy", "diff", "new.toml", "new.toml"]).starts_with("nobody gains or loses anything"));

    // Two owners are wanted, and there is one.
    place.expect(0, &["check"]);
    fs::write(place.path("jb/policy.toml"), RULES.replace("by = [\"role:owner\"]", "by = [\"role:owner\"], quorum = 2")).expect("written");
    for command in [&["check"][..], &["policy", "test"]] {
        let said = place.expect(1, command);
        assert!(said.contains("rule dba: no request can be approved: it takes 2 of role:owner, and 1 of them are missing"), "{said}");
    }
    fs::write(place.path("jb/policy.toml"), "[[require]]\nmfa = \"15m\"\n").expect("written");
    assert!(place.expect(1, &["policy", "test"]).contains("policy.toml:2:1: unknown field `mfa`"));
    assert!(place.expect(1, &["check"]).contains("unknown field `mfa`"));
}
