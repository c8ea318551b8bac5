//! The local command line, run as a program: what it makes, what it says, and how it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
    let run = place.run(&["user", "list", "--json", "--config", "none.toml"]);
    let said: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert_eq!(said["error"]["code"], "config");
    assert!(said["error"]["next"].as_str().is_some_and(|next| next.contains("jit-bastion init")), "{said}");
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
