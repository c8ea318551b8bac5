//! Many channels on one connection, and many connections in one.

use std::process::Command;
use std::thread;

use crate::transfer::noise;
use crate::world::{Bastion, Out, Running, Ssh, run, wait_for};

/// A ControlMaster that is up; ends with the handle.
pub fn master(bastion: &Bastion, ssh: &Ssh, name: &str) -> (Running, Ssh) {
    let path = bastion.aside(name).display().to_string();
    let running =
        Running::start(ssh.clone().flag("-M").flag("-N").option(&format!("ControlPath={path}")).command(&[]).arg("-n"), Out::Collect);
    let client = ssh.clone().option(&format!("ControlPath={path}")).option("ControlMaster=no");
    wait_for("the master", || (run(&mut client.clone().flag("-O").flag("check").command(&[]), b"").code == Some(0)).then_some(()));
    (running, client)
}

#[test]
fn multiplex_eight_channels() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let (running, client) = master(&bastion, &bastion.ssh().jump("phi-db"), "cm");
    let bytes = noise(2_000_000);
    thread::scope(|scope| {
        for _ in 0..8 {
            let (client, bytes) = (&client, &bytes);
            scope.spawn(move || {
                for _ in 0..3 {
                    let back = client.run_with("cat", bytes).expect(0);
                    assert!(back.stdout == *bytes, "{} bytes came back", back.stdout.len());
                }
                client.run("exit 5").expect(5);
            });
        }
    });
    drop(running);
    bastion.settled();
    let sessions = bastion.sessions();
    assert_eq!(sessions.len(), 1, "one connection is one session");
    assert_eq!(bastion.casts(&sessions[0]).len(), 32, "and each channel a recording");
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn two_grants_on_one_outer_connection() {
    let bastion = Bastion::start();
    let (_outer, _) = master(&bastion, &bastion.ssh(), "outer");
    let path = bastion.aside("outer").display().to_string();
    let config = bastion.dir().join("ssh_config").display().to_string();
    let through = |host: &str| {
        let mut command = Command::new("ssh");
        command.args(["-F", &config, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o"]);
        command.arg(format!("IdentityFile={}", bastion.key("alice").display()));
        command.arg("-o").arg(format!("ProxyCommand=ssh -F {config} -S {path} -W %h:%p alice@jit-bastion"));
        command.args([host, "echo in; cat"]);
        Running::start(&mut command, Out::Collect)
    };
    let first = bastion.grant("alice", "phi-db", "1h");
    bastion.grant("alice", "phi-app", "1h");
    let (mut db, mut app) = (through("phi-db"), through("phi-app"));
    db.until("in");
    app.until("in");
    bastion.verb("alice", &format!("close {first}")).expect(0);
    db.finish().expect(255);
    app.write(b"still here\n").until("still here");
    app.wait().expect(0);
}
