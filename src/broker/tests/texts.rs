//! What people type stands in the log as a commitment, whoever types it and with whatever.

use super::inviting::{client, invited, key};
use super::*;

const TYPED: &str = "Jane Doe, born in 1950";

#[tokio::test]
async fn nothing_that_somebody_typed_is_in_the_log() {
    let world = World::new().await;
    let (alice, bob) = (world.who("alice").await, world.who("bob").await);
    let said = || note(TYPED);
    let reason = || Reason::parse(TYPED).unwrap();
    let why = Asking { reason: reason(), ..asking("phi-db", Some("postgres")) };
    let request = world.broker.request(&alice, why).await.unwrap().request;
    let yes = Yes { note: Some(said()), ..Yes::default() };
    let grant = world.broker.approve(&bob, &request.id, yes.clone()).await.unwrap().grant.unwrap();
    let more = world.broker.extend_grant(&alice, &grant.id, Span::minutes(5), reason()).await.unwrap().filed.unwrap().request;
    world.broker.deny(&bob, &more.id, said()).await.unwrap();
    let two = Asking { reason: reason(), ..asking("phi-app", None) };
    let two = world.broker.request(&alice, two).await.unwrap().request;
    world.broker.approve(&bob, &two.id, yes).await.unwrap();
    let open = world.enter("postgres").await;
    world.broker.kill(&local(), &open.id, said()).await.unwrap();
    world.leave(open, Ending::Killed).await;
    world.broker.revoke(&local(), &grant.id, said()).await.unwrap();
    let look = world.broker.admit_audit(&local(), &"phi-db".parse().unwrap(), None, Some(said())).await.unwrap();
    world.broker.close_audit(look, Ending::Left, None, None).await.unwrap();
    world.broker.disable_user(&local(), &"mallory".parse().unwrap(), Some(said())).await.unwrap();
    let (_, code) = invited(&world, "vera", None, None).await;
    world.broker.redeem(code, &key(1), client()).await.unwrap().unwrap();
    world.broker.refuse_invite(&local(), &"vera".parse().unwrap(), Some(said())).await.unwrap();

    let rows = world.broker.reader().events(0, u32::MAX).await.unwrap();
    let committed = rows.iter().map(|row| String::from_utf8(row.bytes.clone()).unwrap()).filter(|entry| {
        assert!(!entry.contains("Doe") && !entry.contains("1950"), "{entry}");
        let data = serde_json::from_str::<serde_json::Value>(entry).unwrap()["data"].clone();
        let committed = |name: &str| data[name].as_str().is_some_and(|text| text.parse::<crate::audit::digest::Digest>().is_ok());
        committed("reason") || committed("note")
    });
    let names = committed.map(|entry| crate::audit::entry::Entry::parse(entry.as_bytes()).unwrap().event.name().to_owned());
    let expected = [
        "request-filed",
        "grant-begun",
        "request-filed",
        "request-denied",
        "request-filed",
        "request-approved",
        "session-killed",
        "grant-revoked",
        "host-audit-begun",
        "user-disabled",
        "invite-refused",
    ];
    assert_eq!(names.collect::<Vec<_>>(), expected);
    // The texts lie elsewhere, are read from there, and can go.
    assert_eq!(world.broker.reader().request(&request.id).await.unwrap().unwrap().asked.reason, reason());
    world.broker.store.erase_texts().await;
    assert!(world.verify().await.findings.is_empty());
}
