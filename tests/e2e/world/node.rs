//! A second bastion beside the demo's: the built binary's `init` and `serve` with a config of its own, for the same people and hosts.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::bastion::Bastion;
use super::process::{LIMIT, Out, Output, Running, run, wait_for_or};
use super::ssh::Ssh;

/// A new database on the PostgreSQL that the tests were given; its URL.
pub fn database() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let given = given();
    let name = format!("jit_e2e_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    run(&mut psql(&given, &format!("CREATE DATABASE {name}")), b"").expect(0);
    let (server, _) = given.rsplit_once('/').expect("a URL");
    format!("{server}/{name}")
}

/// What a database's administrator would type.
pub fn psql(url: &str, statement: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement]);
    command
}

fn given() -> String {
    std::env::var("JIT_BASTION_TEST_POSTGRES").expect(
        "this test needs a PostgreSQL: export JIT_BASTION_TEST_POSTGRES=$(tests/postgres.sh start /tmp/jit-postgres), \
         and when all is done tests/postgres.sh stop /tmp/jit-postgres",
    )
}

/// The second bastion.
pub struct Node {
    running: Option<Running>,
    dir: PathBuf,
    port: u16,
}

impl Node {
    /// What it needs to share `first`'s store, in a folder of its own: config, passphrase, `init --node second`. It does not run yet.
    pub fn beside(first: &Bastion, store: &str) -> Self {
        let dir = first.aside("second");
        fs::create_dir(&dir).expect("a folder");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("ours");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let policy = first.dir().join("policy.toml");
        let config = format!(
            "listen = \"127.0.0.1:{port}\"\nknown-hosts-pattern = \"jit-bastion,phi-*\"\nstore = \"{store}\"\npolicy = \"{}\"\n\n\
             [keys]\npassphrase-file = \"passphrase\"\n",
            policy.display()
        );
        fs::write(dir.join("jit-bastion.toml"), config).expect("a config");
        let ours = fs::read_to_string(first.dir().join("ssh_config")).expect("a config");
        let moved = |line: &str| if line.trim().starts_with("Port ") { format!("    Port {port}\n") } else { format!("{line}\n") };
        fs::write(dir.join("ssh_config"), ours.lines().map(moved).collect::<String>()).expect("a config");
        symlink(first.dir().join("keys"), dir.join("keys")).expect("a link");
        let node = Self { running: None, dir, port };
        node.local(&["init", "--node", "second"]).expect(1).says("copy the passphrase");
        fs::copy(first.dir().join("passphrase"), node.dir.join("passphrase")).expect("a copy");
        node.local(&["init", "--node", "second"]).expect(0);
        node
    }

    /// `serve`, until it lets people in.
    pub fn begin(&mut self) {
        let mut running = Running::start(&mut self.command(&["serve"]), Out::Collect);
        let ready = || {
            assert!(!running.ended(), "it ended: {}", running.told());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok().then_some(())
        };
        wait_for_or(LIMIT, ready, || "the second bastion".into());
        self.running = Some(running);
    }

    /// A local command, with its config.
    #[track_caller]
    pub fn local(&self, words: &[&str]) -> Output {
        run(&mut self.command(words), b"")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jit-bastion"));
        command.arg("--config").arg(self.dir.join("jit-bastion.toml")).args(words);
        command
    }

    /// An ssh command through it, from alice unless told otherwise.
    pub fn ssh(&self) -> Ssh {
        Ssh::new(&self.dir)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            if std::thread::panicking() {
                eprintln!("-- the second bastion said\n{}", running.told());
            }
            running.signal(Signal::TERM);
            let mut running = running;
            let end = std::time::Instant::now() + Duration::from_secs(10);
            while !running.ended() && std::time::Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
