//! What a rule must say, what is no word of it, and what is meant where nothing is said.

use super::*;
use crate::access::time::Span;

const ALLOW: [(&str, &str); 6] = [
    ("id", "\"a\""),
    ("who", "[\"*\"]"),
    ("hosts", "[\"*\"]"),
    ("logins", "[\"*\"]"),
    ("channels", "[\"shell\", \"exec\"]"),
    ("max-duration", "\"4h\""),
];

/// The shortest allow, without one of its keys, and with these lines.
fn allow(without: &str, more: &str) -> String {
    let keys = ALLOW.iter().filter(|(key, _)| *key != without).map(|(key, value)| format!("{key} = {value}\n"));
    format!("[[allow]]\n{}{more}", keys.collect::<String>())
}

fn wrong(text: &str) -> String {
    Policy::parse(text, "p").map(|_| ()).unwrap_err().to_string()
}

fn bound(text: &str) -> BoundRule {
    let policy = Policy::parse(text, "p").unwrap_or_else(|e| panic!("{e}"));
    policy.judge(&person("alice", &[], None), &host("db", &[], &["root"]), &wish("root", None, None)).unwrap().rule
}

#[test]
fn an_allow_says_who_where_as_whom_what_and_how_long() {
    assert!(Policy::parse(&allow("", ""), "p").is_ok());
    for (key, _) in ALLOW {
        let said = wrong(&allow(key, ""));
        assert!(said.starts_with(&format!("p:1:1: missing field `{key}`")) && said.contains('^'), "{said}");
    }
}

#[test]
fn an_unknown_key_is_an_error_in_every_table() {
    let given = "given = { user = \"a\", host = \"h\", login = \"l\" }\n";
    for text in [
        "colour = 1\n".to_owned(),
        allow("", "colour = 1\n"),
        allow("", "approve = { by = [\"role:x\"], colour = 1 }\n"),
        allow("", "extend = { self = \"30m\", colour = 1 }\n"),
        "[[require]]\nticket = true\ncolour = 1\n".to_owned(),
        "[[require]]\nreason = { min-length = 1, colour = 1 }\n".to_owned(),
        "[[deny]]\nid = \"d\"\nbecause = \"x\"\ncolour = 1\n".to_owned(),
        "[[may]]\nwho = [\"*\"]\ndo = [\"kill\"]\nhosts = [\"*\"]\ncolour = 1\n".to_owned(),
        format!("[[test]]\n{given}expect = {{ decision = \"refuse\" }}\ncolour = 1\n"),
        format!("[[test]]\n{given}expect = {{ decision = \"refuse\", colour = 1 }}\n"),
        format!("[[test]]\n{}expect = {{ decision = \"refuse\" }}\n", given.replace(" }", ", colour = 1 }")),
    ] {
        let (said, line) = (wrong(&text), text.lines().position(|line| line.contains("colour")).unwrap() + 1);
        assert!(
            said.starts_with(&format!("p:{line}:")) && said.contains("unknown field `colour`") && said.contains("^^^^^^"),
            "{text}\n{said}"
        );
    }
    assert!(wrong(&allow("", "").replace("[[allow]]", "[[allows]]")).contains("unknown field `allows`"));
}

#[test]
fn what_is_left_out_has_a_meaning() {
    let plain = bound(&allow("", ""));
    assert_eq!((plain.max_duration, plain.default_duration, plain.lapse), (Span::minutes(240), Span::minutes(60), Span::minutes(24 * 60)));
    assert_eq!((plain.quorum(), plain.signed, plain.idle, plain.extend), (0, false, None, None));
    assert!(!plain.record_input && !plain.require_cert && !plain.idle_commands);
    let short = bound(&allow("", "").replace("\"4h\"", "\"30m\""));
    assert_eq!(short.default_duration, Span::minutes(30), "an hour or max-duration, the smaller");
    assert_eq!(bound(&allow("", "approve = { by = [\"role:x\"] }\n")).quorum(), 1);
    assert_eq!(bound(&allow("", "lapse = \"2h\"\ndefault-duration = \"3h\"\n")).default_duration, Span::minutes(180));
}

#[test]
fn hosts_are_named_by_name_pattern_label_and_value() {
    let known = Host { aliases: vec![HostName::parse("db").unwrap()], ..host("phi-db", &["phi", "env=prod"], &["root"]) };
    for (pattern, fits) in [
        ("*", true),
        ("phi-db", true),
        ("phi", false),
        ("phi-*", true),
        ("db", true),
        ("label:phi", true),
        ("label:env", true),
        ("label:env=prod", true),
        ("label:env=lab", false),
        ("label:prod", false),
    ] {
        let policy = Policy::parse(&allow("hosts", &format!("hosts = [\"other\", \"{pattern}\"]\n")), "p").unwrap();
        assert_eq!(policy.visible(&person("alice", &[], None), &known), fits, "{pattern}");
    }
}

#[test]
fn what_stands_in_the_file_drives_nobodys_terminal() {
    let drives = ['\u{1b}', '\u{9b}', '\u{202e}'];
    let deny = "[[deny]]\nid = \"d\"\nbecause = \"not \\u001b[2J \u{202e}now\"\n";
    let policy = Policy::parse(&(allow("", "") + deny), "p").unwrap();
    let told =
        policy.judge(&person("alice", &[], None), &host("db", &[], &["root"]), &wish("root", Some("shell"), None)).unwrap_err().to_string();
    assert!(told.contains("not \\u{1b}[2J \\u{202e}now") && !told.contains(drives), "{told:?}");
    for text in ["\"\\u001b[2J\" = 1\n", "\"\u{202e}\" = 1\n", "# \u{202e}\nallow = \"\\u009b8m\u{202e}\"\n"] {
        let said = wrong(text);
        assert!(said.starts_with("p:") && said.contains('^') && !said.contains(drives), "{said:?}");
    }
}
