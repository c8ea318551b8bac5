//! The verbs against a broker on a real store in a temporary folder, with a clock that the test moves.

mod asking;
mod explaining;

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
        let open = self.enter().await;
        let id = open.id.to_string();
        let journal = Journal::create(&self.dir.path().join("journal"), &open.meta, Level::Process);
        let mut journal = journal.unwrap();
        let recorder = Recorder::start(&self.dir.path().join("recordings"), &journal).unwrap();
        let open_shell = Body::Open(ChannelMeta { kind: ChannelKind::Shell, command: None, terminal: None });
        let shown = Body::Out(b"hello \x1b]52;c;ZXZpbA==\x07from \x1b[1mphi-db\x1b[0m\r\n");
        for (at, body) in [(0, open_shell), (1000, shown), (2000, Body::In(b"secret\r")), (3000, Body::Close)] {
            journal.keep(&[Frame { channel: 1, at, body }]).unwrap();
        }
        journal.finish("left", 4000).unwrap();
        let sealed = recorder.seal("left", self.signer.clone()).await.unwrap();
        self.broker.close_session(open, Ending::Left, Some(sealed), Lateness::default()).await.unwrap();
        id
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

#[tokio::test]
async fn refusals_have_a_reason_a_next_step_and_a_status() {
    let world = world().await;
    for (who, line, status, expected) in [
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
        (
            "alice",
            "recordings",
            1,
            "no rule lets you find recordings\nhint: a [[may]] rule in the policy gives this; ask an administrator\n",
        ),
        ("vera", "show r-000000", 1, "no request \"r-000000\" that you may see\nhint: `ssh jit-bastion requests` lists yours\n"),
        ("vera", "revoke g-000000 --note x", 1, "no grant \"g-000000\" that you may see\nhint: `ssh jit-bastion grants` lists yours\n"),
        ("vera", "kill s-000000 --note x", 1, "no session \"s-000000\" that you may see\nhint: `ssh jit-bastion sessions` lists yours\n"),
        (
            "local",
            "request phi-db --reason x",
            1,
            "request exists only over SSH, where a key proves who\nhint: ssh jit-bastion request HOST --reason WHY\n",
        ),
        ("local", "replay s-000000", 1, "replay exists only over SSH, where a key proves who\nhint: ssh jit-bastion replay ID\n"),
        (
            "alice",
            "shell",
            2,
            "\"shell\" is not a verb; there are: whoami, hosts, explain, request, requests, show, approve, deny, withdraw, grants, cert, extend, close, revoke, kill, known-hosts, sessions, confirm, refuse, recordings, replay, help\n",
        ),
    ] {
        let said = world.say(who, line).await;
        assert_eq!((said.status, said.err.as_str(), said.out.as_str()), (status, expected, ""), "{line}");
    }
}

#[tokio::test]
async fn programs_read_why_not() {
    let world = world().await;
    let error = world.json("alice", "request web --reason x").await;
    assert_eq!(error["error"]["code"], "no-such-host");
    assert!(error["error"]["next"].is_string() && error["error"]["message"].is_string());
}

