//! Keys are replaced while the bastion runs.

use super::*;
use crate::audit::event::Event;
use crate::ca::turning::{KeyRole, Turned};
use crate::store::Outcome;

fn first() -> Keyring {
    Keyring::generate(&mut StdRng::seed_from_u64(77)).unwrap()
}

impl World {
    /// Seals `ring` into the store, as `ca ..` does, and lets the running bastion find it. The seal is none: what is kept here is how.
    async fn take(&self, make: impl Fn() -> Keyring + Send + Sync + 'static, version: i64) {
        let reader = self.broker.reader();
        if version == 1 {
            let kept = self.broker.store.change(Urgency::Ordinary, local(), self.broker.now(), |tx| {
                Box::pin(async move {
                    tx.keep_sealed_keys("ring 1").await?;
                    Ok::<_, StoreError>(Outcome::Changed((), Event::PassphraseChanged {}))
                })
            });
            kept.await.unwrap();
        }
        self.broker.reseal(&local(), version, format!("ring {}", version + 1), vec![Event::PassphraseChanged {}], false).await.unwrap();
        assert_eq!(reader.keys_version().await.unwrap(), Some(version + 1));
        let reopen: Reopen = Arc::new(move |_| Ok(make()));
        self.broker.look_at_keys(self.broker.opened().unwrap(), &reopen).await.unwrap();
    }
}

#[tokio::test]
async fn after_a_theft_a_node_that_cannot_open_the_new_keys_lets_nobody_in() {
    let world = World::new().await;
    world.granted("postgres").await;
    let live = world.enter("postgres").await;
    let now = world.broker.now();
    world.take(move || turned(KeyRole::Access, now, false).0, 1).await;
    let opened = world.broker.opened().unwrap();
    let (cannot, can): (Reopen, Reopen) =
        (Arc::new(|_| Err("the passphrase does not open it".into())), Arc::new(move |_| Ok(turned(KeyRole::Access, now, true).0)));
    let marked = world.dir.path().join(BARRED);
    // Another passphrase, or a change by plan: what is in force stays good.
    world.broker.reseal(&local(), 2, "ring 3".into(), vec![Event::PassphraseChanged {}], false).await.unwrap();
    assert!(world.broker.follow_ring(opened, &cannot).await.is_err());
    assert!(world.admit("alice", "phi-db", "postgres").await.is_ok() && !marked.exists());

    world.broker.reseal(&local(), 3, "ring 4".into(), vec![Event::PassphraseChanged {}], true).await.unwrap();
    let before = world.admit("alice", "phi-db", "postgres").await.unwrap();
    assert!(world.broker.follow_ring(opened, &cannot).await.is_err());
    assert_eq!(refused(world.admit("alice", "phi-db", "postgres").await).code, "keys");
    assert_eq!(refused(world.broker.open_session(before, CLIENT.parse().unwrap()).await).code, "keys");
    assert!(std::fs::read_to_string(&marked).unwrap().contains("does not open it"));
    assert!(live.cutoff.reason().is_none(), "who is inside goes on");

    world.broker.follow_ring(opened, &can).await.unwrap();
    assert!(world.admit("alice", "phi-db", "postgres").await.is_ok() && !marked.exists());
    world.leave(live, Ending::Left).await;
}

fn turned(role: KeyRole, now: Timestamp, emergency: bool) -> (Keyring, Turned) {
    let mut rng = StdRng::seed_from_u64(99);
    let until = now.plus(Span::seconds(1800));
    if emergency { first().replaced(role, now, &mut rng).unwrap() } else { first().rotated(role, now, until, &mut rng).unwrap() }
}

#[tokio::test]
async fn certificates_of_the_access_ca_before_count_until_its_date() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let before = world.certificate("alice", &grant).await.unwrap();
    let now = world.broker.now();
    world.take(move || turned(KeyRole::Access, now, false).0, 1).await;
    let after = world.certificate("alice", &grant).await.unwrap();
    assert_ne!(before.signature_key(), after.signature_key());
    let proof = world.shows(&before).await.unwrap();
    assert!(world.shows(&after).await.is_ok());
    // The overlap of half an hour ends, the grant goes on.
    world.clock.advance(Span::seconds(1799));
    assert!(grant.ends > now.plus(Span::seconds(1800)));
    assert!(world.shows(&before).await.is_ok() && world.broker.standing(&proof).await.unwrap().is_some());
    world.clock.advance(Span::seconds(1));
    assert!(world.shows(&before).await.unwrap_err().contains("not the bastion's access CA"));
    assert!(world.broker.standing(&proof).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stolen_access_ca_opens_nothing_from_that_moment_on() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let before = world.certificate("alice", &grant).await.unwrap();
    let proof = world.shows(&before).await.unwrap();
    let now = world.broker.now();
    world.take(move || turned(KeyRole::Access, now, true).0, 1).await;
    assert!(world.shows(&before).await.unwrap_err().contains("not the bastion's access CA"));
    assert!(world.broker.standing(&proof).await.unwrap().is_none());
    assert!(world.shows(&world.certificate("alice", &grant).await.unwrap()).await.is_ok());
}

