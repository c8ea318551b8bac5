//! Automatic logoff: who types is not idle, and neither is whose command runs; everybody else is warned first.

use std::time::{Duration, Instant};

use crate::world::{Bastion, Terminal};

/// A world where alice's rule has these lines too.
fn with(lines: &str) -> Bastion {
    let bastion = Bastion::start();
    bastion.change_policy(|text| text.replace("id = \"engineers\"\n", &format!("id = \"engineers\"\n{lines}\n")));
    bastion.grant("alice", "phi-db", "1h");
    bastion
}

fn ending(bastion: &Bastion) -> String {
    bastion.settled();
    let session = bastion.sessions().pop().expect("a session");
    bastion.event("session-closed", &session)["data"]["ending"].as_str().unwrap_or_default().to_string()
}

#[test]
fn a_terminal_where_nobody_types_is_warned_and_logged_off() {
    let bastion = with("idle = \"6s\"");
    let mut screen = Terminal::start(bastion.ssh().jump("phi-db").flag("-tt").command(&[]), 120, 30);
    screen.press("PS1='ready> '; (while :; do printf .; sleep 0.2; done) &\r").until("ready>");
    screen.until("nothing was typed for 3s: you are logged off in 3s unless you type");
    // whoever types after the warning stays
    let typed = Instant::now();
    screen.press("echo st''ill here\r").until("still here");
    screen.until("you were logged off because nothing was typed");
    assert!(typed.elapsed() > Duration::from_secs(5), "the stretch began anew: {:?}", typed.elapsed());
    assert_eq!(screen.wait().code(), Some(255), "{}", screen.seen());
    assert_eq!(ending(&bastion), "idle");
    let cast = bastion.casts(&bastion.sessions()[0]).remove(0);
    assert!(cast.events.iter().any(|e| e.1 == "m" && e.2.contains("nothing was typed")), "the warning stands in the recording");
}

#[test]
fn a_running_command_is_not_idle_unless_the_rule_says_so() {
    let bastion = with("idle = \"2s\"");
    let out = bastion.ssh().jump("phi-db").run("sleep 5; echo done").expect(0);
    assert_eq!(out.text(), "done\n");
    let bastion = with("idle = \"2s\"\nidle-commands = true");
    bastion.ssh().jump("phi-db").run("sleep 20; echo done").expect(255);
    assert_eq!(ending(&bastion), "idle");
}

#[test]
fn what_staff_type_is_kept_where_the_rule_says_so() {
    let bastion = with("record-input = true");
    let mut screen = Terminal::start(bastion.ssh().jump("phi-db").flag("-tt").command(&[]), 80, 24);
    screen.press("PS1='ready> '\r").until("ready>");
    screen.press("echo typ''ed\r").until("typed").press("exit\r");
    screen.wait();
    bastion.settled();
    let cast = bastion.casts(&bastion.sessions()[0]).remove(0);
    let input: String = cast.events.iter().filter(|e| e.1 == "i").map(|e| e.2.as_str()).collect();
    assert!(input.contains("echo typ''ed"), "{input:?}");
}
