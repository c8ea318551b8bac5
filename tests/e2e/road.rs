//! The main job: asked for, approved, certified, recorded, cut, replayed, verified.

use crate::world::Bastion;

#[test]
fn proxyjump_asked_approved_recorded_replayed_verified() {
    let bastion = Bastion::start();
    bastion.verb("alice", "whoami").expect(0).text().contains("alice").then_some(()).expect("alice is alice");
    assert!(bastion.verb("alice", "hosts").expect(0).text().contains("phi-db"));

    let refused = bastion.ssh().jump("phi-db").run("true").expect(255);
    assert!(refused.stderr.contains("request phi-db"), "the command that would file it: {}", refused.told());

    let request = bastion.request("alice", "phi-db", "1h");
    assert!(bastion.verb("bob", "requests").expect(0).text().contains(&request));
    assert!(bastion.verb("bob", &format!("show {request}")).expect(0).text().contains("ticket 4711"));
    bastion.verb("bob", &format!("approve {request} --note go ahead, it's fine")).expect(0);

    let inside = bastion.ssh().jump("phi-db").run("echo I am $(id -un)").expect(0);
    assert_eq!(inside.text(), format!("I am {}\n", whoami()));
    for word in ["alice", "phi-db", "g-", "recorded"] {
        assert!(inside.stderr.contains(word), "the banner names {word}: {}", inside.told());
    }

    bastion.settled();
    let session = bastion.sessions().pop().expect("a session");
    let casts = bastion.casts(&session);
    assert_eq!(casts.len(), 1);
    assert_eq!(casts[0].out(), format!("I am {}\n", whoami()).into_bytes());
    for (key, value) in
        [("session", session.as_str()), ("user", "alice"), ("host", "phi-db"), ("kind", "exec"), ("request", request.as_str())]
    {
        assert_eq!(casts[0].about(key), value, "{key} in {}", casts[0].header);
    }

    bastion.verb("alice", &format!("replay {session} --because a test")).expect(1);
    let replayed = bastion.verb("carol", &format!("replay {session} --speed 100 --because a test")).expect(0);
    assert!(replayed.text().contains("I am"), "{}", replayed.told());
    assert!(bastion.verb("carol", "recordings --user alice").expect(0).text().contains(&session));
    bastion.local(&["verify"]).expect(0);
}

#[test]
fn a_grant_is_shortened_by_its_approver_never_lengthened() {
    let bastion = Bastion::start();
    let request = bastion.request("alice", "phi-app", "30m");
    bastion.verb("bob", &format!("approve {request} --for 2h")).expect(1);
    bastion.verb("bob", &format!("approve {request} --for 10m")).expect(0);
    bastion.ssh().jump("phi-app").run("true").expect(0);
    bastion.ssh().jump("phi-db").run("true").expect(255);
}

#[test]
fn a_reload_and_a_stop_are_polite() {
    let mut bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    let inside = bastion.ssh().jump("phi-db").spawn("echo in; sleep 100");
    inside.until("in");
    rustix::process::kill_process(crate::world::pid(bastion.pid()), rustix::process::Signal::HUP).expect("it runs");
    bastion.ssh().jump("phi-db").run("true").expect(0);
    let stopped = bastion.stop();
    assert_eq!(stopped.code, Some(0), "{}", stopped.told());
    let out = inside.wait().expect(255);
    assert!(!out.stderr.is_empty(), "it is told why");
    bastion.begin();
    bastion.settled();
    assert_eq!(bastion.ssh().jump("phi-db").run("echo again").expect(0).text(), "again\n");
    bastion.local(&["verify"]).expect(0);
}

fn whoami() -> String {
    crate::world::run(std::process::Command::new("id").arg("-un"), b"").text().trim().to_string()
}
