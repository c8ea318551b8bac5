//! Hosts as administrators tend them: scanned, told to trust the bastion and then nothing else, looked at, and known by another key.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::world::{Bastion, LIMIT, Out, Output, Running, Terminal, run, wait_for_or};

/// A machine as hospitals have them: an sshd with three host keys that takes passwords and a standing key, and knows no bastion.
struct Machine {
    folder: TempDir,
    port: u16,
    running: Option<Running>,
}

impl Machine {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("jb-machine-").tempdir().expect("a folder");
        // Other accounts read the standing key too.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let mut machine = Self { folder, port, running: None };
        for (name, kind) in [("ed25519", "ed25519"), ("ecdsa", "ecdsa"), ("rsa", "rsa"), ("old", "ed25519")] {
            machine.keygen(name, kind);
        }
        fs::write(machine.path("drop-in.conf"), "").expect("written");
        machine.restart();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn keygen(&self, name: &str, kind: &str) {
        let file = self.path(name);
        let _ = fs::remove_file(&file);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-N", "", "-t", kind]).args(if kind == "rsa" { &["-b", "2048"][..] } else { &[] }).arg("-f").arg(&file);
        run(&mut keygen, b"").expect(0);
    }

    /// Checks the configuration as an administrator does, and starts sshd with it.
    fn restart(&mut self) {
        self.running = None;
        let at = |name: &str| self.path(name).display().to_string();
        let config = format!(
            "Include {}\nListenAddress 127.0.0.1:{}\nHostKey {}\nHostKey {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 1000\n",
            at("drop-in.conf"),
            self.port,
            at("ed25519"),
            at("ecdsa"),
            at("rsa"),
            at("old.pub")
        );
        fs::write(self.path("sshd_config"), config).expect("written");
        let _ = fs::create_dir("/run/sshd");
        run(Command::new("/usr/sbin/sshd").args(["-t", "-f"]).arg(self.path("sshd_config")), b"").expect(0);
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(self.path("sshd_config"));
        let running = Running::start(&mut command, Out::Collect);
        wait_for_or(LIMIT, || TcpStream::connect(("127.0.0.1", self.port)).ok(), || running.told());
        self.running = Some(running);
    }

    /// Takes what `host setup` printed.
    fn set_up(&mut self, said: &Value) {
        let [ca, drop_in] =
            [0, 1].map(|n| (said["files"][n]["path"].as_str().expect("a path"), said["files"][n]["content"].as_str().expect("text")));
        fs::write(self.path("ca.pub"), ca.1).expect("written");
        fs::write(self.path("drop-in.conf"), drop_in.1.replace(ca.0, &self.path("ca.pub").display().to_string())).expect("written");
        self.restart();
    }

    /// Past the bastion, with the key that always opened it.
    fn directly(&self, login: &str, options: &[&str]) -> Output {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        ssh.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(self.path("old")).args(["-p", &self.port.to_string()]).args(options);
        run(ssh.env_remove("SSH_AUTH_SOCK").arg(format!("{login}@127.0.0.1")).arg("true"), b"")
    }

    fn fingerprint(&self, name: &str) -> String {
        let said = run(Command::new("ssh-keygen").arg("-lf").arg(self.path(name)), b"").expect(0).text();
        said.split_whitespace().nth(1).expect("a fingerprint").to_owned()
    }
}

/// The actor of an event.
fn looked_by(event: &str) -> String {
    let at = event.find("local:").expect("an actor of this machine");
    event[at..].split('"').next().expect("its name").to_owned()
}

fn me() -> String {
    run(Command::new("id").arg("-un"), b"").expect(0).text().trim().to_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", output.told()))
}

