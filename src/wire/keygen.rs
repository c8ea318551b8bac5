//! For the tests of this room: keys, certificates and signatures made by the real `ssh-keygen`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::{Certificate, HashAlg, PrivateKey, PublicKey, SshSig};
use tempfile::TempDir;

use super::codec::Reader;

/// A folder of keys.
pub(crate) struct Keygen {
    folder: TempDir,
}

impl Keygen {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new("ssh-keygen").current_dir(self.folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "ssh-keygen {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A new key `name`; `kind` is like `ecdsa:384`.
    pub(crate) fn key(&self, name: &str, kind: &str) -> PrivateKey {
        let (kind, bits) = kind.split_once(':').unwrap_or((kind, "0"));
        let mut arguments = vec!["-q", "-N", "", "-C", name, "-t", kind, "-f", name];
        if bits != "0" {
            arguments.extend(["-b", bits]);
        }
        self.run(&arguments);
        PrivateKey::read_openssh_file(self.path(name)).unwrap()
    }

    pub(crate) fn public(&self, name: &str) -> PublicKey {
        PublicKey::read_openssh_file(self.path(&format!("{name}.pub"))).unwrap()
    }

    /// A certificate for key `name`, signed by key `authority`; `options` go to `ssh-keygen -s` as they are.
    pub(crate) fn certificate(&self, name: &str, authority: &str, options: &[&str]) -> Certificate {
        let public = format!("{name}.pub");
        let mut arguments = vec!["-q", "-s", authority, "-I", "test"];
        arguments.extend(options);
        arguments.push(&public);
        self.run(&arguments);
        Certificate::read_file(&self.path(&format!("{name}-cert.pub"))).unwrap()
    }

    /// Signs `message` in the form of PROTOCOL.sshsig: the signature blob and what it covers.
    pub(crate) fn sign(&self, name: &str, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        fs::write(self.path("message"), message).unwrap();
        let _ = fs::remove_file(self.path("message.sig"));
        self.run(&["-q", "-Y", "sign", "-n", "test", "-f", name, "message"]);
        let armored = fs::read_to_string(self.path("message.sig")).unwrap();
        let base64: String = armored.lines().filter(|line| !line.starts_with('-')).collect();
        let bytes = STANDARD.decode(base64).unwrap();
        let mut r = Reader::new(&bytes);
        r.take(6 + 4).unwrap(); // magic and version
        for _ in 0..4 {
            r.string().unwrap(); // key, namespace, reserved, hash
        }
        let covered = SshSig::signed_data("test", HashAlg::Sha512, message).unwrap();
        (r.string().unwrap().to_vec(), covered)
    }
}
