//! `host ..` as a program.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use super::{KEY, OTHER, Place};

const ADD: [&str; 13] =
    ["host", "add", "phi-db", "--address", "10.0.0.5", "--login", "postgres", "--login", "root", "--label", "phi", "--alias", "db"];

fn with(more: &[&str]) -> Vec<String> {
    ADD.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn words(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

/// An installation with phi-db, known by [`KEY`].
fn installed() -> Place {
    let place = Place::installed();
    place.expect(0, &words(&with(&["--key", KEY])));
    place
}

#[test]
fn hosts_are_added_listed_and_set_up() {
    let place = Place::installed();
    assert!(place.expect(2, &ADD).contains("--key"));
    let with_key = with(&["--key", &format!("10.0.0.5 {KEY}")]);
    let added = place.json(0, &words(&with_key));
    assert_eq!((&added["address"], &added["trust"][0]), (&Value::from("10.0.0.5:22"), &Value::from(KEY)));
    assert!(place.expect(1, &words(&with_key)).contains("already"));
    assert!(place.expect(0, &["host", "list"]).contains("phi-db,db  10.0.0.5:22  postgres,root  phi"));
    let setup = place.expect(0, &["host", "setup", "db", "--stage", "enforce"]);
    for word in ["TrustedUserCAKeys", "Match User postgres,root", "AuthorizedKeysFile none", "ssh-ed25519 AAAA"] {
        assert!(setup.contains(word), "{word} in {setup}");
    }
    assert!(place.expect(1, &["host", "setup", "phi-app", "--stage", "trust"]).contains("host list"));
}

#[test]
fn a_host_is_shown_and_taken_out() {
    let place = installed();
    fs::write(
        place.path("jb/policy.toml"),
        "[[allow]]\nid = \"dba-phi\"\nwho = [\"role:dba\"]\nhosts = [\"label:phi\"]\nlogins = [\"*\"]\nchannels = [\"*\"]\nmax-duration = \"1h\"\n",
    )
    .expect("written");
    let shown = place.expect(0, &["host", "show", "DB"]);
    for word in [
        "host      phi-db\n",
        "aliases   db\n",
        "address   10.0.0.5:22\n",
        "keys      ED25519 SHA256:",
        "role:dba (rule dba-phi)",
        "none so far",
    ] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    let said = place.json(0, &["host", "show", "phi-db"]);
    assert_eq!((&said["rules"][0]["rule"], &said["last_session"]), (&json!("dba-phi"), &Value::Null), "{said}");
    assert!(place.expect(1, &["host", "show", "nowhere"]).contains("no host \"nowhere\""));
    let removed = place.json(0, &["host", "remove", "db"]);
    assert_eq!(removed, json!({ "host": "phi-db", "sessions": 0, "grants": 0 }));
    assert_eq!(place.json(0, &["host", "list"]), json!([]));
    assert!(place.expect(1, &["host", "remove", "db"]).contains("host list"));
}

#[test]
fn keys_are_added_and_removed_with_the_old_and_the_new_shown() {
    let place = installed();
    let changed = place.json(0, &["host", "key", "phi-db", "--add", OTHER]);
    assert_eq!((changed["before"].as_array().map(Vec::len), changed["trust"].as_array().map(Vec::len)), (Some(1), Some(2)), "{changed}");
    let old = changed["before"][0]["fingerprint"].as_str().expect("a fingerprint");
    let shown = place.expect(0, &["host", "key", "phi-db", "--remove", old]);
    assert!(shown.starts_with(&format!("phi-db\n  - ED25519 {old}\n    ED25519 SHA256:")), "{shown}");
    assert!(place.expect(1, &["host", "key", "phi-db", "--remove", old]).contains("trusts no key"));
    let last = changed["trust"][1]["fingerprint"].as_str().expect("a fingerprint");
    assert!(place.expect(1, &["host", "key", "phi-db", "--remove", last]).contains("nobody could reach it"));
    let authority = place.json(0, &["host", "key", "phi-db", "--add-ca", KEY]);
    assert_eq!(authority["trust"][1]["authority"], true, "{authority}");
    for wrong in [
        &["host", "key", "phi-db"][..],
        &["host", "key", "phi-db", "--scan", "--remove", "x"],
        &["host", "key", "phi-db", "--add", KEY, "--yes"],
    ] {
        place.expect(2, wrong);
    }
}

#[test]
fn a_scan_that_fails_registers_nothing() {
    let place = Place::installed();
    // Somebody listens, and is no ssh.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").to_string();
    let talk = silent.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in silent.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut &stream, b"220 mail.example ESMTP\r\nSSH-1.5-old\r\n");
        }
    });
    let add = |address: &str| place.expect(1, &["host", "add", "x", "--address", address, "--login", "root", "--scan", "--yes"]);
    assert!(add(&closed).contains("cannot be reached"));
    assert!(add(&talk).contains("does not speak SSH"));
    assert_eq!(place.json(0, &["host", "list"]), json!([]));
    for wrong in [&["--scan", "--key", KEY][..], &["--yes", "--key", KEY]] {
        place.expect(2, &words(&with(wrong)));
    }
}

#[test]
fn a_file_of_hosts_is_applied_whole() {
    let place = installed();
    let file = |text: &str| fs::write(place.path("hosts.toml"), text).expect("written");
    // What is registered, as a file: applying it changes nothing.
    let now = place.expect(0, &["host", "list", "--toml"]);
    file(&now);
    assert!(place.expect(0, &["host", "apply", "hosts.toml"]).contains("nothing to change"));

    let app = format!("\n[[host]]\nname = \"phi-app\"\naddress = \"10.0.0.6\"\nlogins = [\"app\"]\nkeys = [\"{OTHER}\"]\n");
    file(&(now.replace("10.0.0.5:22", "10.0.0.9:2222") + &app));
    let dry = place.expect(0, &["host", "apply", "hosts.toml", "--dry-run"]);
    let difference = "+ host phi-app\n    address 10.0.0.6:22\n";
    assert!(
        dry.starts_with(difference) && dry.contains("      - 10.0.0.5:22\n      + 10.0.0.9:2222\n") && dry.contains("nothing was changed"),
        "{dry}"
    );
    assert_eq!(place.json(0, &["host", "list"]).as_array().map(Vec::len), Some(1));
    let applied = place.json(0, &["host", "apply", "hosts.toml"]);
    assert_eq!((&applied["applied"], applied["changes"].as_array().map(Vec::len)), (&json!(true), Some(2)), "{applied}");

    // Two right hosts and a wrong one: nothing lands, and the place is shown.
    file(&(now.clone() + &app.replace("10.0.0.6", "10.0.0.7") + "adress = \"x\"\n"));
    let wrong = place.expect(1, &["host", "apply", "hosts.toml"]);
    assert!(wrong.contains("hosts.toml:14:1: unknown field `adress`") && wrong.contains("^^^^^^"), "{wrong}");
    assert_eq!(place.json(0, &["host", "show", "phi-app"])["address"], "10.0.0.6:22");

    file(&app);
    assert!(place.expect(0, &["host", "apply", "hosts.toml"]).contains("nothing to change"));
    assert!(place.expect(0, &["host", "apply", "hosts.toml", "--prune"]).starts_with("- host phi-db\n"));
    file("");
    assert!(place.expect(1, &["host", "apply", "hosts.toml", "--prune"]).contains("no host stands here"));
    assert!(place.expect(0, &["verify"]).contains("log         ok"));
}