/// `phi-app` is this machine from here on.
fn scanned(bastion: &Bastion, machine: &Machine) -> Value {
    bastion.local(&["host", "remove", "phi-app"]).expect(0);
    let (address, me) = (format!("127.0.0.1:{}", machine.port), me());
    let add = ["host", "add", "phi-app", "--address", &address, "--login", &me, "--label", "phi", "--alias", "the-app", "--scan"];
    // Nobody has compared the keys: they are shown, and nothing is registered.
    let asked = bastion.local(&add).expect(1).says("nothing was changed").says("--yes");
    for key in ["ed25519", "ecdsa", "rsa"] {
        assert!(asked.stderr.contains(&machine.fingerprint(key)), "{key}: {}", asked.told());
    }
    bastion.local(&["host", "show", "phi-app"]).expect(1);
    json(&bastion.local(&[&add[..], &["--yes", "--json"]].concat()).expect(0))
}

#[test]
fn a_host_that_trusts_and_then_enforces() {
    let bastion = Bastion::start();
    let mut machine = Machine::start();
    let added = scanned(&bastion, &machine);
    assert_eq!(added["trust"].as_array().map(Vec::len), Some(3), "{added}");
    bastion.grant("alice", "phi-app", "1h");
    let visit = || bastion.ssh().jump("phi-app").run("echo inside");
    visit().expect(255).says("refused the certificate");

    let setup = |stage: &str| json(&bastion.local(&["host", "setup", "phi-app", "--stage", stage, "--json"]).expect(0));
    machine.set_up(&setup("trust"));
    assert_eq!(visit().expect(0).text(), "inside\n");
    // By an alias and by its registered address it is the same host.
    let loose = |host: &str| bastion.ssh().jump(host).option("StrictHostKeyChecking=no").option(&format!("Port={}", machine.port));
    assert_eq!(loose("127.0.0.1").run("echo inside").expect(0).text(), "inside\n");
    assert_eq!(bastion.ssh().jump("the-app").option("StrictHostKeyChecking=no").run("echo inside").expect(0).text(), "inside\n");
    machine.directly(&me(), &[]).expect(0);

    machine.set_up(&setup("enforce"));
    assert_eq!(visit().expect(0).text(), "inside\n");
    // Neither the key nor a password, for this login; for another one all is as it was.
    machine.directly(&me(), &[]).expect(255).says("Permission denied (publickey).");
    machine.directly(&me(), &["-o", "PreferredAuthentications=password"]).expect(255).says("Permission denied (publickey).");
    machine.directly("nobody", &["-o", "PreferredAuthentications=none"]).expect(255).says("Permission denied (publickey,password).");
    if me() == "root" {
        let other = machine.directly("nobody", &[]);
        assert_ne!(other.code, Some(255), "the key still opens nobody's account: {}", other.told());
    }
}

#[test]
fn a_host_key_that_changes_is_refused_until_it_is_compared() {
    let bastion = Bastion::start();
    let mut machine = Machine::start();
    scanned(&bastion, &machine);
    let setup = json(&bastion.local(&["host", "setup", "phi-app", "--stage", "trust", "--json"]).expect(0));
    machine.set_up(&setup);
    bastion.grant("alice", "phi-app", "1h");
    bastion.ssh().jump("phi-app").run("true").expect(0);

    let old = machine.fingerprint("ed25519");
    machine.keygen("ed25519", "ed25519");
    machine.restart();
    bastion.ssh().jump("phi-app").run("true").expect(255).says("not the registered one");
    let asked = bastion.local(&["host", "key", "phi-app", "--scan"]).expect(1);
    asked.says(&format!("- ED25519 {old}")).says(&format!("+ ED25519 {}", machine.fingerprint("ed25519")));
    // At a terminal it asks, and only yes is yes.
    let at_terminal = |answer: &str| {
        let mut command = bastion.local_command(&["host", "key", "phi-app", "--scan"]);
        command.env_remove("NO_COLOR");
        let mut screen = Terminal::start(command, 120, 40);
        screen.until("type yes: ").press(answer);
        screen.wait().code()
    };
    assert_eq!(at_terminal("y\r"), Some(1));
    bastion.ssh().jump("phi-app").run("true").expect(255);
    assert_eq!(at_terminal("yes\r"), Some(0));
    bastion.ssh().jump("phi-app").run("true").expect(0);
    let event = bastion.event("host-key-changed", "phi-app").to_string();
    assert!(event.contains(&old) && event.contains("\"told\":\"bob\""), "{event}");

    // Known by the authority that signs its certificate, and by no key of its own.
    machine.keygen("authority", "ed25519");
    run(
        Command::new("ssh-keygen")
            .args(["-q", "-h", "-I", "app", "-n", "phi-app", "-s"])
            .arg(machine.path("authority"))
            .arg(machine.path("ed25519.pub")),
        b"",
    )
    .expect(0);
    let ca = machine.path("authority.pub").display().to_string();
    let certificate = format!("HostCertificate {}\n", machine.path("ed25519-cert.pub").display());
    let drop_in = fs::read_to_string(machine.path("drop-in.conf")).expect("ours");
    fs::write(machine.path("drop-in.conf"), certificate + &drop_in).expect("written");
    machine.restart();
    bastion.local(&["host", "key", "phi-app", "--add-ca", &ca]).expect(0);
    for key in ["ed25519", "ecdsa", "rsa"] {
        bastion.local(&["host", "key", "phi-app", "--remove", &machine.fingerprint(key)]).expect(0);
    }
    bastion.ssh().jump("phi-app").run("true").expect(0);
}