#[tokio::test]
async fn an_approver_decides_once_and_nobody_for_themselves() {
    let world = world().await;
    let id = world.json("alice", "request phi-db --reason x").await["request"].as_str().unwrap().to_owned();
    let own = world.say("alice", &format!("approve {id}")).await;
    assert_eq!(
        (own.status, own.err.as_str()),
        (1, "nobody decides about their own request\nhint: these can: role:approver; `withdraw` takes it back\n")
    );
    assert_eq!(world.say("vera", &format!("approve {id}")).await.status, 1);
    let said = world.say("bob", &format!("deny {id} --note not tonight")).await;
    assert_eq!((said.status, ids(&said.out)), (0, "r-...... denied\n".into()));
    let late = world.say("bob", &format!("approve {id}")).await;
    assert!(late.err.contains("was denied by bob at 2026-11-21T22:00:00.000Z"), "{late:?}");
    let shown = world.json("alice", &format!("show {id}")).await;
    assert_eq!((&shown["state"], &shown["denied"]["note"]), (&Value::from("denied"), &Value::from("not tonight")));
    let again = world.json("alice", "request phi-db --reason x").await["request"].as_str().unwrap().to_owned();
    assert_eq!(world.say("alice", &format!("withdraw {again}")).await.status, 0);
    let mine = world.json("alice", "requests --mine").await;
    let states: Vec<&str> = mine.as_array().unwrap().iter().map(|r| r["state"].as_str().unwrap()).collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&"withdrawn") && states.contains(&"denied"));
}

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
async fn rights_end_early() {
    let world = world().await;
    let (_, grant) = world.grant().await;
    assert_eq!(world.say("bob", &format!("close {grant}")).await.status, 1);
    let own = world.say("alice", &format!("revoke {grant} --note x")).await;
    assert_eq!(
        (own.status, ids(&own.err)),
        (1, "no rule lets you revoke grants on phi-db\nhint: it is yours: `ssh jit-bastion close g-......` ends it\n".into())
    );
    let open = world.enter().await;
    let said = world.say("dave", &format!("revoke {grant} --note wrong host")).await;
    assert_eq!((said.status, ids(&said.out)), (0, "g-...... revoked; its sessions end now\n".into()));
    assert_eq!(open.cutoff.reason(), Some(Ending::Revoked));
    let late = world.say("alice", &format!("close {grant}")).await;
    assert!(late.err.contains("was revoked by dave at"), "{late:?}");
    let (_, grant) = world.grant().await;
    assert_eq!(world.say("local", &format!("close {grant}")).await.status, 0, "the bastion's own command line closes");
    let grants = world.json("dave", "grants").await;
    assert_eq!(grants.as_array().unwrap().len(), 2, "who may revoke sees them");
    assert_eq!(world.json("vera", "grants").await, Value::Array(vec![]));
}

#[tokio::test]
async fn an_approver_kills_what_came_of_it() {
    let world = world().await;
    world.grant().await;
    let open = world.enter().await;
    let (id, live) = (open.id.to_string(), world.json("carol", "sessions --live").await);
    assert_eq!((&live[0]["session"], &live[0]["state"]), (&Value::from(id.as_str()), &Value::from("live")));
    assert_eq!(world.json("bob", "sessions --live").await[0]["session"], live[0]["session"], "what they may end they see");
    assert_eq!(world.json("vera", "sessions").await, Value::Array(vec![]));
    assert_eq!(world.say("carol", &format!("kill {id} --note x")).await.status, 1, "to look is not to kill");
    let said = world.say("bob", &format!("kill {id} --note strange")).await;
    assert_eq!((said.status, ids(&said.out)), (0, "s-...... ends now; g-...... stays\n".into()));
    assert_eq!(open.cutoff.reason(), Some(Ending::Killed));
}

#[tokio::test]
async fn to_approve_gives_kill_and_not_replay() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    let open = world.enter().await;
    assert_eq!(world.say("bob", &format!("kill {} --note strange", open.id)).await.status, 0);
    assert_eq!(world.say("carol", &format!("replay {session}.1")).await.status, 0, "it is there");
    for (line, code) in
        [(format!("replay {session}.1"), "no-such-id"), (format!("replay {session}"), "no-such-id"), ("recordings".into(), "may-not")]
    {
        let said = world.say("bob", &line).await;
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{line}: {said:?}");
        assert_eq!(world.json("bob", &line).await["error"]["code"], code, "{line}");
    }
}

#[tokio::test]
async fn only_a_proven_key_decides() {
    let world = world().await;
    let id = world.json("alice", "request phi-db --reason x").await["request"].as_str().unwrap().to_owned();
    for id in ["r-000000", &id] {
        for (line, verb) in
            [(format!("deny {id} --note no"), "deny"), (format!("approve {id}"), "approve"), (format!("withdraw {id}"), "withdraw")]
        {
            let said = world.say("local", &line).await;
            assert_eq!((said.status, said.out.as_str()), (1, ""), "{line}");
            let only = format!("{verb} exists only over SSH, where a key proves who\nhint: ssh jit-bastion {verb} ID");
            assert!(said.err.starts_with(&only), "{line}: {said:?}");
            assert_eq!(world.json("local", &line).await["error"]["code"], "ssh-only", "{line}");
        }
    }
    assert_eq!(world.json("bob", &format!("show {id}")).await["state"], "pending");
}

