//! A plain sshd of our own, which knows nothing of the bastion: the other road of the bench, and a host with a key nobody registered.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::process::{Out, Running, run, wait_for_or};

/// An sshd on a free port with AES-GCM only, which lets one key in.
pub struct SshServer {
    running: Running,
    folder: TempDir,
    pub port: u16,
}

impl SshServer {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("jb-sshd-").tempdir().expect("a folder");
        for name in ["host", "user"] {
            let file = folder.path().join(name);
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file), b"").expect(0);
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        // free now; sshd says so if somebody was quicker
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 1000\n\
             Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com\nSubsystem sftp internal-sftp\n",
            path("host"),
            path("user.pub")
        );
        fs::write(folder.path().join("sshd_config"), config).expect("a config");
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(folder.path().join("sshd_config"));
        let running = Running::start(&mut command, Out::Collect);
        wait_for_or(super::LIMIT, || TcpStream::connect(("127.0.0.1", port)).ok(), || running.told());
        Self { running, folder, port }
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The private key that it lets in.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("user")
    }

    /// Its host key, as `ssh-ed25519 AAAA..`.
    pub fn host_key(&self) -> PathBuf {
        self.folder.path().join("host.pub")
    }
}
