//! What is refused: the reason, the next step, the status, and the same for programs.

use super::*;

/// Who types what, the status, and what they read.
const REFUSED: [(&str, &str, u8, &str); 15] = [
    (
        "alice",
        "request web --reason x",
        1,
        "no host \"web\" that you may ask for\nhint: `ssh jit-bastion hosts` lists where you may ask to go\n",
    ),
    (
        "alice",
        "request nowhere --reason x",
        1,
        "no host \"nowhere\" that you may ask for\nhint: `ssh jit-bastion hosts` lists where you may ask to go\n",
    ),
    (
        "alice",
        "request phi-db --login root --reason x",
        1,
        "no rule lets you ask for root on phi-db\nhint: ssh jit-bastion request phi-db --login postgres --reason WHY\n",
    ),
    (
        "alice",
        "request db --for 9h --reason x",
        1,
        "9h is longer than the 4h that rule dba-phi gives\nhint: ssh jit-bastion request phi-db --login postgres --for 4h --reason WHY\n",
    ),
    (
        "alice",
        "request phi-app --channels exec,sftp-write --reason x",
        1,
        "rule no-writes denies sftp-write as postgres on phi-app: files go through the desk\n\
         hint: ssh jit-bastion request phi-app --login postgres --channels exec --reason WHY\n",
    ),
    ("alice", "recordings", 1, "no rule lets you find recordings\nhint: a [[may]] rule in the policy gives this; ask an administrator\n"),
    ("vera", "show r-000000", 1, "no request \"r-000000\" that you may see\nhint: `ssh jit-bastion requests` lists yours\n"),
    ("vera", "show s-000000", 1, "no session \"s-000000\" that you may see\nhint: `ssh jit-bastion sessions` lists yours\n"),
    (
        "local",
        "show s-000000 --text",
        1,
        "s-000000 is a session, and only of a request a text is approved\nhint: ssh jit-bastion show s-000000\n",
    ),
    ("vera", "revoke g-000000 --note x", 1, "no grant \"g-000000\" that you may see\nhint: `ssh jit-bastion grants` lists yours\n"),
    ("vera", "kill s-000000 --note x", 1, "no session \"s-000000\" that you may see\nhint: `ssh jit-bastion sessions` lists yours\n"),
    (
        "local",
        "request phi-db --reason x",
        1,
        "request exists only over SSH, where a key proves who\nhint: ssh jit-bastion request HOST --reason WHY\n",
    ),
    (
        "local",
        "replay s-000000",
        1,
        "replay exists only over SSH, where a key proves who\nhint: ssh -t jit-bastion replay s-000000; or hand it out as a file: jit-bastion export --session s-000000, then on any machine jit-bastion replay --export s-000000.tar\n",
    ),
    ("carol", "replay --export x.tar", 1, "a file is played on the machine where it lies\nhint: there: jit-bastion replay --export FILE\n"),
    (
        "alice",
        "shell",
        2,
        "\"shell\" is not a verb; there are: whoami, hosts, explain, request, requests, show, approve, deny, withdraw, grants, cert, extend, close, revoke, kill, known-hosts, sessions, confirm, refuse, watch, recordings, replay, help\n",
    ),
];

#[tokio::test]
async fn refusals_have_a_reason_a_next_step_and_a_status() {
    let world = world().await;
    for (who, line, status, expected) in REFUSED {
        let said = world.say(who, line).await;
        assert_eq!((said.status, said.err.as_str(), said.out.as_str()), (status, expected, ""), "{line}");
        // Programs read the same, with the same status.
        let told = world.say(who, &format!("{line} --json")).await;
        let error: Value = serde_json::from_str(&told.out).unwrap_or_else(|e| panic!("{line}: {e}: {told:?}"));
        assert_eq!(error.as_object().unwrap().keys().collect::<Vec<_>>(), ["error"], "{line}");
        let error = error["error"].as_object().unwrap();
        assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "message", "next"], "{line}");
        let hint = error["next"].as_str().map_or_else(String::new, |next| format!("hint: {next}\n"));
        let text = format!("{}\n{hint}", error["message"].as_str().unwrap());
        assert_eq!((told.status, text.as_str(), told.err.as_str()), (status, expected, ""), "{line}");
    }
}

#[tokio::test]
async fn to_leave_out_a_login_where_there_are_several_is_wrong_usage() {
    let world = world().await;
    world.rules(&POLICY.replace("logins = [\"postgres\"]", "logins = [\"*\"]")).await;
    let said = world.say("alice", "request phi-db --reason x").await;
    let listed = "phi-db has several logins that you may ask for: postgres, root\n\
                  hint: ssh jit-bastion request phi-db --login postgres --reason WHY\n";
    assert_eq!((said.status, said.err.as_str()), (2, listed));
    let told = world.say("alice", "request phi-db --reason x --json").await;
    assert!(told.status == 2 && told.out.contains("\"choose-login\""), "{told:?}");
    // Where there is one, it is meant.
    assert!(world.say("alice", "request phi-app --reason x").await.out.contains(" filed: phi-app as postgres for 1h "));
}

#[tokio::test]
async fn what_is_done_at_the_bastions_own_keyboard_is_no_word_over_ssh() {
    let world = world().await;
    for line in
        ["init", "check", "serve", "demo", "user list", "host list", "policy test", "ca list", "verify", "export x", "backup x", "status"]
    {
        for who in ["alice", "dave"] {
            let said = world.say(who, line).await;
            let verb = line.split(' ').next().unwrap();
            assert_eq!((said.status, said.out.as_str()), (2, ""), "{line}: {said:?}");
            assert!(said.err.starts_with(&format!("\"{verb}\" is not a verb; there are: ")), "{line}: {said:?}");
        }
    }
}
