//! Who does not come in, and what they are told.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::multiplex::master;
use crate::world::{Bastion, run, wait_for};

#[test]
fn a_key_that_nobody_registered_is_refused() {
    let bastion = Bastion::start();
    let key = bastion.aside("stranger");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key), b"").expect(0);
    std::fs::copy(&key, bastion.key("mallory")).expect("a copy");
    let before = bastion.events().len();
    bastion.verb("mallory", "whoami").expect(255).says("Permission denied");
    bastion.ssh().by("mallory").jump("phi-db").run("true").expect(255);
    assert_eq!(bastion.events().len(), before, "a stranger writes nothing into the tree");
    wait_for("a line in the log file", || bastion.log().contains("a stranger left").then_some(()));
}

#[test]
fn another_users_key_does_not_open_the_inner_door() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let config = bastion.dir().join("ssh_config").display().to_string();
    let mut crossed = Command::new("ssh");
    crossed.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    // alice's tunnel, left open on a shared machine, and bob's key on the inner hop
    crossed.args(["-o", &format!("ProxyCommand=ssh -F {config} -W %h:%p alice@jit-bastion"), "-o", "IdentitiesOnly=yes", "-i"]);
    run(crossed.arg(bastion.key("bob")).args(["phi-db", "true"]), b"").expect(255);
    assert!(bastion.sessions().is_empty());
}

#[test]
fn without_a_grant_the_exact_command_is_told() {
    let bastion = Bastion::start();
    let refused = bastion.ssh().jump("phi-db").run("true").expect(255);
    let line = refused.stderr.lines().find(|l| l.contains("request phi-db")).unwrap_or_else(|| panic!("{}", refused.told()));
    let words = &line[line.find("request phi-db").unwrap_or(0)..];
    let words =
        words.trim_end_matches(['`', '\'', '"', '.']).replace("TEXT", "because it is broken").replace("...", "because it is broken");
    bastion.verb("alice", &words).expect(0);
    let pending = bastion.verb("bob", "requests --pending").expect(0).text();
    assert!(pending.contains("phi-db"), "{pending}");
}

#[test]
fn after_the_end_nobody_comes_in() {
    let bastion = Bastion::start();
    let grant = bastion.grant("alice", "phi-db", "1h");
    bastion.ssh().jump("phi-db").run("true").expect(0);
    bastion.verb("alice", &format!("close {grant}")).expect(0);
    bastion.ssh().jump("phi-db").run("true").expect(255);

    bastion.grant("alice", "phi-db", "2s");
    wait_for("the grant's end", || {
        let grants = bastion.verb("alice", "grants").expect(0).text();
        (grants.contains("ended") && grants.contains("closed")).then_some(())
    });
    bastion.ssh().jump("phi-db").run("true").expect(255);
}

#[test]
fn nobody_approves_their_own_request() {
    let bastion = Bastion::start();
    let request = bastion.request("alice", "phi-db", "1h");
    bastion.verb("alice", &format!("approve {request}")).expect(1);
    bastion.verb("dave", &format!("approve {request}")).expect(1);
    bastion.verb("vera", &format!("approve {request}")).expect(1);
    bastion.verb("bob", &format!("deny {request} --note not today")).expect(0);
    bastion.verb("bob", &format!("approve {request}")).expect(1);
    bastion.ssh().jump("phi-db").run("true").expect(255);
}

#[test]
fn an_invisible_host_and_an_unknown_one_look_alike() {
    let bastion = Bastion::start();
    let hidden = bastion.verb("vera", "request phi-db --reason let me in please").expect(1);
    let unknown = bastion.verb("vera", "request phi-zz --reason let me in please").expect(1);
    assert_eq!(hidden.stderr.replace("phi-db", "phi-zz"), unknown.stderr);
    assert_eq!(hidden.text(), unknown.text());
    let hidden = bastion.ssh().by("vera").jump("phi-db").run("true").expect(255);
    let unknown = bastion.ssh().by("vera").jump("phi-zz").run("true").expect(255);
    assert_eq!(said(&hidden.stderr), said(&unknown.stderr).replace("phi-zz", "phi-db"));
}

