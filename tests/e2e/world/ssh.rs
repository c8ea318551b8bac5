//! `ssh`, `scp` and `sftp` as people type them, with the demo's config.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Out, Output, Running, run};

/// One command line in the making. Without `jump` it goes to the bastion itself, as a verb does.
#[derive(Debug, Clone)]
pub struct Ssh {
    dir: PathBuf,
    user: String,
    host: Option<String>,
    login: Option<String>,
    before: Vec<String>,
}

impl Ssh {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), user: "alice".into(), host: None, login: None, before: Vec::new() }
    }

    /// Whose key is used, for both hops.
    pub fn by(mut self, user: &str) -> Self {
        self.user = user.into();
        self
    }

    /// Through the bastion to `host`.
    pub fn jump(mut self, host: &str) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The inner user name.
    pub fn login(mut self, login: &str) -> Self {
        self.login = Some(login.into());
        self
    }

    /// A flag of ssh, such as `-tt`.
    pub fn flag(mut self, flag: &str) -> Self {
        self.before.push(flag.into());
        self
    }

    /// An option of ssh, such as `RekeyLimit=1M`.
    pub fn option(mut self, option: &str) -> Self {
        self.before.extend(["-o".into(), option.into()]);
        self
    }

    /// The whole command line with `words` at its end.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.program("ssh");
        command.args(&self.before);
        match &self.host {
            Some(host) => match &self.login {
                Some(login) => command.arg(format!("{login}@{host}")),
                None => command.arg(host),
            },
            None => command.arg(format!("{}@jit-bastion", self.user)),
        };
        command.args(words);
        command
    }

    /// `ssh`, `scp` or `sftp` up to the options that all three know.
    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-F").arg(self.dir.join("ssh_config"));
        if self.host.is_some() {
            let key = self.dir.join("keys").join(&self.user);
            command.args(["-o", "IdentitiesOnly=yes", "-o"]).arg(format!("IdentityFile={}", key.display()));
            command.args(["-o", &format!("ProxyJump={}@jit-bastion", self.user)]);
        }
        command.args(["-o", "BatchMode=yes"]).env_remove("SSH_AUTH_SOCK").env_remove("SSH_ASKPASS").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs `words` there to the end.
    #[track_caller]
    pub fn run(&self, words: &str) -> Output {
        self.run_with(words, b"")
    }

    /// The same with `input`.
    #[track_caller]
    pub fn run_with(&self, words: &str, input: &[u8]) -> Output {
        run(&mut self.command(&[words]), input)
    }

    /// Starts `words` there.
    pub fn spawn(&self, words: &str) -> Running {
        self.spawn_to(words, Out::Collect)
    }

    /// The same with standard output as told.
    pub fn spawn_to(&self, words: &str, out: Out) -> Running {
        let words = Some(words).filter(|w| !w.is_empty());
        Running::start(&mut self.command(words.as_slice()), out)
    }
}