#[tokio::test]
async fn what_is_done_at_the_bastions_own_keyboard_is_no_word_over_ssh() {
    let world = world().await;
    for line in ["init", "serve", "user list", "host list", "verify", "backup x", "status"] {
        for who in ["alice", "dave"] {
            let said = world.say(who, line).await;
            let verb = line.split(' ').next().unwrap();
            assert_eq!((said.status, said.out.as_str()), (2, ""), "{line}: {said:?}");
            assert!(said.err.starts_with(&format!("\"{verb}\" is not a verb; there are: ")), "{line}: {said:?}");
        }
    }
}

#[tokio::test]
async fn recordings_are_found_and_played() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    let found = world.json("carol", "recordings --user alice --host db --since 2026-11-21T00:00:00Z").await;
    assert_eq!(found[0]["channel"], format!("{session}.1"));
    assert_eq!(found[0]["kind"], "shell");
    for none in ["--user bob", "--login admin", "--host phi-app", "--until 2026-11-21T00:00:00Z", "--since 2036-01-01T00:00:00Z"] {
        assert_eq!(world.json("carol", &format!("recordings {none}")).await, Value::Array(vec![]), "{none}");
    }
    assert_eq!(world.json("carol", "recordings --login postgres --until 2036-01-01T00:00:00Z").await[0]["channel"], format!("{session}.1"));
    let table = world.say("carol", "recordings").await.out;
    assert!(ids(&table).starts_with("recording   kind   user   host    login     started                   length  bytes"), "{table}");

    let text = world.say("carol", &format!("replay {session}")).await;
    assert_eq!((text.status, text.out.as_str(), text.err.as_str()), (0, "hello from phi-db\n", ""));
    let events = world.json("carol", &format!("replay {session}.1")).await;
    assert_eq!(events.as_array().unwrap().iter().filter(|e| e["masked"] == true).count(), 1, "what was typed is masked: {events}");
    assert!(!events.to_string().contains("secret"), "{events}");
    assert_eq!(world.say("alice", &format!("replay {session}.1")).await.status, 1);
    assert_eq!(world.say("carol", &format!("replay {session}.9")).await.status, 1);

    let mut caller = world.caller("carol").await;
    (caller.look.columns, caller.rows) = (Some(80), Some(24));
    let mut sink = Collected::default();
    let parsed = from_line(&format!("replay {session} --speed 100"), None).unwrap();
    assert_eq!(run(&world.broker, &caller, &parsed, &mut sink).await, 0);
    let drawn = String::from_utf8_lossy(&sink.out).into_owned();
    assert!(drawn.contains("hello from ") && !drawn.contains("]52;"), "{drawn:?}");
}

#[tokio::test]
async fn a_changed_recording_is_not_played() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    let folder = world.dir.path().join("recordings/2026/11/21").join(&session);
    let file = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "cast")).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let said = world.say("carol", &format!("replay {session}")).await;
    assert_eq!((said.status, said.out.as_str()), (70, ""));
    assert!(said.err.contains("(fault f-"), "{said:?}");
}

