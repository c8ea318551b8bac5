use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use super::*;

/// OpenSSH's own server, with the watcher between.
pub(super) struct Server {
    child: Child,
    pub(super) sftp: Sftp,
    next: u32,
}

impl Server {
    pub(super) fn start(rights: FileRights) -> Self {
        let program = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
        let program = program.into_iter().find(|path| std::path::Path::new(path).exists()).expect("OpenSSH's sftp-server");
        let child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut server = Self { child, sftp: Sftp::new(rights), next: 0 };
        server.exchange(&packet(INIT, &[&3u32.to_be_bytes()]));
        server
    }

    /// Sends one packet and gives the answer's type and fields.
    fn exchange(&mut self, sent: &[u8]) -> (u8, Vec<u8>) {
        self.sftp.client(sent).unwrap();
        self.child.stdin.as_mut().unwrap().write_all(sent).unwrap();
        let out = self.child.stdout.as_mut().unwrap();
        let mut head = [0; 4];
        out.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        out.read_exact(&mut body).unwrap();
        self.sftp.host(&head).unwrap();
        self.sftp.host(&body).unwrap();
        (body[0], body[1..].to_vec())
    }

    pub(super) fn ask(&mut self, kind: u8, fields: &[&[u8]]) -> (u8, Vec<u8>) {
        self.next += 1;
        let id = self.next.to_be_bytes();
        self.exchange(&packet(kind, &[&[&id[..]], fields].concat()))
    }

    pub(super) fn open(&mut self, path: &str, flags: u32) -> Vec<u8> {
        let (kind, answer) = self.ask(3, &[&string(path), &flags.to_be_bytes(), &0u32.to_be_bytes()]);
        assert_eq!(kind, HANDLE, "{path}");
        answer[4..].to_vec()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
