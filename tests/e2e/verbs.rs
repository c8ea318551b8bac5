//! The verbs over ssh: text, JSON, statuses, and who may.

use serde_json::Value;

use crate::world::{Bastion, find_id};

#[test]
fn json_is_one_value_and_refusals_keep_their_status() {
    let bastion = Bastion::start();
    let grant = bastion.grant("alice", "phi-db", "1h");
    bastion.ssh().jump("phi-db").run("true").expect(0);
    bastion.settled();
    assert_eq!(bastion.json("alice", "whoami")["user"], "alice");
    for list in ["hosts", "requests --mine", "grants"] {
        assert!(bastion.json("alice", list).as_array().is_some_and(|a| !a.is_empty()), "{list}");
    }
    assert_eq!(find_id(&bastion.json("alice", "grants"), "g-"), Some(grant));
    for list in ["sessions", "recordings"] {
        assert!(find_id(&bastion.json("carol", list), "s-").is_some(), "{list}");
    }
    let refused = bastion.verb("alice", "request phi-db --for 9h --reason far too long --json").expect(1);
    let error: Value = serde_json::from_slice(&refused.stdout).unwrap_or_else(|e| panic!("{e}: {}", refused.told()));
    for key in ["code", "message", "next"] {
        assert!(error["error"].get(key).is_some(), "{key} in {error}");
    }
    // the flag may stand anywhere
    let early = bastion.verb("alice", "requests --json --mine").expect(0);
    assert!(serde_json::from_slice::<Value>(&early.stdout).is_ok());
}

#[test]
fn wrong_usage_is_two_and_says_what_is_right() {
    let bastion = Bastion::start();
    for words in [
        "frobnicate",
        "request",
        "request phi-db --for ever --reason x",
        "show",
        "show x-1",
        "approve",
        "requests --nonsense",
        "request 'phi-db",
    ] {
        let out = bastion.verb("alice", words).expect(2);
        assert!(!out.stderr.trim().is_empty() || !out.stdout.is_empty(), "{words}: {}", out.told());
    }
    let status = bastion.local(&["approve", "r-000000"]);
    assert!(matches!(status.code, Some(1 | 2)), "{}", status.told());
    bastion.local(&["--nonsense"]).expect(2);
    bastion.verb("alice", "help").expect(0);
}

#[test]
fn a_reason_needs_no_quotes() {
    let bastion = Bastion::start();
    let request = bastion.json("alice", "request phi-db --reason the nightly job; it's stuck on *.log --for 20m");
    let id = find_id(&request, "r-").expect("an id");
    let shown = bastion.verb("bob", &format!("show {id}")).expect(0).text();
    assert!(shown.contains("it's stuck on *.log"), "{shown}");
    bastion.verb("alice", &format!("withdraw {id}")).expect(0);
    bastion.verb("bob", &format!("approve {id}")).expect(1);
}

#[test]
fn what_needs_a_right_is_refused_without_it() {
    let bastion = Bastion::start();
    let grant = bastion.grant("alice", "phi-db", "1h");
    bastion.ssh().jump("phi-db").run("true").expect(0);
    bastion.settled();
    let session = bastion.sessions().remove(0);
    bastion.verb("alice", &format!("replay {session} --because a test")).expect(1);
    let request = find_id(&bastion.json("alice", "requests --mine"), "r-").expect("hers");
    bastion.verb("vera", &format!("show {request}")).expect(1);
    bastion.verb("vera", &format!("revoke {grant} --note no")).expect(1);
    bastion.verb("carol", &format!("replay {session} --because a test")).expect(0);
    // replaying is itself on record
    assert!(bastion.events().iter().any(|e| e.to_string().contains("carol") && e.to_string().contains(&session)));
}

#[test]
fn only_hosts_behind_the_bastion_are_reached() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    for target in ["127.0.0.1:1", "169.254.169.254:80", "localhost:22", "phi-zz:22"] {
        let out = bastion.ssh().flag("-W").flag(target).command(&[]);
        let mut out = out;
        let out = crate::world::run(&mut out, b"");
        assert_ne!(out.code, Some(0), "{target}: {}", out.told());
    }
    let agent = bastion.ssh().flag("-R").flag("0:127.0.0.1:1").option("ExitOnForwardFailure=yes").run("whoami");
    assert_eq!(agent.code, Some(255), "{}", agent.told());
    // no shell on the bastion: a page, and an end
    let page = |term: &str| crate::world::run(bastion.ssh().flag("-tt").command(&[]).env("TERM", term), b"");
    let shown = page("xterm");
    assert!(shown.text().contains("phi-db") && shown.text().contains("\u{1b}["), "{}", shown.told());
    // colour only where a terminal shows it
    for plain in [page("dumb"), bastion.verb("alice", "grants")] {
        assert!(plain.text().contains("phi-db") && !plain.text().contains('\u{1b}'), "{}", plain.told());
    }
    crate::world::run(bastion.ssh().program("sftp").args(["-b", "-", "alice@jit-bastion"]), b"ls\n").expect(255);
}

#[test]
fn a_table_fits_the_terminal_on_the_server_too() {
    let bastion = Bastion::start();
    for words in
        [&["user", "list"][..], &["host", "list"], &["ca", "list"], &["policy", "who-can", "phi-db"], &["user", "key", "list", "alice"]]
    {
        let wide = bastion.local(words).expect(0).text();
        assert!(wide.lines().any(|line| line.len() > 40), "{wide}");
        let mut terminal = crate::world::Terminal::start(bastion.local_command(words), 40, 25);
        assert!(terminal.wait().success(), "{}", terminal.seen());
        crate::world::wait_for("the whole of it", || terminal.seen().ends_with('\n').then_some(()));
        let plain = terminal.seen().replace("\u{1b}[1m", "").replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
        let heads: Vec<&str> = wide.split_whitespace().take(2).collect();
        let first = plain.lines().next().unwrap_or_default();
        // Where no table fits, each row is a block of lines, and what is long there wraps.
        match first.contains(heads[1]) {
            true => assert!(plain.lines().all(|line| line.chars().count() <= 40), "{plain}"),
            false => assert!(first.starts_with(heads[0]) && plain.lines().nth(1).is_some_and(|line| line.starts_with(heads[1])), "{plain}"),
        }
    }
}
