//! A bastion: the built binary's `demo` in a folder of its own, on free ports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::corpus::collect;
use super::evidence::find_id;
use super::process::{LIMIT, Out, Output, Running, descendants, pid, processes, run, wait_for_or};
use super::ssh::Ssh;

/// The demo's world: hosts `phi-db` and `phi-app`; alice asks, bob approves, carol audits, dave administers, vera may nothing.
pub struct Bastion {
    running: Option<Running>,
    home: TempDir,
    /// Environment variables that it is started with.
    environment: Vec<(&'static str, PathBuf)>,
}

impl Bastion {
    /// Starts one and waits until it is ready.
    pub fn start() -> Self {
        let mut bastion = Self::not_yet();
        bastion.begin();
        bastion
    }

    fn not_yet() -> Self {
        let home = tempfile::Builder::new().prefix("jb-").tempdir().expect("a folder");
        Self { running: None, home, environment: Vec::new() }
    }

    /// Starts one with these lines at the top of its config, and these variables.
    pub fn start_with(lines: &str, variables: impl FnOnce(&Self) -> Vec<(&'static str, PathBuf)>) -> Self {
        let mut bastion = Self::not_yet();
        bastion.environment = variables(&bastion);
        bastion.configure(lines);
        bastion.begin();
        bastion
    }

    fn configure(&self, lines: &str) {
        fs::create_dir_all(self.dir()).expect("a folder");
        let config = format!(
            "listen = \"127.0.0.1:0\"\nknown-hosts-pattern = \"jit-bastion,phi-*\"\n{lines}\n[keys]\npassphrase-file = \"passphrase\"\n"
        );
        fs::write(self.dir().join("jit-bastion.toml"), config).expect("a config");
    }

    /// Starts one whose store is at this URL.
    pub fn start_on(store: &str) -> Self {
        let mut bastion = Self::not_yet();
        bastion.configure(&format!("store = \"{store}\"\n"));
        bastion.begin();
        bastion
    }

    /// Starts it on the folder that it had.
    pub fn begin(&mut self) {
        let mut running = Running::start(&mut self.demo(), Out::Collect);
        let ready = |running: &mut Running| {
            let text = String::from_utf8_lossy(&running.seen()).into_owned();
            assert!(!running.ended(), "the demo ended: {}", running.told());
            text.lines().any(|line| line == "ready").then_some(())
        };
        let end = Instant::now() + LIMIT;
        while ready(&mut running).is_none() {
            assert!(Instant::now() < end, "the demo is not ready: {}", running.told());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.running = Some(running);
    }

    fn demo(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jit-bastion"));
        command.arg("demo").arg("--dir").arg(self.dir()).args(["--port", "0"]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it on the folder that it had, and kills it that much later, whatever it has come to.
    pub fn begin_and_kill(&mut self, after: Duration) {
        let running = Running::start(&mut self.demo(), Out::Collect);
        std::thread::sleep(after);
        running.signal(Signal::KILL);
        running.wait();
    }

    /// `kill -9`, and nothing else: what it started stays.
    pub fn kill(&mut self) {
        let running = self.running.take().expect("it runs");
        running.signal(Signal::KILL);
        running.wait();
    }

    /// Asks it to stop, and waits.
    pub fn stop(&mut self) -> Output {
        let running = self.running.take().expect("it runs");
        running.signal(Signal::TERM);
        running.wait()
    }

    /// The demo's folder.
    pub fn dir(&self) -> PathBuf {
        self.home.path().join("world")
    }

    /// A file in the test's own folder, outside of the demo's.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid()
    }

    /// What it has printed and logged.
    pub fn told(&self) -> String {
        self.running.as_ref().map(Running::told).unwrap_or_default()
    }

    /// What the bastion wrote to its log file.
    pub fn log(&self) -> String {
        logs(&self.dir()).iter().map(|log| fs::read_to_string(log).unwrap_or_default()).collect()
    }

    /// The private key of a user.
    pub fn key(&self, user: &str) -> PathBuf {
        self.dir().join("keys").join(user)
    }

    /// An ssh command, from alice unless told otherwise.
    pub fn ssh(&self) -> Ssh {
        Ssh::new(&self.dir())
    }

    /// A verb, as `who` over ssh.
    #[track_caller]
    pub fn verb(&self, who: &str, words: &str) -> Output {
        self.ssh().by(who).run(words)
    }

    /// A verb with `--json` that must succeed.
    #[track_caller]
    pub fn json(&self, who: &str, words: &str) -> Value {
        let output = self.verb(who, &format!("{words} --json")).expect(0);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{words}: {e}: {}", output.told()))
    }

    /// A local command, with the demo's config.
    #[track_caller]
    pub fn local(&self, words: &[&str]) -> Output {
        run(&mut self.local_command(words), b"")
    }

    /// The same, not yet run.
    pub fn local_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jit-bastion"));
        command.arg("--config").arg(self.dir().join("jit-bastion.toml")).args(words);
        command
    }

    /// Changes the policy file, reloads it and waits until it is in force.
    #[track_caller]
    pub fn change_policy(&self, change: impl FnOnce(String) -> String) {
        let file = self.dir().join("policy.toml");
        let before = fs::read_to_string(&file).expect("the policy");
        let loads = || self.events().iter().filter(|event| event["event"] == "policy-loaded").count();
        let loaded = loads();
        fs::write(&file, change(before)).expect("changed");
        kill_process(pid(self.pid()), Signal::HUP).expect("it runs");
        wait_for_or(LIMIT, || (loads() > loaded).then_some(()), || "the new policy".into());
    }

    /// Files a request; its id.
    #[track_caller]
    pub fn request(&self, who: &str, host: &str, span: &str) -> String {
        let filed = self.json(who, &format!("request {host} --for {span} --reason look after ticket 4711"));
        find_id(&filed, "r-").unwrap_or_else(|| panic!("a request id in {filed}"))
    }

    /// Asks as `who`, approves as bob; the grant's id.
    #[track_caller]
    pub fn grant(&self, who: &str, host: &str, span: &str) -> String {
        let request = self.request(who, host, span);
        let decided = self.json("bob", &format!("approve {request}"));
        find_id(&decided, "g-").unwrap_or_else(|| panic!("a grant id in {decided}"))
    }

    /// The listening sshd of a demo host.
    #[track_caller]
    pub fn sshd(&self, host: &str) -> u32 {
        let dir = self.dir().to_string_lossy().into_owned();
        let is_it = |line: &str| line.contains("sshd") && line.contains(&dir) && line.contains(host);
        let found = || processes().into_iter().find(|p| is_it(&p.2) && p.0 != self.pid()).map(|p| p.0);
        wait_for_or(LIMIT, found, || format!("the sshd of {host}"))
    }

    /// The processes that serve visitors of a demo host.
    pub fn visitors(&self, host: &str) -> Vec<u32> {
        descendants(self.sshd(host))
    }
}

impl Drop for Bastion {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- the bastion said\n{}", self.running.as_ref().map(Running::errors).unwrap_or_default());
            for log in logs(&self.dir()) {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(12).collect();
                eprintln!("-- {}\n{}", log.display(), tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        if let Some(mut running) = self.running.take() {
            running.signal(Signal::TERM);
            let end = Instant::now() + Duration::from_secs(10);
            while !running.ended() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // a killed bastion leaves its sshds behind, a test that failed its tmux: only those that name our folder are ours
        let home = self.home.path().to_string_lossy().into_owned();
        for (id, _, line) in processes().into_iter().filter(|p| p.2.contains(&home)) {
            if line.contains("sshd") || line.contains("jit-bastion") || line.contains("tmux") {
                let _ = kill_process(pid(id), Signal::KILL);
            }
        }
        if !std::thread::panicking() {
            collect(self.home.path());
        }
    }
}

fn logs(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.flatten().map(|e| e.path());
    paths.flat_map(|p| if p.is_dir() { logs(&p) } else { vec![p] }).filter(|p| p.extension().is_some_and(|e| e == "log")).collect()
}
