//! The verbs against a broker on a real store in a temporary folder, with a clock that the test moves.

mod asking;
mod certificates;
mod deciding;
mod ending;
mod escaping;
mod explaining;
mod keyboard;
mod programs;
mod recordings;
mod refusing;
mod searching;
mod visible;
mod watching;
mod whereto;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng;
use serde_json::Value;
use ssh_key::{Algorithm, PrivateKey};

use super::*;
use crate::access::host::{Address, Host};
use crate::access::names::{HostName, Login, Role, User};
use crate::access::time::{MovedClock, Span};
use crate::broker::{NewKey, OpenSession, Parts, Proof, Serving, Settings, SystemChance};
use crate::ca::keyring::Keyring;
use crate::ca::note::NoteSigner;
use crate::recording::{Body, ChannelKind, ChannelMeta, Frame, Journal, Level, ManifestSigner, RecordError, Recorder};
use crate::session::{Ending, Knife, Lateness};
use crate::store::Store;
use crate::store::testing::statements;

const POLICY: &str = r#"
[[allow]]
id = "dba-phi"
who = ["role:engineer"]
hosts = ["label:phi"]
logins = ["postgres"]
channels = ["*"]
max-duration = "4h"
approve = { by = ["role:approver"] }

[[deny]]
id = "no-writes"
hosts = ["phi-app"]
channels = ["sftp-write"]
because = "files go through the desk"

[[may]]
who = ["role:auditor"]
do = ["sessions", "recordings", "replay"]
hosts = ["*"]

[[may]]
who = ["role:admin"]
do = ["revoke", "hosts"]
hosts = ["*"]
"#;

struct World {
    dir: tempfile::TempDir,
    broker: Arc<Broker>,
    clock: Arc<MovedClock>,
    keys: Vec<(&'static str, PrivateKey)>,
    signer: Arc<Signs>,
}

/// The installation's checkpoint key, as the recordings want it.
struct Signs(NoteSigner);

impl ManifestSigner for Signs {
    fn sign(&self, bytes: &[u8]) -> Result<String, RecordError> {
        use base64::Engine as _;
        Ok(base64::engine::general_purpose::STANDARD.encode(self.0.sign(bytes).unwrap()))
    }

    fn public_key(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(self.0.public_key())
    }
}

fn settings(dir: &Path) -> Settings {
    Settings {
        names: vec!["jit-bastion".into()],
        known_hosts_pattern: "phi-*".into(),
        zone: crate::access::zone::Zone::parse("America/New_York").unwrap(),
        store_grace: crate::access::time::Span::minutes(2),
        caps: crate::broker::Caps::default(),
        source_addresses: vec![],
        policy: dir.join("policy.toml"),
        state: dir.to_owned(),
        recordings: dir.join("recordings"),
    }
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
    let clock = Arc::new(MovedClock::at("2026-11-21T22:00:00Z".parse().unwrap()));
    let store = Store::open(&crate::store::testing::url(dir.path()).await, "test").await.unwrap();
    let mut rng = rand::rngs::StdRng::seed_from_u64(7);
    let serving = Serving { keys: Keyring::generate(&mut rng).unwrap(), knife: Knife::start(clock.clone()).unwrap() };
    let signer = Arc::new(Signs(serving.keys.note_signer("test").unwrap()));
    let parts =
        Parts { store, clock: clock.clone(), chance: Arc::new(SystemChance), settings: settings(dir.path()), serving: Some(serving) };
    let broker = Broker::new(parts).unwrap();
    let local = Actor::Local("root".into());
    broker.load_policy(&local).await.unwrap();
    let mut world = World { dir, broker, clock, keys: vec![], signer };
    for (name, role) in [("alice", "engineer"), ("bob", "approver"), ("carol", "auditor"), ("dave", "admin"), ("vera", "visitor")] {
        let key = PrivateKey::random(&mut rng, Algorithm::Ed25519).unwrap();
        let person = Person::staff(User::parse(name).unwrap(), [Role::parse(role).unwrap()]);
        let new = NewKey { key: key.public_key().clone(), name: "laptop".into() };
        world.broker.add_user(&local, person, vec![new]).await.unwrap();
        world.keys.push((name, key));
    }
    for (name, logins) in [("phi-db", vec!["postgres", "root"]), ("phi-app", vec!["postgres"]), ("web", vec!["www"])] {
        let key = PrivateKey::random(&mut rng, Algorithm::Ed25519).unwrap();
        let host = Host {
            name: HostName::parse(name).unwrap(),
            aliases: if name == "phi-db" { vec![HostName::parse("db").unwrap()] } else { vec![] },
            address: Address { host: format!("{name}.internal"), port: 22 },
            trust: vec![crate::access::host::HostTrust::Key(key.public_key().clone())],
            labels: if name == "web" { Default::default() } else { [("phi".to_owned(), String::new())].into() },
            logins: logins.iter().map(|login| Login::parse(login).unwrap()).collect(),
        };
        world.broker.add_host(&local, host).await.unwrap();
    }
    world
}

/// A channel's kind, its command, and what was seen in it at which time.
type Channel<'a> = (ChannelKind, Option<&'a str>, &'a [(u64, Body<'a>)]);