#[test]
fn a_look_at_a_host_is_a_session_with_its_recording() {
    let mut bastion = Bastion::start();
    let looked = json(&bastion.local(&["host", "audit", "phi-db", "--note", "the yearly look", "--json"]).expect(0));
    let session = looked["session"].as_str().expect("an id").to_owned();
    assert!(looked["ran_as"].as_str().is_some_and(|id| id.contains(&me())), "{looked}");
    assert!(looked["accounts"].as_array().is_some_and(|all| all.iter().any(|one| one["uid"] == 0)), "{looked}");
    // What sshd would let in, who may become root, and who was there: told where this account may read it, and said where not.
    let settings = looked["sshd"].to_string();
    assert!(settings.contains("passwordauthentication") && settings.contains("permitrootlogin"), "{looked}");
    assert!(looked["sudoers"].is_array() && looked["logins"].is_array() && looked["groups"].is_array(), "{looked}");
    assert!(looked["groups"].as_array().is_some_and(|all| all.iter().any(|one| one["group"] == "sudo")), "{looked}");
    let begun = bastion.event("host-audit-begun", &session).to_string();
    assert!(begun.contains("\"local:") && !begun.contains("yearly"), "{begun}");
    assert!(bastion.event("host-audited", &session).to_string().contains("\"ending\":\"left\""));
    let casts = bastion.casts(&session);
    assert_eq!((casts.len(), casts[0].about("auditor").starts_with("local:")), (1, true));
    assert!(casts[0].shown().starts_with("jit-bastion-audit 1"));
    // Whoever may find and replay there, does.
    assert_eq!(bastion.json("carol", "recordings --host phi-db")[0]["auditor"], looked_by(&begun));
    let replayed = bastion.verb("carol", &format!("replay {session} --because a test")).expect(0).text();
    assert!(replayed.contains("@ accounts"), "{replayed}");
    bastion.verb("alice", &format!("replay {session} --because a test")).expect(1);
    let shown = bastion.local(&["host", "show", "phi-db"]).expect(0).text();
    assert!(shown.contains(&format!("audit     {session}")), "{shown}");
    let text = bastion.local(&["host", "audit", "phi-db"]).expect(0).text();
    assert!(text.contains("standing keys:") && text.contains("not read"), "{text}");

    bastion.local(&["host", "audit", "phi-db", "--login", "stranger"]).expect(1).says("its logins are");
    bastion.stop();
    // Now nothing serves, and the hosts are gone with the demo: the attempt is in the log all the same.
    bastion.local(&["host", "audit", "phi-app"]).expect(1).says("cannot be reached");
    assert!(bastion.event("host-audited", "phi-app").to_string().contains("peer-gone"));
    bastion.local(&["verify"]).expect(0);
}
