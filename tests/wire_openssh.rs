//! Our transport against the OpenSSH of this machine, in both roles.

mod wire_line;
mod wire_pair;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use jit_bastion::wire::auth;
use jit_bastion::wire::auth::{AuthStep, ClientAuth, ClientStep, ServerAuth};
use jit_bastion::wire::channel::{self, Message, RequestKind};
use jit_bastion::wire::cipher::Cipher;
use jit_bastion::wire::codec::{WireError, Writer};
use jit_bastion::wire::entropy::SeededEntropy;
use jit_bastion::wire::kex::agreement::Agreement;
use jit_bastion::wire::kex::offer::Algorithms;
use jit_bastion::wire::transport::{RekeyBudget, Transport};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{Certificate, LineEnding, PrivateKey};
use wire_line::{Line, NonBlocking};
use wire_pair::*;

/// OpenSSH 9.2 does not speak it; russh's tests do.
fn spoken_by_openssh_9_2() -> impl Iterator<Item = Agreement> {
    Agreement::ALL.into_iter().filter(|a| *a != Agreement::MlKem768X25519)
}

#[test]
fn a_real_sshd_lets_us_in_with_every_algorithm() {
    for kex in spoken_by_openssh_9_2() {
        for cipher in Cipher::ALL {
            let mut host = log_in(speak(kex, cipher), RekeyBudget::default(), "");
            assert_eq!(exec(&mut host.line, "cat", 1000), 1000);
        }
    }
}

#[test]
fn a_real_sshd_rekeys_with_us_under_full_duplex_load() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let ours = RekeyBudget { bytes: 3 << 20, packets: 1 << 20 };
        let mut host = log_in(speak(Agreement::Curve25519, cipher), ours, "RekeyLimit 1M\n");
        assert_eq!(exec(&mut host.line, "cat", 24 << 20), 24 << 20);
        assert!(host.line.rekeys > 20, "{} rekeys", host.line.rekeys);
    }
}

#[test]
fn a_real_sshd_with_another_host_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let other = PrivateKey::new(ed25519(99), "other").unwrap();
    let mut host = sshd(folder.path(), &other, quick(), RekeyBudget::default(), "");
    assert_eq!(host.line.until(|_, _| false), Err(WireError::HostKey("another one".into())));
}

#[test]
fn a_real_ssh_talks_to_us_with_every_algorithm() {
    for kex in spoken_by_openssh_9_2() {
        for cipher in Cipher::ALL {
            let config = speak(kex, cipher);
            assert_eq!(serve_cat(config, RekeyBudget::default(), &[], 1000).rekeys, 0);
        }
    }
}

#[test]
fn a_real_ssh_rekeys_with_us_under_full_duplex_load() {
    for cipher in ["aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"] {
        let ours = RekeyBudget { bytes: 3 << 20, packets: 1 << 20 };
        let options = ["-oRekeyLimit=1M", "-c", cipher];
        assert!(serve_cat(Algorithms::default(), ours, &options, 24 << 20).rekeys > 20);
    }
}

#[test]
fn a_real_ssh_gets_aes_gcm_though_it_prefers_chacha20() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut ssh = ssh(folder.path(), listener.local_addr().unwrap().port(), &["-v"]);
    let mut line = Line::new(listener.accept().unwrap().0, our_server(Algorithms::default(), RekeyBudget::default()));
    line.establish().unwrap();
    line.transport.disconnect(11, "enough");
    line.flush();
    let said = ssh.wait_with_stderr();
    assert!(said.contains("server->client cipher: aes128-gcm@openssh.com"), "{said}");
    assert!(said.contains("kex: algorithm: curve25519-sha256"), "{said}");
    assert!(said.contains("Received disconnect from 127.0.0.1 port") && said.contains("enough"), "{said}");
}

/// Records what a real peer said to us, and what it came to. Our half repeats itself from its seed, so tests/wire_recorded.rs can
/// play it to a new transport. Only with RECORD=1 it replaces `tests/fixtures/wire`.
#[test]
fn record() {
    for (name, cipher) in [("gcm", Cipher::Aes256Gcm), ("chacha", Cipher::ChaCha20Poly1305)] {
        let algorithms = speak(Agreement::Curve25519, cipher);
        let mut host = log_in(algorithms.clone(), RekeyBudget::default(), "RekeyLimit 4K\n");
        assert_eq!(exec(&mut host.line, "cat", 6000), 6000);
        write_fixture(&format!("sshd-{name}"), "client", cipher, &host.line);
        let line = serve_cat(algorithms, RekeyBudget::default(), &["-oRekeyLimit=4K"], 6000);
        write_fixture(&format!("ssh-{name}"), "server", cipher, &line);
    }
}

