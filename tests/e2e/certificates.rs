//! Certificates as OpenSSH's own tools read them.

use std::fs;
use std::process::Command;

use crate::world::{Bastion, files, run, wait_for};

#[test]
fn the_host_certificates_name_their_hosts() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let outer = run(&mut bastion.ssh().flag("-v").command(&["whoami"]), b"").expect(0);
    assert!(outer.stderr.contains("Server host certificate: ssh-ed25519-cert-v01@openssh.com"), "{}", outer.told());
    let inner = bastion.ssh().jump("phi-db").flag("-v").run("true").expect(0);
    let line = inner.stderr.lines().rfind(|l| l.contains("Server host certificate:")).unwrap_or_else(|| panic!("{}", inner.told()));
    assert!(line.contains("CA ssh-ed25519"), "{line}");

    let config = run(bastion.ssh().program("ssh").args(["-G", "jit-bastion"]), b"").expect(0).text();
    let value = |key: &str| config.lines().find_map(|l| l.strip_prefix(key)).expect("in the config").trim().to_string();
    let scanned = run(Command::new("ssh-keyscan").args(["-c", "-t", "ed25519", "-p", &value("port "), &value("hostname ")]), b"");
    let cert = scanned
        .text()
        .lines()
        .find(|l| l.contains("-cert-v01@"))
        .map(|l| l[l.find("ssh-").unwrap_or(0)..].to_string())
        .unwrap_or_else(|| panic!("{}", scanned.told()));
    let shown = run(Command::new("ssh-keygen").args(["-L", "-f", "-"]), cert.as_bytes()).expect(0).text();
    for words in ["host certificate", "Signing CA: ED25519", "jit-bastion", "Valid: from"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn the_hosts_own_log_names_the_human() {
    let bastion = Bastion::start();
    let grant = bastion.grant("alice", "phi-db", "1h");
    bastion.ssh().jump("phi-db").run("true").expect(0);
    let session = bastion.sessions().pop().expect("a session");
    let accepted = wait_for("the sshd's line", || {
        let logs = files(&bastion.dir(), "log").into_iter().map(|f| fs::read_to_string(f).unwrap_or_default());
        logs.flat_map(|text| text.lines().map(str::to_string).collect::<Vec<_>>())
            .find(|l| l.contains("Accepted publickey") && l.contains(&session))
    });
    for word in ["ED25519-CERT", "alice", grant.as_str(), "CA ED25519"] {
        assert!(accepted.contains(word), "{word}: {accepted}");
    }
    assert!(files(&bastion.dir(), "key").is_empty(), "no session key lies anywhere");
}

#[test]
fn known_hosts_is_one_line_that_works() {
    let bastion = Bastion::start();
    let line = bastion.verb("alice", "known-hosts").expect(0).text();
    assert!(line.starts_with("@cert-authority ") && line.contains("ssh-ed25519"), "{line}");
    bastion.grant("alice", "phi-db", "1h");
    let known = bastion.aside("known");
    fs::write(&known, &line).expect("a file");
    let plain = bastion.verb("alice", "known-hosts --plain").expect(0).text();
    assert!(plain.contains("ssh-ed25519") && !plain.contains("cert-authority"), "{plain}");
    let option = format!("UserKnownHostsFile={}", known.display());
    bastion.ssh().jump("phi-db").option(&option).option("StrictHostKeyChecking=yes").run("true").expect(0);
}
