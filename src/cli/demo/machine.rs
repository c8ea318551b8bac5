//! One host of the demo: a real OpenSSH server on a loopback port that trusts the bastion's CA and nothing else.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::{Child, Command};

use super::key;

/// Debian, Fedora and Alpine all have it here. sshd wants to be called by its full path.
const SSHD: &str = "/usr/sbin/sshd";
/// How long an sshd may take to accept; it takes some 30 ms.
const START: Duration = Duration::from_secs(10);
/// How long it may take to end.
const STOP: Duration = Duration::from_secs(3);
/// How often somebody looks again.
const LOOK: Duration = Duration::from_millis(20);

/// The folder of one host: `DIR/hosts/NAME`.
pub(super) struct Machine {
    folder: PathBuf,
}

/// An sshd that accepts connections.
pub(super) struct Running {
    name: String,
    child: Child,
}

impl Machine {
    /// Makes the folder and a host key, unless they are there.
    pub fn prepare(folder: PathBuf) -> anyhow::Result<Self> {
        if !Path::new(SSHD).exists() {
            bail!("{SSHD} is not there, and the demo's hosts are real OpenSSH servers\nhint: apt-get install openssh-server");
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        key::make(&folder.join("host_key"), "host")?;
        Ok(Self { folder })
    }

    /// The line of its public host key.
    pub fn public_key(&self) -> anyhow::Result<String> {
        key::public(&self.folder.join("host_key"))
    }

    /// Ends an sshd that an earlier run of the demo left behind.
    pub fn end_orphan(&self) -> anyhow::Result<()> {
        let file = self.folder.join("sshd.pid");
        let pid = fs::read_to_string(&file).ok().and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
        if let Some(pid) = pid {
            end_if_ours(pid, &self.folder).with_context(|| format!("cannot end the sshd of {}", file.display()))?;
        }
        let _ = fs::remove_file(file);
        Ok(())
    }

    /// Starts sshd on `port` of the loopback, trusting `session_ca`, and waits until it accepts.
    pub async fn start(&self, port: u16, session_ca: &str) -> anyhow::Result<Running> {
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").context("cannot make /run/sshd, which sshd wants when root runs it")?;
        }
        let write = |name: &str, text: &str| fs::write(self.folder.join(name), text).with_context(|| format!("cannot write {name}"));
        write("trusted_ca.pub", &format!("{}\n", session_ca.trim_end()))?;
        write("sshd_config", &self.config(port))?;
        let log = self.folder.join("sshd.log");
        let child = Command::new(SSHD)
            .arg("-D")
            .arg("-f")
            .arg(self.folder.join("sshd_config"))
            .arg("-E")
            .arg(&log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {SSHD}"))?;
        let name = self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut running = Running { name, child };
        running.wait_ready(port, &log).await?;
        Ok(running)
    }

    fn config(&self, port: u16) -> String {
        let at = |name: &str| format!("\"{}\"", self.folder.join(name).display());
        let lines = [
            format!("ListenAddress 127.0.0.1:{port}"),
            format!("HostKey {}", at("host_key")),
            format!("PidFile {}", at("sshd.pid")),
            format!("TrustedUserCAKeys {}", at("trusted_ca.pub")),
            "AuthorizedKeysFile none".to_owned(),
            "PasswordAuthentication no".to_owned(),
            "KbdInteractiveAuthentication no".to_owned(),
            "PermitRootLogin prohibit-password".to_owned(),
            format!("UsePAM {}", if own_account_is_locked() { "yes" } else { "no" }),
            "StrictModes no".to_owned(),
            "MaxSessions 64".to_owned(),
            "MaxStartups 100:30:200".to_owned(),
            "AcceptEnv LANG LC_*".to_owned(),
            "PrintMotd no".to_owned(),
            "LogLevel VERBOSE".to_owned(),
            "Subsystem sftp internal-sftp".to_owned(),
        ];
        format!("# Written by `jit-bastion demo` at each start.\n{}\n", lines.join("\n"))
    }
}

impl Running {
    async fn wait_ready(&mut self, port: u16, log: &Path) -> anyhow::Result<()> {
        let mut left = START;
        while !accepts(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
            if let Some(status) = self.child.try_wait()? {
                bail!("the sshd of {} ended ({status})\nhint: {} says why", self.name, log.display());
            }
            left = left.checked_sub(LOOK).with_context(|| format!("the sshd of {} does not accept", self.name))?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Ends it. Its sessions end with the connections of the bastion.
    pub async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Does something at `address` greet as an SSH server does?
pub(super) async fn accepts(address: SocketAddr) -> bool {
    let ask = move || -> io::Result<bool> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.starts_with("SSH-2.0-"))
    };
    tokio::task::spawn_blocking(ask).await.is_ok_and(|answer| answer.unwrap_or(false))
}

/// `wanted` if nobody listens there (0 is any), else a free one.
pub(super) fn free_port(wanted: Option<u16>) -> anyhow::Result<u16> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let wanted = wanted.filter(|port| *port != 0).map(bind).and_then(Result::ok);
    let free = || (0..TRIES).find_map(|_| bind(rand::random_range(QUIET)).ok());
    let bound = wanted.or_else(free).map_or_else(|| bind(0), Ok).context("no free port on 127.0.0.1")?;
    Ok(bound.local_addr()?.port())
}

/// Below the ports that Linux gives to connections that go out: one of those could be taken again before its server has it.
const QUIET: std::ops::Range<u16> = 20_000..32_768;
const TRIES: usize = 64;

/// Ends the process `pid` if its command line says that it is the sshd of `folder`; the pid may have gone to somebody else since.
fn end_if_ours(pid: Pid, folder: &Path) -> anyhow::Result<()> {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    if !is_ours(pid, folder) {
        return Ok(());
    }
    pidfd_send_signal(&process, Signal::TERM)?;
    for _ in 0..STOP.as_millis() / LOOK.as_millis() {
        if !is_ours(pid, folder) {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    Ok(pidfd_send_signal(&process, Signal::KILL)?)
}

fn is_ours(pid: Pid, folder: &Path) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    line.contains(SSHD) && line.contains(&folder.join("sshd_config").display().to_string())
}

/// An account whose password is locked with `!` gets in only through PAM. Only root can see that, and only then it matters.
fn own_account_is_locked() -> bool {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    shadow.lines().any(|line| line.starts_with("root:!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu";

    #[tokio::test]
    async fn an_sshd_is_started_and_an_orphan_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::prepare(dir.path().join("phi db")).unwrap();
        let port = free_port(None).unwrap();
        let running = machine.start(port, CA).await.unwrap();
        assert_ne!(free_port(Some(port)).unwrap(), port);
        let pid: u32 = fs::read_to_string(dir.path().join("phi db/sshd.pid")).unwrap().trim().parse().unwrap();
        assert_eq!(running.child.id(), Some(pid));

        // Another folder's pid file with this pid ends nobody.
        let other = Machine::prepare(dir.path().join("other")).unwrap();
        fs::write(dir.path().join("other/sshd.pid"), pid.to_string()).unwrap();
        other.end_orphan().unwrap();
        assert!(accepts(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await);

        machine.end_orphan().unwrap();
        assert!(!accepts(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await);
        running.stop().await;
        let again = machine.start(port, CA).await.unwrap();
        again.stop().await;
    }
}