fn write_fixture<S>(name: &str, role: &str, cipher: Cipher, line: &Line<S>) {
    assert!(line.rekeys > 0, "{name}: a rekey is part of it");
    let messages: String = line.messages.iter().map(|m| format!("message {}\n", BASE64.encode(m))).collect();
    let text = format!(
        "# {}, recorded by `RECORD=1 cargo test --test wire_openssh record`\nrole {role}\nseed {SEED}\ncipher {}\nheard {}\n{messages}",
        line.transport.peer_id(),
        cipher.name(),
        BASE64.encode(&line.heard),
    );
    if std::env::var_os("RECORD").is_some() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// An sshd that is not started by root lets in its own user only.
fn me() -> String {
    let id = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(id.stdout).unwrap().trim().to_owned()
}

/// Of our own randomness: guessable, on connections that carry nothing.
const SEED: u64 = 2;

/// A child that never outlives its test.
struct Reaped(Child);

impl Reaped {
    fn wait_with_stderr(&mut self) -> String {
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        self.0.wait().unwrap();
        said
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ed25519(seed: u8) -> KeypairData {
    KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// A real sshd on one end of a socket pair, us on the other.
struct Host {
    line: Line<UnixStream>,
    certificate: Certificate,
    key: PrivateKey,
    _sshd: Reaped,
}

/// Starts `sshd -i` with a configuration that accepts our certificate for whoever runs the test.
fn sshd(folder: &Path, host_key: &PrivateKey, algorithms: Algorithms, rekey: RekeyBudget, config: &str) -> Host {
    // Wanted by an sshd that root starts; a machine that runs one has it.
    let _ = std::fs::create_dir_all("/run/sshd");
    let authority = PrivateKey::new(ed25519(7), "authority").unwrap();
    let user = PrivateKey::new(ed25519(8), "user").unwrap();
    let mut builder = Builder::new([1; 32], user.public_key().key_data().clone(), 0, u64::MAX - 1).unwrap();
    builder.cert_type(CertType::User).unwrap().valid_principal(me()).unwrap().key_id("test").unwrap();
    let certificate = builder.sign(&authority).unwrap();

    let at = |name: &str| folder.join(name);
    host_key.write_openssh_file(at("host"), LineEnding::LF).unwrap();
    authority.public_key().write_openssh_file(at("authority.pub")).unwrap();
    let config = format!(
        "HostKey {}\nTrustedUserCAKeys {}\nPermitRootLogin yes\nUsePAM no\nStrictModes no\nPidFile none\n{config}",
        at("host").display(),
        at("authority.pub").display(),
    );
    std::fs::write(at("config"), config).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new("/usr/sbin/sshd")
        .args(["-i", "-e", "-f"])
        .arg(at("config"))
        .stdin(Stdio::from(OwnedFd::from(theirs.try_clone().unwrap())))
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut config = client_config(algorithms);
    config.rekey = rekey;
    let transport = Transport::client(Arc::new(config), Box::new(SeededEntropy::new(SEED)));
    Host { line: Line::new(ours, transport), certificate, key: user, _sshd: Reaped(child) }
}

/// A real sshd that has accepted our certificate.
fn log_in(algorithms: Algorithms, rekey: RekeyBudget, config: &str) -> Host {
    let folder = tempfile::tempdir().unwrap();
    let mut host = sshd(folder.path(), &host_key(), algorithms, rekey, config);
    let line = &mut host.line;
    line.establish().unwrap();
    let mut auth = ClientAuth::new(&me(), &host.certificate, &host.key, line.transport.session_id()).unwrap();
    line.transport.send(&auth.start()).unwrap();
    line.until(|t, message| {
        if message.is_empty() {
            return false;
        }
        match auth.handle(message).unwrap() {
            ClientStep::Send(reply) => t.send(&reply).unwrap(),
            ClientStep::In => return true,
            ClientStep::Refused { methods, .. } => panic!("refused, {methods} can continue"),
            _ => {}
        }
        false
    })
    .unwrap();
    assert!(line.transport.peer_ext_info().iter().any(|(name, _)| name == "server-sig-algs"));
    host
}

/// Runs `command` on a session channel, sends it `total` bytes and counts what comes back.
fn exec(line: &mut Line<UnixStream>, command: &str, total: usize) -> usize {
    let open = Writer::message(90).string(b"session").u32(0).u32(1 << 30).u32(32768).done();
    line.transport.send(&open).unwrap();
    let (mut window, mut sent, mut back, mut began) = (0_usize, 0, 0, false);
    line.until(|t, message| {
        if !message.is_empty() {
            match channel::parse(message).unwrap() {
                Message::Confirmation { window: first, .. } => {
                    window = first as usize;
                    began = true;
                    let exec = Writer::message(98).u32(0).string(b"exec").bool(false);
                    t.send(&exec.string(command.as_bytes()).done()).unwrap();
                }
                Message::WindowAdjust { bytes, .. } => window += bytes as usize,
                Message::Data { data, .. } => back += data.len(),
                Message::Close { .. } => return true,
                _ => {}
            }
            return false;
        }
        while began && sent < total && t.can_send() && t.output().len() < 1 << 18 && window > 0 {
            let n = window.min(total - sent).min(32000);
            t.send(&channel::data(0, &vec![b'x'; n])).unwrap();
            sent += n;
            window -= n;
            if sent == total {
                break;
            }
        }
        if began && sent == total && t.can_send() {
            t.send(&channel::eof(0)).unwrap();
            began = false;
        }
        false
    })
    .unwrap();
    back
}

fn our_server(algorithms: Algorithms, rekey: RekeyBudget) -> Transport {
    let mut config = server_config(algorithms);
    config.ext_info = auth::server_ext_info();
    config.rekey = rekey;
    Transport::server(Arc::new(config), Box::new(SeededEntropy::new(SEED)))
}

/// A real ssh that runs `cat` at our server, with its key made in `folder`.
fn ssh(folder: &Path, port: u16, options: &[&str]) -> Reaped {
    let key = folder.join("key");
    PrivateKey::new(ed25519(8), "user").unwrap().write_openssh_file(&key, LineEnding::LF).unwrap();
    let child = Command::new("ssh")
        .args(["-F", "none", "-p", &port.to_string(), "-i"])
        .arg(key)
        .args(["-oBatchMode=yes", "-oIdentitiesOnly=yes", "-oIdentityAgent=none"])
        .args(["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"])
        .args(options)
        .args(["root@127.0.0.1", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Reaped(child)
}

/// Serves one real ssh: accepts its key and echoes `total` bytes of channel data. The line comes back when it is over.
fn serve_cat(algorithms: Algorithms, rekey: RekeyBudget, options: &[&str], total: usize) -> Line<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut child = ssh(folder.path(), listener.local_addr().unwrap().port(), options);
    let (mut stdin, mut stdout) = (child.0.stdin.take().unwrap(), child.0.stdout.take().unwrap());
    let writer = std::thread::spawn(move || stdin.write_all(&vec![b'y'; total]).unwrap());
    let reader = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()).unwrap());

    let mut line = Line::new(listener.accept().unwrap().0, our_server(algorithms, rekey));
    line.establish().unwrap();
    let (session, shown) = (line.transport.session_id().to_vec(), line.transport.host_key().unwrap().to_vec());
    let mut auth = ServerAuth::new(&session, &shown);
    line.until(|t, message| {
        if message.is_empty() {
            return false;
        }
        let (reply, done) = match auth.handle(message).unwrap() {
            AuthStep::Reply(reply) => (reply, false),
            AuthStep::Offered { algorithm, key, .. } => (auth::pk_ok(&algorithm, &key), false),
            AuthStep::Proven { .. } => (auth::success(), true),
            _ => panic!("ssh asks for something else"),
        };
        t.send(&reply).unwrap();
        done
    })
    .unwrap();
    echo(&mut line);
    line.transport.disconnect(11, "done");
    line.flush();
    writer.join().unwrap();
    assert_eq!(reader.join().unwrap() as usize, total);
    line
}

/// One session channel whose every byte comes back.
fn echo<S: Read + Write + NonBlocking>(line: &mut Line<S>) {
    let (mut peer, mut window, mut ended) = (0, 0_usize, false);
    let mut queue: Vec<u8> = Vec::new();
    line.until(|t, message| {
        if !message.is_empty() {
            match channel::parse(message).unwrap() {
                Message::Open(open) => {
                    (peer, window) = (open.sender, open.window as usize);
                    let reply = Writer::message(91).u32(peer).u32(0).u32(1 << 30).u32(32768).done();
                    t.send(&reply).unwrap();
                }
                Message::Request(r) if matches!(r.kind, RequestKind::Exec { .. }) && r.want_reply => {
                    t.send(&Writer::message(99).u32(peer).done()).unwrap();
                }
                Message::WindowAdjust { bytes, .. } => window += bytes as usize,
                Message::Data { data, .. } => queue.extend_from_slice(data),
                Message::Eof { .. } => ended = true,
                Message::Close { .. } => return true,
                _ => {}
            }
            return false;
        }
        while !queue.is_empty() && t.can_send() && t.output().len() < 1 << 18 && window > 0 {
            let n = window.min(queue.len()).min(32000);
            t.send(&channel::data(peer, &queue[..n])).unwrap();
            queue.drain(..n);
            window -= n;
        }
        if ended && queue.is_empty() && t.can_send() {
            t.send(&channel::eof(peer)).unwrap();
            t.send(&channel::close(peer)).unwrap();
            ended = false;
        }
        false
    })
    .unwrap();
}
