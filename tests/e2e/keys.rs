//! Keys are replaced, by plan and after a theft, with real hosts and real clients. What SECURITY.md says to do is done here.

use std::fs;

use serde_json::Value;

use crate::world::{Bastion, Output, wait_for};

impl Bastion {
    fn ca(&self, words: &[&str]) -> Value {
        let said = self.local(&[&["--json", "ca"], words].concat()).expect(0);
        serde_json::from_slice(&said.stdout).unwrap_or_else(|e| panic!("{words:?}: {e}: {}", said.told()))
    }

    /// Puts on a host what `host setup` prints for it now.
    pub fn set_up(&self, host: &str) {
        let said = self.local(&["--json", "host", "setup", host, "--stage", "trust"]).expect(0);
        let said: Value = serde_json::from_slice(&said.stdout).expect("json");
        let trusted = said["files"][0]["content"].as_str().expect("the CA file");
        fs::write(self.dir().join("hosts").join(host).join("trusted_ca.pub"), trusted).expect("a file");
    }

    fn visit(&self, host: &str) -> Output {
        self.ssh().jump(host).run("echo in")
    }

    /// Waits until the bastion that runs has taken the keys over: it says so in its log.
    fn taken_over(&self, times: usize) {
        wait_for("the keys to be taken over", || {
            let log = fs::read_to_string(self.dir().join("bastion.log")).unwrap_or_default();
            (log.matches("the keys in the store were taken over").count() >= times).then_some(())
        });
    }

    pub fn known_hosts(&self, lines: &str) {
        fs::write(self.dir().join("known_hosts"), lines).expect("known_hosts");
    }
}

#[test]
fn the_session_ca_is_replaced_by_plan_and_after_a_theft() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    bastion.grant("alice", "phi-app", "1h");
    let mut live = bastion.ssh().jump("phi-db").spawn("echo up; read x; echo got $x");
    live.until("up");
    // By plan: hosts learn the next one, then it signs.
    let turned = bastion.ca(&["rotate", "session", "--overlap", "7d"]);
    assert_eq!((turned["key"].as_str(), turned["state"].as_str()), (Some("session"), Some("next")));
    bastion.taken_over(1);
    bastion.visit("phi-app").expect(0);
    bastion.set_up("phi-db");
    bastion.ca(&["activate", "session"]);
    bastion.taken_over(2);
    bastion.visit("phi-db").expect(0);
    bastion.visit("phi-app").expect(255).says("refused the certificate");
    bastion.set_up("phi-app");
    bastion.visit("phi-app").expect(0);
    live.write(b"on\n").until("got on");
    // Stolen: from this moment the thief's certificates open only hosts that were not set up anew, and ours only those that were.
    let turned = bastion.ca(&["rotate", "session", "--emergency"]);
    assert!(turned["before_until"].is_null() && turned["next"].to_string().contains("host setup phi-db"), "{turned}");
    bastion.taken_over(3);
    bastion.visit("phi-db").expect(255).says("refused the certificate");
    bastion.set_up("phi-db");
    bastion.visit("phi-db").expect(0);
    let trusted = fs::read_to_string(bastion.dir().join("hosts/phi-db/trusted_ca.pub")).expect("a file");
    assert_eq!(trusted.lines().count(), 1, "the stolen one is gone: {trusted}");
}

#[test]
fn the_host_ca_is_replaced_by_plan_and_after_a_theft() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let before = bastion.verb("alice", "known-hosts").expect(0).text();
    bastion.ca(&["rotate", "host"]);
    bastion.taken_over(1);
    let both = bastion.verb("alice", "known-hosts").expect(0).text();
    assert!(both.lines().count() == 2 && both.starts_with(&before), "{both}");
    bastion.ca(&["activate", "host"]);
    bastion.taken_over(2);
    bastion.verb("alice", "whoami").expect(255).says("Host key verification failed");
    bastion.known_hosts(&both);
    bastion.visit("phi-db").expect(0);
    // Stolen: whoever took the old line out is asked by nobody's certificate but the new one's.
    bastion.ca(&["rotate", "host", "--emergency"]);
    bastion.taken_over(3);
    bastion.visit("phi-db").expect(255).says("Host key verification failed");
    let fresh = bastion.local(&["known-hosts"]).expect(0).text();
    assert!(fresh.lines().count() == 1 && !both.contains(fresh.trim()), "{fresh}");
    bastion.known_hosts(&fresh);
    bastion.visit("phi-db").expect(0);
}

#[test]
fn the_log_goes_on_under_another_checkpoint_key() {
    let bastion = Bastion::start();
    let first = bastion.aside("checkpoint.pub");
    fs::copy(bastion.dir().join("state/checkpoint.pub"), &first).expect("the auditor's copy");
    bastion.grant("alice", "phi-db", "1h");
    bastion.visit("phi-db").expect(0);
    bastion.settled();
    bastion.ca(&["rotate", "checkpoint"]);
    bastion.taken_over(1);
    bastion.visit("phi-db").expect(0);
    bastion.settled();
    bastion.local(&["verify", "--key", &first.display().to_string()]).expect(0);
    bastion.local(&["verify"]).expect(0);
    let session = bastion.sessions().pop().expect("a session");
    bastion.verb("carol", &format!("replay {session} --json --because a test")).expect(0);
    // All at once: the auditor's key leads nowhere now, and the ring's own history is whole.
    let all = bastion.ca(&["rotate", "all", "--emergency"]);
    assert_eq!(all.as_array().map(Vec::len), Some(6));
    bastion.local(&["ca", "rotate", "all"]).expect(2);
    bastion.local(&["ca", "activate", "session"]).expect(1).says("there is no next session key");
}

#[test]
fn a_plain_host_key_is_replaced_by_plan_and_after_a_theft() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let mut times = 0;
    for (key, name) in [("host-key-outer", "the front door's"), ("host-key-inner", "the one in the hosts' place")] {
        let plain = || bastion.local(&["known-hosts", "--plain"]).expect(0).text();
        let mut turn = |words: &[&str]| {
            bastion.ca(words);
            times += 1;
            bastion.taken_over(times);
        };
        let before = plain();
        bastion.known_hosts(&before);
        bastion.visit("phi-db").expect(0);
        turn(&["rotate", key]);
        let both = plain();
        assert_eq!((before.lines().count(), both.lines().count()), (2, 3), "{name} is told before it is shown: {both}");
        bastion.visit("phi-db").expect(0);
        turn(&["activate", key]);
        bastion.visit("phi-db").expect(255).says("Host key verification failed");
        bastion.known_hosts(&both);
        bastion.visit("phi-db").expect(0);
        turn(&["rotate", key, "--emergency"]);
        bastion.visit("phi-db").expect(255).says("Host key verification failed");
        let fresh = plain();
        assert!(fresh.lines().count() == 2, "the stolen one is gone: {fresh}");
        bastion.known_hosts(&fresh);
        bastion.visit("phi-db").expect(0);
    }
}