/// What a verb answered.
#[derive(Debug)]
struct Said {
    status: u8,
    out: String,
    err: String,
}

impl World {
    fn key(&self, who: &str) -> &PrivateKey {
        &self.keys.iter().find(|(name, _)| *name == who).unwrap().1
    }

    async fn caller(&self, who: &str) -> Caller {
        let person = match who {
            "local" => None,
            who => self.broker.recognise(self.key(who).public_key()).await.unwrap(),
        };
        let actor = person.as_ref().map_or(Actor::Local("root".into()), |person| Actor::User(person.user.clone()));
        let proof = person.is_some().then(|| Proof::plain(self.key(who).public_key().clone()));
        Caller { actor, person, proof, look: Look::default(), rows: None }
    }

    async fn say(&self, who: &str, line: &str) -> Said {
        let mut sink = Collected::default();
        let caller = self.caller(who).await;
        let status = match from_line(line, None) {
            Ok(parsed) => run(&self.broker, &caller, &parsed, &mut sink).await,
            Err(usage) => wrong_usage(&usage, &mut sink).await,
        };
        Said { status, out: String::from_utf8(sink.out).unwrap(), err: String::from_utf8(sink.err).unwrap() }
    }

    async fn json(&self, who: &str, line: &str) -> Value {
        let said = self.say(who, &format!("{line} --json")).await;
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{line}: {e}: {said:?}"))
    }

    /// Alice's grant on phi-db, approved by bob.
    async fn grant(&self) -> (String, String) {
        let filed = self.json("alice", "request phi-db --reason fix the index").await;
        let id = filed["request"].as_str().unwrap().to_owned();
        let approved = self.json("bob", &format!("approve {id}")).await;
        (id, approved["grant"].as_str().unwrap().to_owned())
    }

    /// Alice visits phi-db; one shell is recorded and sealed, and the session ends.
    async fn visit(&self) -> String {
        let shown = Body::Out(b"hello \x1b]52;c;ZXZpbA==\x07from \x1b[1mphi-db\x1b[0m\r\n");
        self.seen(&[(1000, shown), (2000, Body::In(b"secret\r"))]).await
    }

