//! The whole road with the real `ssh`, `scp`, `sftp`, `sshd`, `ssh-keygen` and asciinema. Names follow OpenSSH's own regress scripts
//! where there is one. Nothing sleeps for a result, nothing is killed by name, and every bastion has a folder of its own.

#![allow(clippy::disallowed_methods, reason = "these tests measure real time")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod access;
mod asciinema;
mod asking;
mod certificates;
mod crash;
mod cutoff;
mod disk;
mod exit_status;
mod files;
mod forwards;
mod hosts;
mod idle;
mod keys;
mod multiplex;
mod nodes;
mod people;
mod refusals;
mod replay;
mod road;
mod search;
mod store;
mod terminal;
mod transfer;
mod verbs;
mod verify;
#[allow(dead_code, unused_imports, reason = "the bench speaks it too")]
mod world;
mod zoo;

#[test]
fn the_language_itself_speaks_with_a_plain_sshd() {
    use std::process::Command;

    let server = world::SshServer::start();
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "/dev/null",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-p",
        &server.port.to_string(),
        "-i",
    ]);
    ssh.arg(server.key()).args(["127.0.0.1", "cat; exit 7"]);
    assert_eq!(world::run(&mut ssh, b"there and back").expect(7).text(), "there and back");
    assert!(world::cpu_seconds(server.pid()) >= 0.0);
    let mut at = Command::new("sh");
    at.args(["-c", "stty size; read x; echo got $x; read x; stty size; exit 3"]);
    let mut screen = world::Terminal::start(at, 91, 17);
    screen.until("17 91").press("hello\r").until("got hello").resize(80, 24).press("\r").until("24 80");
    assert_eq!(screen.wait().code(), Some(3));
}