#[tokio::test]
async fn what_is_printed_for_hosts_and_people_comes_before_what_signs() {
    let world = World::new().await;
    let open = world.granted("postgres").await;
    let host = world.host("phi-db").await;
    let (lines, shown) = (world.broker.known_hosts(KnownHosts::Authority).unwrap(), world.broker.inner_identities(&host).unwrap());
    let authority = |shown: &[Identity]| shown[0].certificate.as_ref().unwrap().signature_key().clone();
    let now = world.broker.now();
    world.take(move || turned(KeyRole::Host, now, false).0, 1).await;
    let two = world.broker.known_hosts(KnownHosts::Authority).unwrap();
    assert!(two.len() == 2 && two[0] == lines[0], "{two:?}");
    assert_eq!(authority(&world.broker.inner_identities(&host).unwrap()), authority(&shown), "the old one still signs");
    world.take(move || turned(KeyRole::Host, now, false).0.activated(KeyRole::Host, now, None).unwrap().0, 2).await;
    let signs = authority(&world.broker.inner_identities(&host).unwrap());
    assert_ne!(signs, authority(&shown), "no certificate of the old one is shown any more");
    let three = world.broker.known_hosts(KnownHosts::Authority).unwrap();
    assert!(three.len() == 2 && three[0] == two[1] && three[1] == two[0], "{three:?}");
    world.take(move || turned(KeyRole::HostKeyInner, now, true).0, 3).await;
    let key = |shown: &[Identity]| shown[0].certificate.as_ref().unwrap().public_key().clone();
    assert_ne!(key(&world.broker.inner_identities(&host).unwrap()), key(&shown));
    // A visit is certified by the session CA of that moment.
    let subject = PrivateKey::random(&mut StdRng::seed_from_u64(6), Algorithm::Ed25519).unwrap();
    let certify = async || {
        let admission = world.admit("alice", "phi-db", open.login.as_str()).await.unwrap();
        let made = world.broker.certify(&admission, subject.public_key(), "192.0.2.1".parse().unwrap()).await.unwrap();
        made.signature_key().clone()
    };
    let old = certify().await;
    world.take(move || turned(KeyRole::Session, now, false).0, 4).await;
    assert_eq!(certify().await, old, "hosts do not know the next one yet");
    world.take(move || turned(KeyRole::Session, now, false).0.activated(KeyRole::Session, now, None).unwrap().0, 5).await;
    assert_ne!(certify().await, old);
}

#[tokio::test]
async fn the_log_is_handed_over_so_that_the_key_before_leads_to_the_next() {
    let world = World::new().await;
    world.granted("postgres").await;
    assert!(world.verify().await.findings.is_empty());
    let now = world.broker.now();
    let live = world.enter("postgres").await;
    world.take(move || turned(KeyRole::Checkpoint, now, false).0, 1).await;
    assert!(live.cutoff.reason().is_none(), "a session goes on");
    world.leave(live, Ending::Left).await;
    world.granted("admin").await;
    let verdict = world.verify().await;
    assert!(verdict.findings.is_empty() && verdict.vouched == verdict.entries, "{:?}", verdict.findings);
    assert!(world.events(20).await.contains(&"checkpoint-key-changed".to_owned()));

    // Stolen: nothing leads from the old key to the new one; who is given the new one sees that all is well.
    let later = world.broker.now();
    let stolen =
        move || turned(KeyRole::Checkpoint, now, false).0.replaced(KeyRole::Checkpoint, later, &mut StdRng::seed_from_u64(5)).unwrap().0;
    world.take(stolen, 2).await;
    world.granted("postgres").await;
    let findings = world.verify().await.findings;
    assert!(!findings.is_empty());
    let keys: Vec<NoteKey> = stolen().checkpoint_keys().into_iter().map(|key| NoteKey::new("node-1", key).unwrap()).collect();
    let verdict = world.verify_with(&keys).await;
    assert!(keys.len() == 3 && verdict.findings.is_empty(), "{:?}", verdict.findings);
}

#[tokio::test]
async fn a_head_by_a_key_that_was_replaced_before_is_found() {
    let world = World::new().await;
    world.granted("postgres").await;
    let now = world.broker.now();
    world.take(move || turned(KeyRole::Checkpoint, now, false).0, 1).await;
    world.granted("admin").await;
    world.broker.checkpoint().await.unwrap();
    world.granted("postgres").await;
    // Whoever stole the old key signs the log as it is now.
    let (old, path) = (first().note_signer("node-1").unwrap(), world.dir.path());
    let sign = |head: &crate::audit::checkpoint::Checkpoint| {
        head.sign(&NoteKey::new("node-1", *old.public_key()).unwrap(), |bytes| old.sign(bytes))
    };
    world.broker.store.checkpoint(world.broker.now(), &CheckpointFile::in_folder(path), sign).await.unwrap();
    let findings = world.verify().await.findings;
    assert!(findings.iter().any(|finding| matches!(finding, crate::audit::verify::Finding::Replaced { .. })), "{findings:?}");
}

#[tokio::test]
async fn a_node_that_stood_still_hands_over_when_it_starts() {
    let world = World::new().await;
    world.granted("postgres").await;
    world.broker.checkpoint().await.unwrap();
    let now = world.broker.now();
    let opened = world.broker.opened().unwrap();
    // As after a start with the ring of now: nothing was handed over yet.
    opened.put(turned(KeyRole::Checkpoint, now, false).0, "node-1");
    world.broker.take_over_log().await.unwrap();
    world.granted("admin").await;
    assert!(world.verify().await.findings.is_empty());
    let events = world.events(6).await;
    world.broker.take_over_log().await.unwrap();
    assert_eq!(world.events(6).await, events, "once");
}

#[tokio::test]
async fn two_who_change_the_keys_at_the_same_moment_do_not_lose_either() {
    let world = World::new().await;
    let now = world.broker.now();
    world.take(move || turned(KeyRole::Access, now, false).0, 1).await;
    let late =
        world.broker.reseal(&local(), 1, "ring of somebody who read version 1".into(), vec![Event::PassphraseChanged {}], false).await;
    assert_eq!(refused(late).code, "overtaken");
    assert_eq!(world.broker.reader().sealed_ring().await.unwrap(), Some(("ring 2".into(), 2)));
}
