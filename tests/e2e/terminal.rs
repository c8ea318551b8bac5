//! At a terminal: its size, its keys, and what is kept of it.

use rustix::process::Signal;

use crate::world::{Bastion, Terminal};

#[test]
fn shell_window_change_and_interrupt() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let mut screen = Terminal::start(bastion.ssh().jump("phi-db").flag("-tt").command(&[]), 100, 30);
    screen.press("PS1='ready> '; stty size\r").until("30 100");
    screen.resize(132, 43);
    screen.press("stty size\r").until("43 132");
    screen.press("sleep 500; echo slept=$?\r").until("slept=$?");
    screen.press("\u{3}").press("echo back=$?\r").until("back=130");
    screen.press("printf 'gr\\303\\274n'\r").until("grün");
    screen.press("exit 9\r");
    assert_eq!(screen.wait().code(), Some(9), "{}", screen.seen());

    bastion.settled();
    let cast = bastion.casts(&bastion.sessions()[0]).remove(0);
    assert_eq!(cast.about("kind"), "shell");
    assert_eq!((cast.header["width"].as_u64(), cast.header["height"].as_u64()), (Some(100), Some(30)));
    assert!(cast.shown().contains("grün") && cast.shown().contains("43 132"));
    assert!(cast.events.iter().any(|e| e.1 == "r" && e.2 == "132x43"), "the new size is kept");
}

#[test]
fn a_command_at_a_terminal_and_a_shell_without_one() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let out = bastion.ssh().jump("phi-db").flag("-tt").run("tty; exit 6").expect(6);
    assert!(out.text().starts_with("/dev/pts/"), "{}", out.told());
    let mut out = bastion.ssh().jump("phi-db").flag("-T").spawn("");
    out.write(b"echo plain; exit 8\n").until("plain");
    out.finish().expect(8);
}

#[test]
fn a_client_that_is_killed_ends_its_session() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let client = bastion.ssh().jump("phi-db").spawn("echo in; exec sleep 20");
    client.until("in");
    client.signal_group(Signal::KILL);
    drop(client);
    bastion.settled();
    let closed = bastion.event("session-closed", &bastion.sessions()[0]).to_string();
    assert!(closed.contains("peer-gone") || closed.contains("left"), "{closed}");
    bastion.local(&["verify"]).expect(0);
}
