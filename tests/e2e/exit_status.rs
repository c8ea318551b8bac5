//! What a command leaves behind: its status, its two streams, its environment, and an end on either side.

use std::process::Command;

use crate::world::{Bastion, run};

#[test]
fn exit_status_and_stderr_data() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let ssh = bastion.ssh().jump("phi-db").flag("-q");
    for code in [0, 1, 7, 127, 254] {
        ssh.run(&format!("exit {code}")).expect(code);
    }
    ssh.run("no-such-command-at-all").expect(127).says("no-such-command-at-all");
    ssh.run("kill -TERM $$").expect(255);
    let both = ssh.run("echo out; echo err >&2; echo out2; echo err2 >&2; exit 3").expect(3);
    assert_eq!((both.text().as_str(), both.stderr.as_str()), ("out\nout2\n", "err\nerr2\n"));
    let much = ssh.run("head -c 3000000 /dev/zero | tr '\\0' e >&2; head -c 3000000 /dev/zero | tr '\\0' o").expect(0);
    assert_eq!((much.stdout.len(), much.stderr.len()), (3_000_000, 3_000_000));
    assert!(much.stdout.iter().all(|b| *b == b'o') && much.stderr.bytes().all(|b| b == b'e'));

    bastion.settled();
    let session = bastion.sessions().into_iter().nth(7).expect("the one with both streams");
    let cast = &bastion.casts(&session)[0];
    assert!(cast.shown().contains("out2") && cast.shown().contains("err2"), "both show on replay: {:?}", cast.events);
    assert_eq!((cast.out(), cast.err()), (b"out\nout2\n".to_vec(), b"err\nerr2\n".to_vec()), "and are told apart");
}

#[test]
fn yes_head() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    for _ in 0..3 {
        let ssh = bastion.ssh().jump("phi-db").command(&["yes"]);
        let mut piped = Command::new("bash");
        piped.args(["-c", "\"$@\" | head -1", "-"]).arg(ssh.get_program()).args(ssh.get_args());
        assert_eq!(run(&mut piped, b"").expect(0).text(), "y\n");
    }
    bastion.settled();
}

#[test]
fn half_close_in_both_directions() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let ssh = bastion.ssh().jump("phi-db");
    // the client ends its input, the host answers after that
    assert_eq!(ssh.run_with("cat | wc -c; echo done", &vec![b'x'; 1_000_000]).expect(0).text(), "1000000\ndone\n");
    // the host ends its output, and goes on reading
    let mut running = ssh.spawn("exec >&-; cat >&2; exit 4");
    running.write(b"one\n").until_error("one");
    running.write(b"two\n").until_error("two");
    running.wait().expect(4);
    // no input at all
    ssh.clone().flag("-n").run("cat; echo over").expect(0);
}

#[test]
fn envpass() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let ssh = bastion.ssh().jump("phi-db").option("SetEnv=LC_TIME=kept LC_MARK=id LC_NAME=$(id) LD_PRELOAD=/evil.so BASH_ENV=/evil");
    let out = ssh.run("echo $LC_TIME/$LC_MARK/$LC_NAME/$LD_PRELOAD/$BASH_ENV").expect(0);
    assert_eq!(out.text(), "kept////\n");
}

#[test]
fn keepalives_and_long_commands_pass() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let ssh = bastion.ssh().jump("phi-db").option("ServerAliveInterval=1").option("ServerAliveCountMax=2");
    assert_eq!(ssh.run("sleep 5; echo awake").expect(0).text(), "awake\n");
    let long = format!("echo {}", "x".repeat(100_000));
    assert_eq!(ssh.run(&long).expect(0).text().len(), 100_001);
}
