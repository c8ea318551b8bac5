//! `user ..` as a program.

use std::fs;

use serde_json::json;

use super::{KEY, OTHER, Place};

fn place() -> Place {
    let place = Place::installed();
    fs::write(place.path("alice.pub"), format!("{KEY} laptop\n")).expect("written");
    fs::write(place.path("more.pub"), format!("{OTHER} token\n")).expect("written");
    place.expect(0, &["user", "add", "alice", "--key", "alice.pub", "--role", "engineer"]);
    place
}

#[test]
fn roles_have_dates() {
    let place = place();
    place.expect(0, &["user", "role", "alice", "--add", "dba", "--until", "2126-12-31"]);
    place.expect(0, &["user", "role", "alice", "--add", "on-call", "--from", "2126-01-01T08:00:00Z"]);
    let shown = place.json(0, &["user", "show", "alice"]);
    assert_eq!(shown["roles"], json!(["dba", "engineer"]), "on-call has not begun: {shown}");
    assert_eq!(shown["held_roles"][0]["until"], "2127-01-01T00:00:00.000Z");
    let text = place.expect(0, &["user", "show", "alice"]);
    assert!(text.contains("on-call from 2126-01-01T08:00:00.000Z (not yet)"), "{text}");
    assert!(place.expect(1, &["user", "role", "alice", "--add", "x", "--until", "2020-01-01"]).contains("ended at 2020-01-02"));
    assert!(place.expect(2, &["user", "role", "alice", "--add", "x", "--until", "soon"]).contains("not a time"));
    place.expect(2, &["user", "role", "alice"]);
    place.expect(2, &["user", "role", "alice", "--until", "2126-12-31", "--remove", "dba"]);
    place.expect(0, &["user", "role", "alice", "--remove", "dba"]);
    assert!(place.expect(1, &["user", "role", "alice", "--remove", "dba"]).contains("does not hold"));
    place.expect(1, &["user", "role", "alice", "--add", "owner", "--remove", "dba"]);
    assert!(!place.expect(0, &["user", "show", "alice"]).contains("owner"), "both or neither");
    place.expect(0, &["user", "role", "alice", "--add", "owner", "--remove", "on-call"]);
    let held = place.expect(0, &["user", "show", "alice"]);
    assert!(held.contains("owner") && !held.contains("on-call"), "{held}");
}

#[test]
fn vendors_have_a_contract_and_everybody_can_be_disabled() {
    let place = place();
    let add = ["user", "add", "vera", "--key", "more.pub", "--vendor", "acme", "--until", "2126-12-31"];
    assert_eq!(place.json(0, &add)["until"], "2127-01-01T00:00:00.000Z");
    place.expect(0, &["user", "contract", "vera", "--open"]);
    assert!(place.json(0, &["user", "show", "vera"])["until"].is_null());
    place.expect(0, &["user", "disable", "vera", "--note", "left the firm"]);
    assert!(place.expect(0, &["user", "show", "vera"]).contains(": left the firm"));
    assert!(place.expect(0, &["user", "list"]).contains("vera (of acme) (disabled)"));
    // What was typed drives nobody's terminal, neither here nor where a program prints it.
    place.expect(0, &["user", "enable", "vera"]);
    place.expect(0, &["user", "disable", "vera", "--note", "left\u{9b}2J \u{202e}the firm"]);
    for words in [&["user", "show", "vera"][..], &["user", "show", "vera", "--json"]] {
        let shown = place.expect(0, words);
        assert!(shown.contains("left") && !shown.contains(['\u{9b}', '\u{202e}']), "{shown:?}");
    }
    assert_eq!(place.json(0, &["user", "show", "vera"])["disabled_note"], "left\u{9b}2J \u{202e}the firm");
    place.expect(0, &["user", "enable", "vera"]);
    assert!(place.json(0, &["user", "show", "vera"])["disabled_at"].is_null());
    assert!(place.expect(1, &["user", "disable", "nobody"]).contains("user list"));
}

#[test]
fn keys_have_names() {
    let place = place();
    place.expect(0, &["user", "key", "add", "alice", "--key", "more.pub", "--name", "yubikey"]);
    let keys = place.json(0, &["user", "key", "list", "alice"]);
    assert_eq!((&keys[0]["name"], &keys[1]["name"]), (&json!("laptop"), &json!("yubikey")));
    assert!(keys[1]["last_used"].is_null());
    assert!(place.expect(1, &["user", "key", "remove", "alice", "nokey"]).contains("no key \"nokey\""));
    place.expect(0, &["user", "key", "remove", "alice", "yubikey"]);
    let print = keys[0]["fingerprint"].as_str().expect("a fingerprint").to_owned();
    assert!(place.expect(0, &["user", "key", "remove", "alice", &print]).contains("nothing opens"));
}

#[test]
fn an_invitation_is_shown_once() {
    let place = place();
    let invited = place.json(0, &["user", "invite", "vera", "--role", "field", "--vendor", "acme", "--sponsor", "alice", "--for", "2h"]);
    let code = invited["code"].as_str().expect("a code").to_owned();
    assert!(code.starts_with("inv-") && code.len() == 30, "{code}");
    let shown = place.expect(0, &["user", "show", "vera"]);
    assert!(shown.contains("no key yet, sponsor alice") && !shown.contains(&code[11..]), "{shown}");
    assert!(place.expect(1, &["user", "invite", "vera"]).contains("--withdraw"));
    assert!(place.expect(1, &["user", "confirm", "vera"]).contains("no key waits"));
    place.expect(0, &["user", "invite", "vera", "--withdraw"]);
    assert!(place.expect(0, &["user", "invite", "vera"]).contains("ssh -i KEY inv-"));
    assert!(place.expect(1, &["user", "invite", "alice", "--role", "owner"]).contains("leave --role"));
}

#[test]
fn a_file_of_users_is_applied() {
    let place = place();
    let file = format!(
        "[[user]]\nname = \"bob\"\nroles = [\"owner\", {{ role = \"dba\", until = \"2126-12-31\" }}]\nkeys = [{{ name = \"desk\", key = \"{OTHER}\" }}]\n"
    );
    fs::write(place.path("users.toml"), &file).expect("written");
    let dry = place.expect(0, &["user", "apply", "users.toml", "--dry-run"]);
    assert!(dry.contains("+ user bob") && dry.contains("dba until 2127-01-01T00:00:00.000Z, owner") && dry.contains("--dry-run"), "{dry}");
    assert_eq!(place.json(0, &["user", "list"]).as_array().map(Vec::len), Some(1));
    place.expect(0, &["user", "apply", "users.toml"]);
    assert!(place.expect(0, &["user", "apply", "users.toml"]).contains("nothing to change"));
    let pruned = place.expect(0, &["user", "apply", "users.toml", "--prune"]);
    assert!(pruned.contains("~ user alice") && pruned.contains("disabled"), "{pruned}");
    fs::write(place.path("users.toml"), file.replace("roles", "rolls")).expect("written");
    let wrong = place.expect(1, &["user", "apply", "users.toml"]);
    assert!(wrong.contains("users.toml:3:1") && wrong.contains('^'), "{wrong}");
}
