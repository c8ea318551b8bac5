//! Every key of the file: what is read, what is refused, and where the error points.

use super::*;

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let allow =
        "[[allow]]\nid = \"a\"\nwho = [\"role:dba\"]\nhosts = [\"*\"]\nlogins = [\"*\"]\nchannels = [\"*\"]\nmax-duration = \"4h\"\n";
    let cases: Vec<(String, &str)> = vec![
        ("[[require]]\nhosts = [\"*\"]\n".into(), "p:1:1: this floor demands nothing"),
        (format!("{allow}keep = \"all\"\n"), "p:8:8: invalid value: string \"all\", expected \"bytes\" or"),
        (format!("{allow}egress = \"2GB\"\n"), "p:8:10: \"2GB\" is not a number of bytes"),
        (format!("{allow}mfa = \"15m\"\n"), "p:8:1: unknown field `mfa`, expected one of `id`, `who`"),
        (allow.replace("role:dba", "dba"), "p:3:8: \"dba\" is not a selector of people: write role:NAME"),
        (allow.replace("hosts = [\"*\"]", "hosts = [\"a\", \"[b]\"]"), "p:4:15: \"[b]\" is not a name or pattern"),
        (allow.replace("hosts = [\"*\"]", "hosts = []"), "p:4:9: an empty list matches nothing"),
        (allow.replace("channels = [\"*\"]", "channels = [\"shell\", \"forward:0\"]"), "p:6:22: \"0\" is not a forward destination"),
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
        (format!("{allow}approve = {{ by = [\"role:x\"], quorum = 21 }}\n"), "p:8:39: a quorum of 21 is more than 20"),
        (format!("{allow}approve = {{ by = [\"role:x\"], sign = true }}\n"), "p:8:30: unknown field `sign`"),
        (
            format!("{allow}approve = {{ by = [\"user:a\"] }}\n[[require]]\napprove = {{ by = [\"user:a\", \"user:b\"], quorum = 3 }}\n"),
            "p:10:49: a quorum of 3 can never be reached (rule a over floor require-1): at most 2",
        ),
        (
            format!("{allow}[[require]]\nid = \"f\"\napprove = {{ by = [\"user:a\"], quorum = 2 }}\n"),
            "p:10:39: a quorum of 2 can never be reached (rule a over floor f): at most 1",
        ),
        (format!("{allow}extend = {{ self = \"30m\", times = 0 }}\n"), "p:8:34: times = 0: write 1 to 100"),
        (format!("{allow}extend = \"30m\"\n"), "p:8:10: invalid type: string \"30m\""),
        (format!("{allow}ticket = true\n"), "p:8:1: unknown field `ticket`"),
        (format!("{allow}reason = {{ min-length = 3 }}\n"), "p:8:1: unknown field `reason`"),
        ("[[require]]\nreason = { min-length = 0 }\n".into(), "p:2:25: min-length = 0: write 1 to 1000"),
        ("[[require]]\nmfa = \"15m\"\n".into(), "p:2:1: unknown field `mfa`"),
        ("[[require]]\nticket = false\n".into(), "p:1:1: this floor demands nothing"),
        (format!("{allow}[[require]]\nid = \"a\"\nticket = true\n"), "p:9:6: the id \"a\" is taken by an earlier rule"),
        (
            format!(
                "{allow}[[test]]\ngiven = {{ user = \"a\", host = \"h\", login = \"l\" }}\nexpect = {{ decision = \"grant\", because = \"x\" }}\n"
            ),
            "p:8:1: `because` is what a refusal says",
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

#[test]
fn every_kind_may_be_given_denied_and_floored() {
    for kinds in ["[\"forward:*\", \"reverse:*\", \"agent\"]", "[\"forward:5432\", \"reverse:/run/x\"]", "[\"*\"]"] {
        let allow = "id = \"a\"\nwho = [\"*\"]\nhosts = [\"*\"]\nlogins = [\"*\"]\nmax-duration = \"1h\"";
        assert!(Policy::parse(&format!("[[allow]]\n{allow}\nchannels = {kinds}\n"), "p").is_ok(), "{kinds}");
        let text = format!("[[deny]]\nid = \"d\"\nbecause = \"no\"\nchannels = {kinds}\n[[require]]\nticket = true\nchannels = {kinds}\n");
        assert!(Policy::parse(&text, "p").is_ok(), "{kinds}");
    }
}

#[test]
fn the_files_own_tests_know_reasons_and_tickets() {
    let text = r#"
[[allow]]
id = "a"
who = ["*"]
hosts = ["*"]
logins = ["*"]
channels = ["*"]
max-duration = "4h"

[[require]]
id = "why"
reason = { min-length = 10 }
ticket = true

[[deny]]
id = "no-agent"
channels = ["sftp-write"]
because = "nobody writes here"

[[test]]
given = { user = "x", host = "h", login = "l", channels = ["shell"] }
expect = { decision = "grant", rule = "a", quorum = 0 }

[[test]]
given = { user = "x", host = "h", login = "l", channels = ["shell"], reason = "too short", ticket = "T-1" }
expect = { decision = "refuse", rule = "why", because = "at least 10 characters" }

[[test]]
given = { user = "x", host = "h", login = "l", channels = ["shell"], reason = "long enough to be read" }
expect = { decision = "refuse", because = "wants a ticket" }

[[test]]
given = { user = "x", host = "h", login = "l", channels = ["shell"], reason = "long enough to be read", ticket = "T-1" }
expect = { decision = "grant" }

[[test]]
given = { user = "x", host = "h", login = "l", channels = ["sftp-write"] }
expect = { decision = "refuse", rule = "no-agent", because = "nobody writes here" }
"#;
    let policy = Policy::parse(text, "p").unwrap();
    assert_eq!(policy.run_tests(|_| None), vec![]);
    let wrong = text.replace("because = \"wants a ticket\"", "because = \"something else\"");
    let failures = Policy::parse(&wrong, "p").unwrap().run_tests(|_| None);
    let expected = "test failed: expected refuse, because something else, got refuse: floor why wants a ticket for h";
    assert_eq!(failures.iter().map(|failure| failure.message.as_str()).collect::<Vec<_>>(), [expected]);
}

#[test]
fn the_documented_example_stands() {
    let page = include_str!("../../../../docs/policy.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let policy = Policy::parse(example, "docs").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((policy.run_tests(|_| None), policy.test_count()), (vec![], 1));
    // Every key that is read is told.
    let keys = [
        "idle-commands",
        "record-input",
        "index = false",
        "require-cert",
        "max-duration",
        "default-duration",
        "lapse",
        "ticket",
        "min-length",
        "signed",
        "extend",
        "egress",
        "keep",
        "statements",
        "direct",
    ];
    assert!(keys.iter().all(|key| page.contains(key)));
    assert!(Act::ALL.iter().all(|act| page.contains(&format!("`{act}`"))));
}
