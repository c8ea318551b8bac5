//! What programs read: one object or one array, whatever was asked.

use super::*;

#[tokio::test]
async fn every_word_answers_with_one_object_or_one_array() {
    let world = world().await;
    let (request, grant) = world.grant().await;
    let session = world.visit().await;
    let waits = world.json("alice", "request phi-app --reason x").await["request"].as_str().unwrap().to_owned();
    for (who, line, is_list, field) in [
        ("alice", "whoami".to_owned(), false, "user"),
        ("alice", "hosts".to_owned(), true, "host"),
        ("alice", "explain phi-db".to_owned(), false, "rule"),
        ("alice", "requests".to_owned(), true, "request"),
        ("alice", format!("show {request}"), false, "request"),
        ("alice", format!("show {request} --text"), false, "text"),
        ("alice", "grants".to_owned(), true, "grant"),
        ("alice", format!("cert {grant}"), false, "certificate"),
        ("vera", "known-hosts".to_owned(), false, "lines"),
        ("carol", "sessions".to_owned(), true, "session"),
        ("carol", "recordings".to_owned(), true, "channel"),
        ("carol", format!("replay {session}.1 --because x"), true, "kind"),
        ("alice", format!("extend {grant} --for 10m --reason x"), false, "grant"),
        ("alice", format!("withdraw {waits}"), false, "request"),
        ("alice", "request phi-app --reason y".to_owned(), false, "request"),
        ("alice", format!("close {grant}"), false, "grant"),
    ] {
        let said = world.say(who, &format!("{line} --json")).await;
        assert_eq!((said.status, said.err.as_str()), (0, ""), "{line}: {said:?}");
        let answer: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{line}: {e}: {said:?}"));
        assert_eq!(answer.is_array(), is_list, "{line}: {answer}");
        let first = if is_list { &answer[0] } else { &answer };
        assert!(first.get(field).is_some(), "{line}: {field} in {answer}");
    }
    // Nothing is an empty list.
    for line in ["grants", "requests", "sessions", "confirm"] {
        assert_eq!(world.json("vera", line).await, Value::Array(vec![]), "{line}");
    }
}
