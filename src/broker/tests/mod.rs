//! Whole workflows with a moved clock and no network.

mod asking;
mod budget;
mod capped;
mod certificates;
mod door;
mod hosts;
mod inviting;
mod keys;
mod lasting;
mod laws;
mod losing;
mod moments;
mod nodes;
mod opening;
mod people;
mod recovering;
mod texts;
mod turns;
mod watching;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;
use ssh_key::{Algorithm, PrivateKey};
use tempfile::TempDir;

use super::*;
use crate::access::host::Host;
use crate::access::names::{Note, Reason, User};
use crate::access::person::Person;
use crate::access::refusal::Refusal;
use crate::access::request::Request;
use crate::access::time::MovedClock;
use crate::audit::checkpoint::NoteKey;
use crate::audit::verify::{LogCheck, Verdict};
use crate::session::{Ending, Lateness};

pub(super) const NOON: Timestamp = Timestamp::from_micros(1_795_262_400_000_000);
const CLIENT: &str = "192.0.2.7:50022";

const POLICY: &str = r#"
[[allow]]
id = "dba-phi"
who = ["role:dba"]
hosts = ["phi-db"]
logins = ["postgres", "admin"]
channels = ["shell", "exec", "sftp-read"]
max-duration = "4h"
default-duration = "1h"
approve = { by = ["role:owner"], quorum = 1 }
lapse = "30m"

[[allow]]
id = "two-eyes"
who = ["role:dba"]
hosts = ["phi-app"]
logins = ["root"]
channels = ["sftp-read"]
max-duration = "2h"
approve = { by = ["role:owner", "role:dba"], quorum = 2 }

[[allow]]
id = "lab"
who = ["role:dba"]
hosts = ["lab"]
logins = ["*"]
channels = ["shell"]
max-duration = "1h"

[[may]]
who = ["role:auditor"]
do = ["sessions", "recordings", "replay"]
hosts = ["*"]

[[may]]
who = ["role:admin"]
do = ["revoke", "kill"]
hosts = ["*"]
"#;

/// Randomness that a test can repeat: every generator has another seed.
struct Seeded(AtomicU64);