    /// The same, and this is what was seen, at these microseconds.
    async fn seen(&self, frames: &[(u64, Body<'_>)]) -> String {
        self.recorded(&[(ChannelKind::Shell, None, frames)]).await
    }

    /// Alice visits phi-db: these channels, with their commands and what was seen in them.
    async fn recorded(&self, channels: &[Channel<'_>]) -> String {
        let open = self.enter().await;
        let id = open.id.to_string();
        let journal = Journal::create(&self.dir.path().join("journal"), &open.meta, Level::Process);
        let mut journal = journal.unwrap();
        crate::recording::text::prepare(journal.path()).unwrap();
        let recorder = Recorder::start(&self.dir.path().join("recordings"), &journal).unwrap();
        let mut last = 0;
        for (channel, (kind, command, frames)) in (1..).zip(channels) {
            let meta = ChannelMeta { kind: *kind, command: command.map(|command| command.as_bytes().to_vec()), terminal: None };
            let began = last;
            journal.keep(&[Frame { channel, at: began, body: Body::Open(meta) }]).unwrap();
            for (at, body) in *frames {
                last = began + at;
                journal.keep(&[Frame { channel, at: last, body: body.clone() }]).unwrap();
            }
            last += 1000;
            journal.keep(&[Frame { channel, at: last, body: Body::Close }]).unwrap();
        }
        journal.finish("left", last + 1000).unwrap();
        let sealed = recorder.seal("left", self.signer.clone()).await.unwrap();
        self.broker.close_session(open, Ending::Left, Some(sealed), Lateness::default()).await.unwrap();
        id
    }

    /// How often this event is in the log.
    async fn told(&self, event: &str) -> usize {
        let rows = self.broker.reader().events(0, u32::MAX).await.unwrap();
        rows.iter().filter(|row| String::from_utf8_lossy(&row.bytes).contains(&format!("\"{event}\""))).count()
    }

    async fn enter(&self) -> OpenSession {
        let alice = self.caller("alice").await.person.unwrap();
        let host = self.broker.resolve(&alice, "phi-db", 22).await.unwrap().unwrap();
        let key = self.key("alice").public_key();
        let admission = self.broker.admit(&alice, &Proof::plain(key.clone()), &host, "laptop").await.unwrap();
        self.broker.open_session(admission, SocketAddr::from(([10, 0, 0, 9], 50_000))).await.unwrap()
    }
}

/// Ids are drawn: `r-7k2m9q` becomes `r-......`.
fn ids(text: &str) -> String {
    let mut out: Vec<char> = text.chars().collect();
    for at in 0..out.len().saturating_sub(7) {
        let begins = at == 0 || !(out[at - 1].is_ascii_alphanumeric() || out[at - 1] == '-');
        let body = out[at + 2..at + 8].iter().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase());
        let over = out.get(at + 8).is_none_or(|c| !c.is_ascii_alphanumeric());
        if begins && "rgs".contains(out[at]) && out[at + 1] == '-' && body && over {
            out[at + 2..at + 8].fill('.');
        }
    }
    out.into_iter().collect()
}

#[tokio::test]
async fn asked_and_approved() {
    let world = world().await;
    let said = world.say("alice", "request phi-db --reason it's slow, fix the index --for 1h30m --ticket INC-7").await;
    assert_eq!(
        (said.status, ids(&said.out).as_str(), said.err.as_str()),
        (
            0,
            "r-...... filed: phi-db as postgres for 1h30m (shell,exec,sftp-read,sftp-write,forward:*,reverse:*,agent)\nwaits for 1 of: bob (lapses 2026-11-22T22:00:00.000Z)\n",
            ""
        )
    );
    let id = said.out.split(' ').next().unwrap().to_owned();
    let same = world.say("alice", "request phi-db --reason again --for 1h30m --ticket INC-7").await;
    assert!(
        same.out.starts_with(&format!("attached to {id}, filed at 2026-11-21T22:00:00.000Z: phi-db")),
        "one pending request is enough: {same:?}"
    );
    let said = world.say("bob", "requests --pending").await;
    assert_eq!(
        ids(&said.out),
        "request   state    user   host    login     for    channels                                                   filed                     reason\n\
         r-......  pending  alice  phi-db  postgres  1h30m  shell,exec,sftp-read,sftp-write,forward:*,reverse:*,agent  2026-11-21T22:00:00.000Z  it's slow, fix the index\n"
    );
    let said = world.say("bob", &format!("show {id}")).await;
    assert!(
        said.out.starts_with(&format!("jit-bastion approval 1\nrequest: {id}\nuser: alice\nhost: phi-db\nlogin: postgres\n")),
        "{said:?}"
    );
    assert!(
        said.out.contains("\nreason: it's slow, fix the index\nticket: INC-7\nrule: dba-phi\n")
            && said.out.contains("\nsha256 of the text above: ")
    );
    assert!(said.out.ends_with(&format!("hint: ssh jit-bastion approve {id}, or deny {id} --note WHY\n")), "{said:?}");
    world.clock.advance(Span::minutes(5));
    let said = world.say("bob", &format!("approve {id} --for 1h --note one hour is enough")).await;
    assert_eq!(
        ids(&said.out),
        "r-...... approved, g-......: alice as postgres on phi-db until 2026-11-21T23:05:00.000Z (shell,exec,sftp-read,sftp-write,forward:*,reverse:*,agent)\n"
    );
    let said = world.say("alice", "grants").await;
    assert_eq!(
        ids(&said.out),
        "grant     state   user   host    login     channels                                                   ends                      left\n\
         g-......  active  alice  phi-db  postgres  shell,exec,sftp-read,sftp-write,forward:*,reverse:*,agent  2026-11-21T23:05:00.000Z  1h\n"
    );
    let said = world.say("alice", &format!("show {id}")).await;
    assert!(said.out.contains("yes: bob at 2026-11-21T22:05:00.000Z, for 1h at most: one hour is enough\n"), "{said:?}");
}

/// Doors run verbs on tasks of their own.
#[test]
fn a_verb_can_move_between_threads() {
    fn movable<T: Send>(_: &T) {}
    fn check(broker: &Broker, caller: &Caller, parsed: &Parsed, sink: &mut dyn Sink) {
        movable(&run(broker, caller, parsed, sink));
    }
    let _ = check;
}