#[tokio::test]
async fn waiting_ends_with_the_decision() {
    let world = world().await;
    for (decide, status, last) in [
        ("approve ID", 0, "approved, g-......\nhint: ssh -J jit-bastion postgres@phi-db\n"),
        ("deny ID --note no", 1, "denied by bob at 2026-11-21T22:00:00.000Z: no\n"),
    ] {
        let wait = world.say("alice", "request phi-db --reason x --wait");
        let decide = async {
            let id = loop {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let pending = world.json("bob", "requests --pending").await;
                if let Some(id) = pending[0]["request"].as_str() {
                    break id.to_owned();
                }
            };
            world.say("bob", &decide.replace("ID", &id)).await
        };
        let (waited, decided) = tokio::join!(wait, decide);
        assert_eq!((waited.status, decided.status), (status, 0), "{waited:?}");
        assert!(ids(&waited.out).ends_with(last), "{waited:?}");
        assert!(waited.err.contains("filed: phi-db as postgres for 1h"), "{waited:?}");
        for grant in world.json("alice", "grants").await.as_array().unwrap() {
            world.say("alice", &format!("close {}", grant["grant"].as_str().unwrap())).await;
        }
    }
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
    tame(&super::page::page(&world.broker, &world.caller("bob").await).await.unwrap());
    let denied = world.say("bob", &format!("deny {id} --note no\u{1b}[2J\u{9b}8m")).await;
    tame(&denied.out);
    for line in [format!("show {id}"), "requests".to_owned(), format!("show {id} --json")] {
        tame(&world.say("alice", &line).await.out);
    }
    tame(&world.say("alice", "request no\u{1b}[2Jwhere --reason x").await.err);
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

#[tokio::test]
async fn a_connection_by_certificate_sees_its_grant_alone() {
    let world = world().await;
    let (request, grant) = world.grant().await;
    let made = world.json("alice", &format!("cert {grant}")).await;
    let line = made["certificate"].as_str().unwrap();
    assert!(line.starts_with("ssh-ed25519-cert-v01@openssh.com AAAA") && line.ends_with(&format!(" alice/{grant}")), "{line}");
    let printed = world.say("alice", &format!("cert {grant}")).await;
    assert_eq!((printed.status, printed.out.lines().count()), (0, 1), "{printed:?}");
    assert_eq!(world.say("local", &format!("cert {grant}")).await.status, 1);
    // A second grant of hers, on another host, and one of somebody else's requests to decide.
    let filed = world.json("alice", "request phi-app --reason fix the other").await;
    let other_request = filed["request"].as_str().unwrap().to_owned();
    world.json("bob", &format!("approve {other_request}")).await;
    let certificate = ssh_key::Certificate::from_openssh(line).unwrap();
    let (person, proof) = world.broker.recognise_certificate(&certificate).await.unwrap();
    let actor = Actor::User(person.user.clone());
    let caller = Caller { actor, person: Some(person), proof: Some(proof), look: Look::default(), rows: None };
    let say = async |line: &str| {
        let mut sink = Collected::default();
        let status = run(&world.broker, &caller, &from_line(line, None).unwrap(), &mut sink).await;
        (status, String::from_utf8([sink.out, sink.err].concat()).unwrap())
    };
    for (line, has, not) in [
        ("whoami", grant.as_str(), "nothing"),
        ("grants", grant.as_str(), "phi-app"),
        ("hosts", "phi-db", "phi-app"),
        ("known-hosts", "@cert-authority", "nothing"),
        (&format!("show {request}"), "phi-db", "phi-app"),
        ("sessions", "no sessions", "phi-app"),
        (&format!("cert {grant}"), "ssh-ed25519-cert-v01", "nothing"),
    ] {
        let (status, text) = say(line).await;
        assert!(status == 0 && text.contains(has) && !text.contains(not), "{line}: {status} {text}");
    }
    for line in [
        &format!("show {other_request}"),
        "requests",
        "request phi-app --reason another one",
        &format!("approve {other_request}"),
        &format!("deny {other_request} --note no"),
        &format!("withdraw {other_request}"),
        "replay s-7k2m9q",
        "kill s-7k2m9q --note no",
        &format!("revoke {grant} --note no"),
        "close g-7k2m9q",
        "cert g-7k2m9q",
    ] {
        let (status, text) = say(line).await;
        assert!(status == 1 && text.contains(&format!("it sees {grant} alone")) && text.contains("hint: "), "{line}: {status} {text}");
    }
    let page = super::page::page(&world.broker, &caller).await.unwrap();
    assert!(page.contains(&grant) && !page.contains("phi-app"), "{page}");
    assert_eq!(say(&format!("close {grant}")).await.0, 0);
    assert!(world.broker.recognise_certificate(&certificate).await.is_err());
}
