//! The local command line, run as a program: what it makes, what it says, and how it ends.

#![allow(clippy::disallowed_methods, reason = "these tests measure real time")]

#[path = "cli_parts/damage.rs"]
mod damage;
#[path = "cli_parts/hosts.rs"]
mod hosts;
#[path = "cli_parts/keys.rs"]
mod keys;
#[path = "cli_parts/policy.rs"]
mod policy;
#[path = "cli_parts/users.rs"]
mod users;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// A fresh installation in `jb`.
    fn installed() -> Self {
        let place = Self::new();
        let made = place.run(&["init", "--dir", "jb"]);
        assert!(made.status.success(), "{made:?}");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jit-bastion"));
        command.args(arguments).current_dir(self.0.path()).env_remove("CREDENTIALS_DIRECTORY").env_remove("NOTIFY_SOCKET");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Runs with the installation's config; standard output if it ends with `status`.
    fn expect(&self, status: i32, arguments: &[&str]) -> String {
        let mut all = arguments.to_vec();
        all.extend(["--config", "jb/jit-bastion.toml"]);
        let run = self.run(&all);
        assert_eq!(run.status.code(), Some(status), "{arguments:?}: {}{}", text(&run.stdout), text(&run.stderr));
        if status == 0 { text(&run.stdout) } else { format!("{}{}", text(&run.stdout), text(&run.stderr)) }
    }

    fn json(&self, status: i32, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        serde_json::from_str(&self.expect(status, &all)).expect("JSON")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn init_makes_what_check_accepts_and_overwrites_nothing() {
    let place = Place::installed();
    for (name, wanted) in [("jb/state", 0o700), ("jb/recordings", 0o700), ("jb/passphrase", 0o600), ("jb/state/jit-bastion.db", 0o600)] {
        assert_eq!(mode(&place.path(name)), wanted, "{name}");
    }
    let checked = place.expect(0, &["check"]);
    assert!(checked.contains("keys: they open") && checked.contains("tests passed"), "{checked}");
    assert!(checked.contains("warning  known-hosts-pattern"), "{checked}");

    let before = fs::read(place.path("jb/state/checkpoint.pub")).expect("a key");
    assert!(place.expect(1, &["init"]).contains("init overwrites nothing\nhint: "));
    let again = place.run(&["init", "--dir", "jb"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    place.expect(0, &["init", "--if-missing"]);
    assert_eq!(fs::read(place.path("jb/state/checkpoint.pub")).expect("a key"), before);
}

#[test]
fn check_names_what_is_wrong() {
    let place = Place::installed();
    let config = place.path("jb/jit-bastion.toml");
    let good = fs::read_to_string(&config).expect("a config");
    let policy = place.path("jb/policy.toml");
    let rules = fs::read_to_string(&policy).expect("a policy");

    fs::write(&config, good.replace("listen =", "lissten =")).expect("written");
    let said = place.expect(1, &["check"]);
    assert!(said.contains("jit-bastion.toml:") && said.contains("unknown key `lissten`") && said.contains("^^^^^^^"), "{said}");
    fs::write(&config, &good).expect("written");

    fs::write(&policy, rules.replacen("quorum = 1 }", "quorum = 2 }", 1)).expect("written");
    let said = place.expect(1, &["check"]);
    assert!(said.contains("policy.toml:") && said.contains("test failed"), "{said}");
    fs::write(&policy, rules.replace("max-duration", "mox-duration")).expect("written");
    assert!(place.expect(1, &["check"]).contains("mox-duration"));
    fs::write(&policy, &rules).expect("written");

    fs::write(place.path("jb/passphrase"), "another passphrase\n").expect("written");
    let said = place.json(1, &["check"]);
    assert_eq!(said["ok"], false);
    let keys = said["findings"].as_array().expect("a list").iter().find(|f| f["what"] == "keys").expect("keys");
    assert_eq!(keys["result"], "wrong");

    fs::set_permissions(place.path("jb/passphrase"), fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(place.expect(1, &["check"]).contains("chmod 600"));
}

#[test]
fn every_shipped_example_passes_check() {
    let place = Place::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let config = fs::read_to_string(shipped.join("jit-bastion.toml")).expect("the example");
    fs::create_dir(place.path("jb")).expect("made");
    fs::write(place.path("jb/jit-bastion.toml"), config.replace("/var/lib/jit-bastion", "var")).expect("written");
    fs::copy(shipped.join("policy.toml"), place.path("jb/policy.toml")).expect("copied");
    fs::write(place.path("passphrase"), "from the unit's LoadCredential").expect("written");
    for arguments in [["init", "--config", "jb/jit-bastion.toml"], ["check", "--config", "jb/jit-bastion.toml"]] {
        let run = place.command(&arguments).env("CREDENTIALS_DIRECTORY", place.0.path()).output().expect("the program runs");
        let said = text(&run.stdout) + &text(&run.stderr);
        assert!(run.status.success() && !said.contains("warning"), "{arguments:?}: {said}");
    }
}

#[test]
fn statuses_and_streams() {
    let place = Place::new();
    for (arguments, status) in [
        (vec!["--help"], 0),
        (vec!["--version"], 0),
        (vec!["host", "setup", "--help"], 0),
        (vec![], 2),
        (vec!["init", "--nonsense"], 2),
        (vec!["user", "add", "alice"], 2),
        (vec!["host", "setup", "phi-db", "--stage", "maybe"], 2),
        (vec!["frobnicate"], 2),
        (vec!["check"], 1),
        (vec!["serve", "--config", "none.toml"], 1),
    ] {
        let run = place.run(&arguments);
        assert_eq!(run.status.code(), Some(status), "{arguments:?}: {}", text(&run.stderr));
        assert_eq!(run.stdout.is_empty(), status != 0, "{arguments:?}");
        assert_eq!(run.stderr.is_empty(), status == 0, "{arguments:?}");
    }
    // Programs read wrong usage as they read a refusal, and the status stays.
    for arguments in
        [&["init", "--nonsense", "--json"][..], &["--json", "user", "add", "alice"], &["frobnicate", "--json"], &["show", "--json"]]
    {
        let run = place.run(arguments);
        let said: Value = serde_json::from_slice(&run.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {run:?}"));
        assert_eq!((run.status.code(), said["error"]["code"].as_str()), (Some(2), Some("usage")), "{arguments:?}: {said}");
        assert!(said["error"]["message"].is_string() && run.stderr.is_empty(), "{arguments:?}: {said}");
    }
    let run = place.run(&["user", "list", "--json", "--config", "none.toml"]);
    let said: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert_eq!(said["error"]["code"], "config");
    assert!(said["error"]["next"].as_str().is_some_and(|next| next.contains("jit-bastion init")), "{said}");
}

#[test]
fn a_recording_is_played_by_key_or_from_a_file() {
    let place = Place::new();
    // No installation is needed to be told so.
    let run = place.run(&["replay", "s-7k2m9q.2", "--because", "case", "12"]);
    let said = text(&run.stderr);
    assert_eq!((run.status.code(), run.stdout.len()), (Some(1), 0), "{said}");
    for way in ["ssh -t jit-bastion replay s-7k2m9q.2", "export --session s-7k2m9q", "replay --export s-7k2m9q.tar --channel 2"] {
        assert!(said.contains(way), "{way:?} in {said}");
    }
    fs::write(place.path("noise.tar"), [7; 5000]).expect("written");
    let run = place.run(&["replay", "--export", "noise.tar", "--json"]);
    let said: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert_eq!((run.status.code(), said["error"]["code"].as_str()), (Some(1), Some("damaged")), "{said}");
    for wrong in [
        &["replay"][..],
        &["replay", "--channel", "2"],
        &["replay", "s-7k2m9q", "--export", "noise.tar"],
        &["replay", "s-7k2m9q", "--public-key", "key"],
        &["replay", "--export", "noise.tar", "--because", "x"],
        &["replay", "--export", "noise.tar", "--files", "--speed", "2"],
    ] {
        let run = place.run(wrong);
        assert_eq!((run.status.code(), run.stdout.len()), (Some(2), 0), "{wrong:?}: {}", text(&run.stderr));
    }
    let help = text(&place.run(&["replay", "--help"]).stdout);
    assert!(help.contains("--export <FILE>") && help.contains("--public-key"), "{help}");
}

#[test]
fn completions_and_pages_know_the_verbs() {
    let place = Place::new();
    let script = text(&place.run(&["completion", "bash"]).stdout);
    assert!(script.contains("revoke") && script.contains("setup"), "{script}");
    assert!(place.run(&["man", "pages"]).status.success());
    let page = fs::read_to_string(place.path("pages/jit-bastion-host-setup.1")).expect("a page");
    assert!(page.contains("enforce"), "{page}");
    assert!(place.path("pages/jit-bastion-revoke.1").exists());
}

#[test]
fn verify_finds_a_changed_event() {
    let place = Place::installed();
    assert!(place.expect(0, &["verify"]).contains("log         ok"));
    let said = place.json(0, &["verify", "--key", "jb/state/checkpoint.pub"]);
    assert_eq!((&said["ok"], &said["log"]["entries"]), (&Value::Bool(true), &Value::from(1)));

    let database = place.path("jb/state/jit-bastion.db");
    let mut bytes = fs::read(&database).expect("the store");
    let at = bytes.windows(13).position(|w| w == b"\"initialised\"").expect("the event");
    bytes[at + 1] = b'I';
    fs::write(&database, bytes).expect("written");
    let said = place.expect(1, &["verify", "--key", "jb/state/checkpoint.pub"]);
    assert!(said.contains("NOT OK"), "{said}");
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHafOtvWXwCmjWz3+xoBmssk3F+7mKOB21LWsVs9yQjO";

#[test]
fn users_are_added_listed_and_given_keys() {
    let place = Place::installed();
    fs::write(place.path("alice.pub"), format!("{KEY} laptop\n")).expect("written");
    fs::write(place.path("more.pub"), format!("{OTHER} token\n")).expect("written");
    assert!(place.expect(0, &["user", "list"]).contains("nobody is known yet"));
    let added = place.json(0, &["user", "add", "alice", "--key", "alice.pub", "--role", "engineer", "--role", "on-call"]);
    assert_eq!(added["roles"], serde_json::json!(["engineer", "on-call"]));
    assert!(place.expect(1, &["user", "add", "alice", "--key", "more.pub"]).contains("already"));
    assert!(place.expect(1, &["user", "add", "bob", "--key", "alice.pub"]).contains("belongs to alice"));
    assert!(place.expect(1, &["user", "add", "bob", "--key", "none.pub"]).contains("cannot read none.pub"));
    assert!(place.expect(2, &["user", "add", "Bob", "--key", "more.pub"]).contains("not a user name"));
    place.expect(0, &["user", "key", "alice", "--add", "more.pub"]);
    let list = place.json(0, &["user", "list"]);
    assert_eq!(list[0]["keys"].as_array().map(Vec::len), Some(2), "{list}");
    assert_eq!(list[0]["keys"][1]["name"], "token");
    assert_eq!(list.as_array().map(Vec::len), Some(1), "what was refused left nothing behind: {list}");
}

#[test]
fn verbs_work_here_as_far_as_they_may() {
    let place = Place::installed();
    assert_eq!(place.json(0, &["grants"]), serde_json::json!([]));
    assert!(place.expect(0, &["known-hosts"]).starts_with("@cert-authority * ssh-ed25519 "));
    // `--json` counts wherever it stands.
    for words in [&["grants", "--json", "--config", "none.toml"][..], &["show", "17", "--json"]] {
        let said = place.run(words);
        let answer: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|e| panic!("{words:?}: {e}: {said:?}"));
        assert!(answer["error"]["message"].is_string(), "{words:?}: {answer}");
    }
    // A policy file that is half edited stops nobody who takes access away.
    let policy = fs::read_to_string(place.path("jb/policy.toml")).expect("a policy");
    fs::write(place.path("jb/policy.toml"), format!("{policy}\n[[allow\n")).expect("written");
    assert!(place.expect(1, &["revoke", "g-000000", "--note", "gone"]).contains("no grant \"g-000000\""));
    fs::write(place.path("jb/policy.toml"), policy).expect("written");
    let refused = place.json(1, &["approve", "r-7k2m9q"]);
    assert_eq!(refused["error"]["code"], "ssh-only", "{refused}");
    assert!(place.expect(2, &["revoke"]).contains("usage"));
}

/// Ends with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Serving {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn scrape(port: u16, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(std::time::Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A real client with a key that nobody registered.
fn stranger(place: &Place, door: u16) {
    let key = place.path("mallory").display().to_string();
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]).status().expect("ssh-keygen runs");
    assert!(made.success());
    let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "BatchMode=yes"];
    let mut ssh = Command::new("ssh");
    options.iter().for_each(|option| {
        ssh.args(["-o", option]);
    });
    let asked = ssh.args(["-F", "none", "-i", &key, "-p", &door.to_string(), "mallory@127.0.0.1", "whoami"]).output().expect("ssh runs");
    assert_eq!(asked.status.code(), Some(255), "{}", text(&asked.stderr));
}

#[test]
fn serve_tells_systemd_reloads_and_stops() {
    let place = Place::installed();
    let config = fs::read_to_string(place.path("jb/jit-bastion.toml")).expect("a config");
    let (door, scraped) = (free_port(), free_port());
    let beside = format!(
        "[metrics]\nlisten = \"127.0.0.1:{scraped}\"\n[alarm]\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n",
        place.path("alarms").display()
    );
    fs::write(place.path("jb/jit-bastion.toml"), config.replace("127.0.0.1:2222", &format!("127.0.0.1:{door}")) + &beside)
        .expect("written");
    let socket = UnixDatagram::bind(place.path("notify")).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let told = || {
        let mut buffer = [0; 256];
        let n = socket.recv(&mut buffer).expect("systemd is told");
        text(&buffer[..n])
    };
    let mut command = place.command(&["serve", "--config", "jb/jit-bastion.toml"]);
    command.env("NOTIFY_SOCKET", place.path("notify")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut serving = Serving(command.spawn().expect("it starts"));
    assert_eq!(told(), "READY=1");
    assert!(place.expect(1, &["serve"]).contains("serves jb/state already"));

    fs::write(place.path("jb/policy.toml"), "nonsense").expect("written");
    serving.signal("HUP");
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(), "READY=1");
    let metrics = scrape(scraped, "/metrics");
    assert!(metrics.contains("\njit_bastion_events_total{event=\"policy-refused\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\njit_bastion_store_up 1\n") && metrics.contains("\njit_bastion_sessions_live 0\n"), "{metrics}");
    assert!(scrape(scraped, "/").starts_with("HTTP/1.1 404 "));
    let alarm = || fs::read_to_string(place.path("alarms")).unwrap_or_default();
    wait_until("the alarm", || alarm().contains("\"event\":\"policy-refused\""));
    // A stranger at the door is counted, and the log says nothing of them: it is for what those whom we know do.
    let events = || place.json(0, &["status"])["log"]["events"].clone();
    let before = events();
    stranger(&place, door);
    wait_until("the stranger", || scrape(scraped, "/metrics").contains("\njit_bastion_strangers_total 1\n"));
    let metrics = scrape(scraped, "/metrics");
    assert!(metrics.contains("\njit_bastion_connections_total 1\n") && metrics.contains("\njit_bastion_logins_total 0\n"), "{metrics}");
    assert!(!metrics.contains("mallory"), "{metrics}");
    assert_eq!(events(), before);
    // Somebody is added beside it, on the same store.
    fs::write(place.path("alice.pub"), KEY).expect("written");
    place.expect(0, &["user", "add", "alice", "--key", "alice.pub"]);

    serving.signal("TERM");
    assert_eq!(told(), "STOPPING=1");
    assert!(serving.0.wait().expect("it ends").success());
    assert!(place.expect(0, &["verify"]).contains("log         ok"));
}
