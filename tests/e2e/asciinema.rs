//! A stock asciinema 2.4 opens every sealed recording.

use std::path::PathBuf;
use std::process::Command;

use crate::transfer::noise;
use crate::world::{Bastion, Cast, Terminal, run};

fn asciinema() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/venv/bin/asciinema");
    assert!(program.exists(), "run tests/setup.sh test first: {} is missing", program.display());
    program
}

#[test]
fn asciinema_plays_every_sealed_recording() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let ssh = bastion.ssh().jump("phi-db");
    ssh.run("printf 'one\\ntwo\\n'; echo three >&2").expect(0);
    ssh.run_with("cat", &noise(100_000)).expect(0);
    ssh.run("printf '\\033[1mbold\\033[0m \\\"quoted\\\" \\\\ gr\\303\\274n \\377\\n'").expect(0);
    ssh.run("true").expect(0);
    let mut screen = Terminal::start(ssh.clone().flag("-tt").command(&[]), 90, 25);
    screen.press("echo at the termin\u{8}nal\r").until("at the terminal");
    screen.press("exit\r").wait();
    run(ssh.program("sftp").args(["-b", "-", "phi-db"]), b"ls /\n").expect(0);
    bastion.settled();

    let sealed = bastion.cast_files();
    assert_eq!(sealed.len(), 6, "{sealed:?}");
    for file in sealed {
        let cast = Cast::read(&file);
        let catted = run(Command::new(asciinema()).arg("cat").arg(&file).env("LC_ALL", "C.UTF-8"), b"").expect(0);
        assert_eq!(catted.text(), cast.shown(), "{}", file.display());
        let mut play = Command::new(asciinema());
        play.args(["play", "-i", "0.01", "-s", "50"]).arg(&file).env("LC_ALL", "C.UTF-8");
        run(&mut play, b"").expect(0);
    }
}