#[test]
fn a_host_whose_key_changed_is_refused() {
    let bastion = Bastion::start();
    let stranger = crate::world::SshServer::start();
    let port = stranger.port.to_string();
    // registered with the wrong key: whoever answers there is not who it says
    let other = bastion.aside("other");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other), b"").expect(0);
    let login = run(Command::new("id").arg("-un"), b"").text().trim().to_string();
    let key = other.with_extension("pub").display().to_string();
    let address = format!("127.0.0.1:{port}");
    bastion.local(&["host", "add", "phi-new", "--address", &address, "--key", &key, "--login", &login, "--label", "phi"]).expect(0);
    let policy = bastion.dir().join("policy.toml");
    let text = std::fs::read_to_string(&policy).expect("the policy");
    std::fs::write(&policy, text.replace("\"phi-app\"]", "\"phi-app\", \"phi-new\"]")).expect("changed");
    rustix::process::kill_process(crate::world::pid(bastion.pid()), rustix::process::Signal::HUP).expect("it runs");
    wait_for("the reload", || bastion.verb("alice", "hosts").text().contains("phi-new").then_some(()));
    bastion.grant("alice", "phi-new", "1h");
    let refused = bastion.ssh().jump("phi-new").option("StrictHostKeyChecking=no").run("true").expect(255);
    assert!(refused.stderr.contains("is not the registered one"), "it says why: {}", refused.told());
}

#[test]
fn what_is_not_granted_is_refused_and_the_session_goes_on() {
    let bastion = Bastion::start();
    let filed = bastion.json("alice", "request phi-db --for 1h --channels exec --reason run the nightly checks by hand");
    let request = filed["request"].as_str().expect("a request");
    bastion.json("bob", &format!("approve {request}"));
    // a client of a master asks for the agent and for X11 only if the master was told to as well
    let (running, client) = master(&bastion, &bastion.ssh().jump("phi-db").flag("-A").flag("-X"), "cm");

    // the reason must reach the user each time, not only when it happens to be written before the channel ends
    for _ in 0..5 {
        run(&mut client.clone().flag("-tt").command(&[]), b"").expect(255).says("a shell is not in your grant");
        run(&mut client.clone().flag("-T").command(&[]), b"ls\n").expect(255).says("a shell is not in your grant");
        run(&mut client.clone().flag("-s").command(&["netconf"]), b"").expect(255).says("the subsystem netconf is not relayed");
    }
    let out = client.run("echo \"agent: $SSH_AUTH_SOCK\"").expect(0).says("agent is not in your grant");
    assert_eq!(out.text(), "agent: \n");

    let asked = |flags: &[&str]| {
        let asked = flags.iter().fold(client.clone(), |ssh, flag| ssh.flag(flag));
        run(&mut asked.command(&[]), b"")
    };
    asked(&["-O", "forward", "-R", "0:localhost:22"]).expect(255).says("remote port forwarding failed");
    // why a forward is not opened is told to the master
    let prohibited = "administratively prohibited: forward:22 is not in your grant";
    asked(&["-W", "localhost:22"]).expect(255).says("refused");
    running.until_error(prohibited);
    let told = || running.errors().matches(prohibited).count();
    let before = told();
    let socket = bastion.aside("forward");
    asked(&["-O", "forward", "-L", &format!("{}:localhost:22", socket.display())]).expect(0);
    let mut said = Vec::new();
    UnixStream::connect(&socket).and_then(|mut stream| stream.read_to_end(&mut said)).expect("it is closed");
    assert!(said.is_empty(), "the host's sshd is not reached: {}", String::from_utf8_lossy(&said));
    wait_for("the second refusal", || (told() > before).then_some(()));

    client.run("true").expect(0);
    drop(running);
    bastion.settled();
    assert_eq!(bastion.sessions().len(), 1, "all of it was one session");
    // and without a master
    run(&mut bastion.ssh().jump("phi-db").flag("-T").command(&[]), b"").expect(255).says("a shell is not in your grant");
    run(&mut bastion.ssh().jump("phi-db").flag("-tt").command(&[]), b"").expect(255).says("a shell is not in your grant");
}

#[test]
fn x11_is_refused_with_its_reason_and_the_session_goes_on() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let mut command = bastion.ssh().jump("phi-db").flag("-Y").command(&["echo \"display: $DISPLAY\""]);
    let out = run(command.env("DISPLAY", "localhost:7"), b"").expect(0).says("X11 forwarding is always refused");
    assert_eq!(out.text(), "display: \n");
}

/// Lines that name no random id, address or port.
fn said(stderr: &str) -> String {
    let keep = |line: &&str| !line.contains("port") || line.contains("phi-");
    stderr.lines().filter(keep).map(str::trim).collect::<Vec<_>>().join("\n")
}
