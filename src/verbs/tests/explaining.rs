//! `explain`: at both doors, and about what nobody may know of.

use super::*;

#[tokio::test]
async fn explain_says_which_rule_and_who_and_what_to_type() {
    let world = world().await;
    let said = world.say("alice", "explain db --for 2h --channels shell,exec").await;
    assert_eq!(
        (said.status, said.out.as_str()),
        (
            0,
            "phi-db as postgres for 2h (shell,exec): rule dba-phi binds\n\
             terms: up to 4h, approved by 1 of role:approver\n\
             who can approve now: 1 of bob\n\
             rules:\n\
             * dba-phi  covers it and comes first: it binds\n\
             note: exec includes every file right: cat, rsync and scp -O are commands\n\
             ask: ssh jit-bastion request phi-db --login postgres --for 2h --channels shell,exec --reason WHY\n"
        )
    );
    let app = world.say("alice", "explain phi-app --channels sftp-write").await;
    assert!(app.out.starts_with("phi-app as postgres: refused: rule no-writes denies sftp-write"), "{app:?}");
    assert!(app.out.contains("denies:\n* no-writes  takes sftp-write: files go through the desk\n"), "{app:?}");
    assert!(app.out.ends_with("ask: ssh jit-bastion request phi-app --login postgres --reason WHY\n"), "{app:?}");
    let long = world.json("alice", "explain phi-db --for 9h").await;
    assert_eq!((long["decision"].as_str(), long["error"]["code"].as_str()), (Some("refuse"), Some("too-long")));
    assert_eq!(long["command"], "ssh jit-bastion request phi-db --login postgres --for 4h --reason WHY");
    let plain = world.json("alice", "explain phi-db").await;
    assert_eq!((plain["decision"].as_str(), plain["rule"].as_str(), plain["quorum"].as_u64()), (Some("approve"), Some("dba-phi"), Some(1)));
    assert_eq!(plain["approvers"], serde_json::json!(["bob"]));
    assert_eq!(plain["terms"]["max-duration"], "4h");
    world.grant().await;
    assert!(world.say("alice", "explain phi-db").await.out.contains("ssh -J jit-bastion postgres@phi-db\n"));
}

#[tokio::test]
async fn an_invisible_host_is_explained_as_an_unknown_one() {
    let world = world().await;
    let (hidden, unknown) = (world.say("alice", "explain web").await, world.say("alice", "explain nowhere").await);
    assert_eq!(hidden.status, 1);
    assert_eq!((hidden.status, hidden.err.replace("web", "nowhere"), hidden.out), (unknown.status, unknown.err, unknown.out));
    // Whoever sees every host reads why there is nothing to ask for.
    let seen = world.say("dave", "explain web").await;
    assert!(seen.out.starts_with("web as www: refused: no rule lets you ask for www on web\n"), "{seen:?}");
}

#[tokio::test]
async fn at_the_keyboard_it_is_about_a_named_user() {
    let world = world().await;
    let said = world.say("local", "explain phi-db --user alice").await;
    assert!(
        said.out.starts_with("phi-db as postgres for 1h (shell,exec,sftp-read,sftp-write,forward:*,reverse:*,agent): rule dba-phi binds\n"),
        "{said:?}"
    );
    assert!(world.say("local", "explain phi-db").await.err.starts_with("say for whom\nhint: jit-bastion explain phi-db --user NAME"));
    assert!(world.say("local", "explain phi-db --user nobody").await.err.starts_with("no user \"nobody\""));
    assert!(world.say("alice", "explain phi-db --user bob").await.err.starts_with("--user is for the bastion's own command line"));
}
