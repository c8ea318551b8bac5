//! Recordings found by what stood on the screen, with a real terminal and a real client.

use crate::world::{Bastion, wait_for};

/// The lines that carol finds.
fn found(bastion: &Bastion, text: &str) -> Vec<String> {
    let hits = bastion.json("carol", &format!("recordings --text {text}"));
    let line = |hit: &serde_json::Value| hit["line"].as_str().unwrap_or_default().to_owned();
    hits.as_array().map(|hits| hits.iter().map(line).collect()).unwrap_or_default()
}

#[test]
fn a_full_screen_program_is_found_by_what_it_showed() {
    let bastion = Bastion::start();
    bastion.grant("alice", "phi-db", "1h");
    bastion.change_policy(|policy| policy + "\n[[require]]\nindex = false\n");
    bastion.ssh().jump("phi-db").run("echo these words are kept out").expect(0);
    bastion.change_policy(|policy| policy.replace("\n[[require]]\nindex = false\n", ""));
    // Shown on the other screen of the terminal, and gone at once.
    let show = r"printf '\033[?1049h\033[2J\033[3;5HPatient \033[1mMeier\033[0m, ward 4711\033[?1049l'; echo done";
    bastion.ssh().option("RequestTTY=force").jump("phi-db").run(show).expect(0);
    bastion.settled();
    wait_for("the text to be found", || (!found(&bastion, "meier, ward 4711").is_empty()).then_some(()));
    assert!(found(&bastion, "meier, WARD").iter().any(|line| line.trim() == "Patient Meier, ward 4711"));
    assert!(found(&bastion, "kept out").is_empty(), "policy said so");

    let hit = bastion.verb("carol", "recordings --text ward 4711").expect(0).text();
    let replay = hit.lines().find_map(|line| line.split("jit-bastion ").nth(1)).expect("a command").to_owned();
    assert!(bastion.verb("carol", &format!("{replay} --because a test")).expect(0).text().contains("done"), "{replay}");

    // Erased, and made again from the recordings only by name.
    let session = bastion.sessions().pop().expect("a session");
    bastion.local(&["index", "erase", "--session", &session, "--note", "a patient's name"]).expect(0);
    assert!(found(&bastion, "ward 4711").is_empty());
    let built = bastion.local(&["index", "build"]).expect(0);
    assert!(built.text().starts_with("1 sessions") && built.text().contains("was erased at"), "{}", built.told());
    assert!(found(&bastion, "ward 4711").is_empty());
    bastion.local(&["index", "build", "--session", &session]).expect(0);
    assert!(!found(&bastion, "ward 4711").is_empty());
}
