//! Who I am, where I may ask to go, and my page.

use super::*;

#[tokio::test]
async fn who_and_where() {
    let world = world().await;
    assert_eq!(world.say("alice", "whoami").await.out, "alice, roles: engineer\n");
    assert_eq!(world.say("carol", "whoami").await.out, "carol, roles: auditor, may: sessions, recordings, replay\n");
    assert_eq!(world.json("local", "whoami").await["actor"], "local:root");
    assert_eq!(
        world.say("alice", "hosts").await.out,
        "host     logins    aliases  address              labels\nphi-app  postgres           phi-app.internal:22  phi\nphi-db   postgres  db       phi-db.internal:22   phi\n"
    );
    assert_eq!(world.say("vera", "hosts").await.out, "there is no host that you may ask for\n");
    assert_eq!(world.json("dave", "hosts").await.as_array().unwrap().len(), 3, "a rule shows every host");
    let known = world.say("vera", "known-hosts").await.out;
    assert!(known.starts_with("@cert-authority phi-* ssh-ed25519 AAAA") && known.lines().count() == 1, "{known}");
    assert!(world.say("vera", "known-hosts --plain").await.out.contains("phi-* ssh-ed25519 AAAA"));
}

#[tokio::test]
async fn the_page_shows_what_waits() {
    let world = world().await;
    world.say("alice", "request phi-db --reason fix it").await;
    let bob = page::page(&world.broker, &world.caller("bob").await).await.unwrap();
    assert!(
        bob.starts_with("bob, roles: approver\n\nmy grants\nnone; ask with: ssh jit-bastion request HOST --reason WHY\n\nwaits for me\n"),
        "{bob}"
    );
    world.grant_of_pending().await;
    let alice = page::page(&world.broker, &world.caller("alice").await).await.unwrap();
    assert!(alice.contains("go in with: ssh -J jit-bastion postgres@phi-db\n"), "{alice}");
}

impl World {
    async fn grant_of_pending(&self) {
        let pending = self.json("bob", "requests --pending").await;
        self.say("bob", &format!("approve {}", pending[0]["request"].as_str().unwrap())).await;
    }
}
