use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::access::names::{ChannelId, SessionId};
use crate::ca::note::NoteSigner;
use crate::recording::{Body, ChannelKind, ChannelMeta, Frame, Journal, Level, ManifestSigner, RecordError, RecoveredSession, recover};

struct Signs(NoteSigner);

impl ManifestSigner for Signs {
    fn sign(&self, bytes: &[u8]) -> Result<String, RecordError> {
        self.0.sign(bytes).map(|signature| STANDARD.encode(signature)).map_err(|e| RecordError::Sign(e.to_string()))
    }

    fn public_key(&self) -> String {
        STANDARD.encode(self.0.public_key())
    }
}

/// A session that a kill -9 leaves: live in the store, a journal with one shell.
pub(super) async fn killed(world: &World, journal: bool) -> SessionId {
    let open = world.enter("postgres").await;
    let id = open.id.clone();
    if journal {
        let mut journal = Journal::create(&world.dir.path().join("journal"), &open.meta, Level::Process).unwrap();
        let shell = Body::Open(ChannelMeta { kind: ChannelKind::Exec, command: Some("ls".into()), terminal: None });
        journal.keep(&[Frame { channel: 1, at: 0, body: shell }, Frame { channel: 1, at: 9, body: Body::Out(b"seen\r\n") }]).unwrap();
    }
    // Nothing was said, as nobody was asked to stop.
    drop(open);
    id
}

pub(super) fn found(world: &World) -> Vec<RecoveredSession> {
    let keys = Keyring::generate(&mut StdRng::seed_from_u64(77)).unwrap();
    let dir = world.dir.path();
    recover(&dir.join("journal"), &dir.join("recordings"), &Signs(keys.note_signer("node-1").unwrap())).unwrap()
}

async fn next(world: &World) -> Arc<Broker> {
    let (next, _) = process(world.dir.path(), &world.clock, 500, true).await;
    next.started().await.unwrap();
    next
}

#[tokio::test]
async fn a_killed_bastions_sessions_are_ended_once_at_the_next_start() {
    let world = World::new().await;
    world.granted("postgres").await;
    let (seen, unseen) = (killed(&world, true).await, killed(&world, false).await);
    let broker = next(&world).await;
    broker.recover(found(&world)).await.unwrap();
    broker.recover(found(&world)).await.unwrap();
    assert_eq!(world.events(3).await, ["bastion-started", "session-recovered", "session-recovered"]);
    let reader = world.broker.reader();
    // The end of what was seen is told by its recordings, whose last frame came after 9 microseconds.
    let last = Timestamp::from_micros(NOON.micros() + 9);
    for (id, recordings, ended) in [(&seen, 1, last), (&unseen, 0, NOON)] {
        let row = reader.session(id).await.unwrap().unwrap();
        assert_eq!(row.ended, Some((ended, Ending::Shutdown)));
        assert_eq!((row.channels.len(), row.sealed.is_some()), (recordings, recordings > 0));
    }
    assert!(found(&world).is_empty(), "the journal is gone");
    assert!(world.verify().await.findings.is_empty());

    let channel: ChannelId = format!("{seen}.1").parse().unwrap();
    let by = |name: &str| Actor::User(User::parse(name).unwrap());
    assert_eq!(
        refused(world.broker.open_recording(&by("dave"), &channel.session, Some(channel.number), note("x"), Showing::Masked).await).code,
        "no-such-id"
    );
    let row =
        world.broker.open_recording(&by("carol"), &channel.session, Some(channel.number), note("case 12"), Showing::Masked).await.unwrap();
    assert_eq!((row.host.as_str(), row.numbers), ("phi-db", [1].into()));
    assert_eq!(world.events(1).await, ["recording-opened"]);
    assert!(!world.last_event().await.contains("case 12"), "the log has its commitment alone");
}

#[tokio::test]
async fn what_could_not_be_sealed_then_is_sealed_at_the_next_start() {
    let world = World::new().await;
    world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let (id, meta) = (open.id.clone(), open.meta.clone());
    drop(Journal::create(&world.dir.path().join("journal"), &meta, Level::Process).unwrap());
    world.leave(open, Ending::RecorderFailed).await;
    next(&world).await.recover(found(&world)).await.unwrap();
    let row = world.broker.reader().session(&id).await.unwrap().unwrap();
    assert_eq!(row.ended, Some((NOON, Ending::RecorderFailed)));
    assert!(row.sealed.is_some());
    assert_eq!(world.events(2).await, ["bastion-started", "session-recovered"]);
    assert!(found(&world).is_empty());
}

#[tokio::test]
async fn a_killed_look_at_a_host_is_sealed_at_the_next_start() {
    let world = World::new().await;
    let admission = world.broker.admit_audit(&local(), &"phi-db".parse().unwrap(), None, None).await.unwrap();
    let id = admission.meta().session.clone();
    let mut journal = Journal::create(&world.dir.path().join("journal"), admission.meta(), Level::Process).unwrap();
    let exec = Body::Open(ChannelMeta { kind: ChannelKind::Exec, command: Some("look".into()), terminal: None });
    journal.keep(&[Frame { channel: 1, at: 0, body: exec }, Frame { channel: 1, at: 9, body: Body::Out(b"seen\n") }]).unwrap();
    drop((journal, admission));
    let broker = next(&world).await;
    broker.recover(found(&world)).await.unwrap();
    broker.recover(found(&world)).await.unwrap();
    assert_eq!(world.events(2).await, ["bastion-started", "session-recovered"]);
    let row = broker.reader().audit(&id).await.unwrap().unwrap();
    assert_eq!((row.recordings, row.sealed.is_some(), row.ended.map(|(_, why)| why)), (1, true, Some(Ending::Shutdown)));
    assert!(found(&world).is_empty() && world.verify().await.findings.is_empty());
}

#[tokio::test]
async fn a_row_that_makes_no_sense_does_not_keep_the_others_from_being_ended() {
    let world = World::new().await;
    let grant = world.granted("postgres").await;
    let bad = killed(&world, false).await;
    world.granted("admin").await;
    let good = world.enter("admin").await;
    let other = good.id.clone();
    drop(good);
    world.broker.store.corrupt_grant(grant.id.as_str()).await;
    next(&world).await.recover(found(&world)).await.unwrap();
    assert_eq!(world.events(3).await, ["bastion-started", "session-recovered", "session-recovered"]);
    for id in [&bad, &other] {
        let row = world.broker.reader().session(id).await.unwrap().unwrap();
        assert_eq!(row.ended, Some((NOON, Ending::Shutdown)));
    }
    assert!(world.verify().await.findings.is_empty());
}
