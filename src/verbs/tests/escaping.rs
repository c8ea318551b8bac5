//! What somebody typed, as others read it.

use super::*;

#[tokio::test]
async fn what_was_typed_cannot_drive_a_terminal() {
    let world = world().await;
    world.say("alice", "request phi-db --reason a\u{1b}]0;evil\u{7}\u{202e}b").await;
    for line in ["requests", "requests --json"] {
        let said = world.say("bob", line).await;
        assert!(!said.out.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said:?}");
    }
    let id = world.json("bob", "requests").await[0]["request"].as_str().unwrap().to_owned();
    let tame = |text: &str| assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
    tame(&world.say("bob", &format!("show {id}")).await.out);
    tame(&page::page(&world.broker, &world.caller("bob").await).await.unwrap());
    let denied = world.say("bob", &format!("deny {id} --note no\u{1b}[2J\u{9b}8m")).await;
    tame(&denied.out);
    for line in [format!("show {id}"), "requests".to_owned(), format!("show {id} --json")] {
        tame(&world.say("alice", &line).await.out);
    }
    tame(&world.say("alice", "request no\u{1b}[2Jwhere --reason x").await.err);
}