impl Chance for Seeded {
    fn rng(&self) -> Box<dyn CryptoRng> {
        Box::new(StdRng::seed_from_u64(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

pub(super) struct World {
    pub dir: TempDir,
    pub clock: Arc<MovedClock>,
    pub broker: Arc<Broker>,
    keys: BTreeMap<&'static str, PrivateKey>,
    note: NoteKey,
}

impl World {
    /// Users alice and anna (dba), bob and bert (owner), carol (auditor), dave (admin), mallory (nothing); hosts phi-db, phi-app, lab, secret.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = crate::store::testing::url(dir.path()).await;
        Self::on(dir, &url).await
    }

    /// The same on a certain store.
    pub async fn on(dir: TempDir, url: &str) -> Self {
        std::fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
        let clock = Arc::new(MovedClock::at(NOON));
        let (broker, note) = process_at(url, "node-1", dir.path(), &clock, 1, true).await;
        broker.load_policy(&Actor::System).await.unwrap();
        let mut keys = BTreeMap::new();
        let users = [
            ("alice", "dba"),
            ("anna", "dba"),
            ("bob", "owner"),
            ("bert", "owner"),
            ("carol", "auditor"),
            ("dave", "admin"),
            ("mallory", "none"),
        ];
        for (n, (name, role)) in users.into_iter().enumerate() {
            let key = PrivateKey::random(&mut StdRng::seed_from_u64(1000 + n as u64), Algorithm::Ed25519).unwrap();
            let person = Person::staff(User::parse(name).unwrap(), [role.parse().unwrap()]);
            let new = NewKey { key: key.public_key().clone(), name: "laptop".into() };
            broker.add_user(&local(), person, vec![new]).await.unwrap();
            keys.insert(name, key);
        }
        for (n, (name, logins)) in
            [("phi-db", &["postgres", "admin"][..]), ("phi-app", &["root"]), ("lab", &["guest", "other"]), ("secret", &["root"])]
                .into_iter()
                .enumerate()
        {
            broker.add_host(&local(), host(name, n, logins)).await.unwrap();
        }
        Self { dir, clock, broker, keys, note }
    }

    /// Another process on the same files: a local verb.
    pub async fn beside(&self) -> Arc<Broker> {
        let (broker, _) = process(self.dir.path(), &self.clock, 1_000_000, false).await;
        broker.adopt_policy().await.unwrap();
        broker
    }

    /// Another node on the same store, with a log of its own.
    pub async fn on_node(&self, node: &str) -> Arc<Broker> {
        let (broker, _) = process_on(node, self.dir.path(), &self.clock, 2_000_000, false).await;
        broker.adopt_policy().await.unwrap();
        broker
    }

    pub fn key(&self, name: &str) -> &ssh_key::PublicKey {
        self.keys[name].public_key()
    }

    pub async fn who(&self, name: &str) -> Person {
        self.broker.recognise(self.key(name)).await.unwrap().unwrap()
    }

    pub async fn host(&self, name: &str) -> Host {
        self.broker.reader().host(&name.parse().unwrap()).await.unwrap().unwrap()
    }

    pub async fn ask(&self, name: &str, host: &str, login: Option<&str>) -> Result<Request, Error> {
        self.broker.request(&self.who(name).await, asking(host, login)).await.map(|filed| filed.request)
    }

    pub async fn yes(&self, name: &str, request: &Request) -> Result<Decided, Error> {
        self.broker.approve(&self.who(name).await, &request.id, Yes::default()).await
    }

    pub async fn granted(&self, login: &str) -> crate::access::grant::Grant {
        let request = self.ask("alice", "phi-db", Some(login)).await.unwrap();
        self.yes("bob", &request).await.unwrap().grant.unwrap()
    }

    pub async fn admit(&self, name: &str, host: &str, hint: &str) -> Result<Admission, Error> {
        let (who, host) = (self.who(name).await, self.host(host).await);
        self.broker.admit(&who, &Proof::plain(self.key(name).clone()), &host, hint).await
    }

    pub async fn enter(&self, login: &str) -> OpenSession {
        let admission = self.admit("alice", "phi-db", login).await.unwrap();
        self.broker.open_session(admission, CLIENT.parse().unwrap()).await.unwrap()
    }

    pub async fn leave(&self, open: OpenSession, ending: Ending) {
        self.broker.close_session(open, ending, None, Lateness::default()).await.unwrap();
    }

    pub async fn verify(&self) -> Verdict {
        self.verify_with(std::slice::from_ref(&self.note)).await
    }

    pub async fn verify_with(&self, keys: &[NoteKey]) -> Verdict {
        self.broker.checkpoint().await.unwrap();
        let reader = self.broker.reader();
        let mut heads = reader.checkpoints().await.unwrap();
        heads.extend(CheckpointFile::in_folder(self.dir.path()).heads().unwrap());
        let mut check = LogCheck::trusting(keys, heads);
        let mut next = 0;
        while let Some(last) = {
            let rows = reader.events(next, 50).await.unwrap();
            rows.iter().for_each(|row| check.row(row));
            rows.last().map(|row| row.seq)
        } {
            next = last + 1;
        }
        check.finish()
    }

    /// The newest event, as it is kept.
    pub async fn last_event(&self) -> String {
        let rows = self.broker.reader().events(0, u32::MAX).await.unwrap();
        String::from_utf8(rows.last().unwrap().bytes.clone()).unwrap()
    }

    /// The names of the newest events, oldest of them first.
    pub async fn events(&self, newest: usize) -> Vec<String> {
        let rows = self.broker.reader().events(0, u32::MAX).await.unwrap();
        let name = |row: &crate::audit::verify::Row| crate::audit::entry::Entry::parse(&row.bytes).unwrap().event.name().to_owned();
        rows[rows.len() - newest..].iter().map(name).collect()
    }
}

async fn process(dir: &Path, clock: &Arc<MovedClock>, seed: u64, serves: bool) -> (Arc<Broker>, NoteKey) {
    process_on("node-1", dir, clock, seed, serves).await
}

async fn process_on(node: &str, dir: &Path, clock: &Arc<MovedClock>, seed: u64, serves: bool) -> (Arc<Broker>, NoteKey) {
    process_at(&crate::store::testing::url(dir).await, node, dir, clock, seed, serves).await
}

/// A process of `node` whose state, recordings and policy are in `dir`.
async fn process_at(url: &str, node: &str, dir: &Path, clock: &Arc<MovedClock>, seed: u64, serves: bool) -> (Arc<Broker>, NoteKey) {
    process_with(url, node, settings(dir), clock, seed, serves).await
}

/// What the tests' installations are configured with; nobody is held to a cap.
fn settings(dir: &Path) -> Settings {
    Settings {
        names: vec!["jit-bastion".into()],
        known_hosts_pattern: "phi-*".into(),
        zone: crate::access::zone::Zone::parse("America/New_York").unwrap(),
        source_addresses: vec![],
        recordings: dir.join("recordings"),
        policy: dir.join("policy.toml"),
        state: dir.to_owned(),
        store_grace: crate::access::time::Span::minutes(2),
        caps: Caps { requests: usize::MAX, grants: usize::MAX, waits: usize::MAX, acts: usize::MAX },
    }
}

async fn process_with(
    url: &str,
    node: &str,
    settings: Settings,
    clock: &Arc<MovedClock>,
    seed: u64,
    serves: bool,
) -> (Arc<Broker>, NoteKey) {
    let store = Store::open(url, node).await.unwrap();
    let keys = Keyring::generate(&mut StdRng::seed_from_u64(77)).unwrap();
    let note = NoteKey::new(node, *keys.note_signer(node).unwrap().public_key()).unwrap();
    let serving = serves.then(|| Serving { keys, knife: Knife::start(clock.clone()).unwrap() });
    let parts = Parts { store, clock: clock.clone(), chance: Arc::new(Seeded(AtomicU64::new(seed))), settings, serving };
    (Broker::new(parts).unwrap(), note)
}

pub(super) fn local() -> Actor {
    Actor::Local("root".into())
}

pub(super) fn note(text: &str) -> Note {
    Note::parse(text).unwrap()
}

pub(super) fn asking(host: &str, login: Option<&str>) -> Asking {
    let login = login.map(|login| login.parse().unwrap());
    let reason = Reason::parse("a slow query").unwrap();
    Asking { host: host.into(), login, from: None, length: None, channels: None, reason, ticket: None }
}

fn host(name: &str, n: usize, logins: &[&str]) -> Host {
    Host {
        name: name.parse().unwrap(),
        aliases: vec![format!("{name}-alias").parse().unwrap()],
        address: format!("10.0.0.{}:22", n + 1).parse().unwrap(),
        trust: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu".parse().unwrap()],
        labels: [].into(),
        logins: logins.iter().map(|login| login.parse().unwrap()).collect(),
    }
}

pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => {
            assert!(refusal.next.is_some(), "a refusal says what to do next: {refusal:?}");
            refusal
        }
        other => panic!("not refused: {other:?}"),
    }
}
