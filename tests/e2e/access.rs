//! Access certificates with the real ssh, ssh-keygen and sshd, on both hops.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::{Bastion, Output, Ssh, run};

const CERTIFICATES_ONLY: &str = "PubkeyAcceptedAlgorithms=ssh-ed25519-cert-v01@openssh.com";

impl Bastion {
    /// Where alice's ssh looks for a certificate.
    fn certificate(&self) -> PathBuf {
        self.key("alice").with_file_name("alice-cert.pub")
    }

    /// What alice gets at the front door with her certificate and nothing else.
    fn certified(&self, words: &str) -> Output {
        self.ssh().option(CERTIFICATES_ONLY).run(words)
    }

    /// A certificate of ssh-keygen's for alice's key, with these options.
    fn forge(&self, ca: &Path, options: &[&str]) {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-s"]).arg(ca).args(["-I", "x", "-z", "1"]).args(options).arg(self.key("alice").with_extension("pub"));
        run(&mut keygen, b"").expect(0);
    }
}

/// Without the plain key as a way out, on the inner hop: options of the command line reach that one alone.
fn inner(bastion: &Bastion, host: &str) -> Ssh {
    bastion.ssh().jump(host).option(CERTIFICATES_ONLY)
}

#[test]
fn a_certificate_opens_the_bastion_and_one_grant_and_never_a_host() {
    let bastion = Bastion::start();
    let grant = bastion.grant("alice", "phi-db", "1h");
    let other = bastion.grant("alice", "phi-app", "1h");
    let line = bastion.verb("alice", &format!("cert {grant}")).expect(0).text();
    fs::write(bastion.certificate(), &line).expect("a certificate");
    let shown = run(Command::new("ssh-keygen").arg("-L").arg("-f").arg(bastion.certificate()), b"").expect(0).text();
    for words in ["user certificate", &format!("alice/{grant}"), "access@jit-bastion", "grant@jit-bastion"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    // ssh offers a certificate that lies beside its key after the key, and one that is named before it.
    assert!(!bastion.verb("alice", "whoami").expect(0).text().contains("alone"));
    let named = format!("CertificateFile={}", bastion.certificate().display());
    let whoami = bastion.ssh().option(&named).run("whoami").expect(0).text();
    assert!(whoami.contains(&format!("sees {grant} alone")), "{whoami}");
    let grants = bastion.certified("grants").expect(0).text();
    assert!(grants.contains(&grant) && !grants.contains(&other), "{grants}");
    bastion.certified("request phi-app --reason more of it").expect(1).says(&format!("it sees {grant} alone"));
    // The inner hop by certificate; then the outer one, which limits an inner one by the plain key.
    assert_eq!(inner(&bastion, "phi-db").run("echo in").expect(0).text(), "in\n");
    let session = bastion.sessions().pop().expect("a session");
    assert!(bastion.event("session-opened", &session).to_string().contains("\"pass\""));
    let config = bastion.dir().join("ssh_config");
    let text = fs::read_to_string(&config).expect("ssh_config");
    fs::write(&config, text.replacen("    User alice\n", &format!("    User alice\n    {}\n", named.replace('=', " ")), 1))
        .expect("written");
    let plain = |host: &str| bastion.ssh().jump(host).option("PubkeyAcceptedAlgorithms=ssh-ed25519").run("echo in");
    assert_eq!(plain("phi-db").expect(0).text(), "in\n");
    plain("phi-app").expect(255).says("no host");
    fs::write(&config, text).expect("put back");
    // No host lets it in: not one that trusts the session CA, nor one that was told to trust the access CA by mistake.
    let straight = || {
        let config = fs::read_to_string(bastion.dir().join("hosts/phi-db/sshd_config")).expect("a config");
        let port = config.lines().find_map(|l| l.strip_prefix("ListenAddress 127.0.0.1:")).expect("a port");
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        ssh.args(["-o", "IdentitiesOnly=yes", "-p", port.trim(), "-i"]).arg(bastion.key("alice")).args(["127.0.0.1", "true"]);
        run(&mut ssh, b"").expect(255).says("Permission denied")
    };
    straight();
    let keys = bastion.local(&["--json", "ca", "list"]).expect(0);
    let keys: serde_json::Value = serde_json::from_slice(&keys.stdout).expect("json");
    let access = keys.as_array().expect("a list").iter().find(|key| key["key"] == "access").expect("the access CA");
    fs::write(bastion.dir().join("hosts/phi-db/trusted_ca.pub"), format!("{}\n", access["public"].as_str().expect("a line")))
        .expect("a file");
    straight();
    let log = fs::read_to_string(bastion.dir().join("hosts/phi-db/sshd.log")).expect("a log");
    assert!(log.contains("principal"), "sshd says why: {log}");
    // When the grant is over, so is the certificate; the plain key still opens.
    bastion.certified(&format!("close {grant}")).expect(0);
    bastion.certified("whoami").expect(255).says("Permission denied");
    let whoami = bastion.verb("alice", "whoami").expect(0).text();
    assert!(whoami.starts_with("alice") && !whoami.contains("alone"), "{whoami}");
}

#[test]
fn what_others_sign_opens_neither_hop() {
    let bastion = Bastion::start();
    let grant = bastion.grant("alice", "phi-db", "1h");
    let ca = bastion.aside("ca");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&ca), b"").expect(0);
    let option = format!("critical:grant@jit-bastion={grant}");
    bastion.forge(&ca, &["-n", "access@jit-bastion", "-V", "-5m:+1h", "-O", "clear", "-O", &option]);
    bastion.certified("whoami").expect(255).says("Permission denied");
    inner(&bastion, "phi-db").run("true").expect(255).says("Permission denied");
    // A certificate of bob's, for alice's connection: her outer hop, his inner one.
    fs::remove_file(bastion.certificate()).expect("a certificate");
    let not_hers = bastion.json("bob", "whoami");
    assert_eq!(not_hers["user"], "bob");
    bastion.verb("bob", &format!("cert {grant}")).expect(1).says("that you may see");
    // A right certificate over another key than the one that signs is no proof at all.
    let line = bastion.verb("alice", &format!("cert {grant}")).expect(0).text();
    fs::write(bastion.key("vera").with_file_name("vera-cert.pub"), &line).expect("a certificate");
    bastion.ssh().by("vera").option(CERTIFICATES_ONLY).run("whoami").expect(255).says("Permission denied");
    // The demo's log says why it refused, for the administrator.
    let log = fs::read_to_string(bastion.dir().join("bastion.log")).expect("a log");
    assert!(log.contains("not the bastion's access CA"), "{log}");
}

#[test]
fn a_rule_may_want_a_certificate() {
    let bastion = Bastion::start();
    bastion.change_policy(|policy| policy.replace("id = \"engineers\"", "id = \"engineers\"\nrequire-cert = true"));
    let grant = bastion.grant("alice", "phi-db", "1h");
    let refused = bastion.ssh().jump("phi-db").run("true").expect(255);
    let refused = refused.says(&format!("ssh jit-bastion cert {grant} > ~/.ssh/id_ed25519-cert.pub"));
    let line = bastion.verb("alice", &format!("cert {grant}")).expect(0).text();
    fs::write(bastion.certificate(), line).expect("a certificate");
    assert_eq!(bastion.ssh().jump("phi-db").run("echo in").expect(0).text(), "in\n", "{}", refused.told());
}
