//! Our transport against the OpenSSH of this machine, in both roles.

mod wire_pair;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jit_bastion::wire::auth;
use jit_bastion::wire::auth::{AuthStep, ClientAuth, ClientStep, ServerAuth};
use jit_bastion::wire::channel::{self, Message, RequestKind};
use jit_bastion::wire::cipher::Cipher;
use jit_bastion::wire::codec::{WireError, Writer};
use jit_bastion::wire::entropy::SystemEntropy;
use jit_bastion::wire::kex::agreement::Agreement;
use jit_bastion::wire::kex::offer::Algorithms;
use jit_bastion::wire::transport::{RekeyBudget, Transport};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{Certificate, LineEnding, PrivateKey};
use wire_pair::*;

/// OpenSSH 9.2 does not speak it; russh's tests do.
fn spoken_by_openssh_9_2() -> impl Iterator<Item = Agreement> {
    Agreement::ALL.into_iter().filter(|a| *a != Agreement::MlKem768X25519)
}

#[test]
fn a_real_sshd_lets_us_in_with_every_algorithm() {
    for kex in spoken_by_openssh_9_2() {
        for cipher in Cipher::ALL {
            let mut line = log_in(speak(kex, cipher), RekeyBudget::default(), "");
            assert_eq!(exec(&mut line, "cat", 1000), 1000);
        }
    }
}

#[test]
fn a_real_sshd_rekeys_with_us_under_full_duplex_load() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let ours = RekeyBudget { bytes: 3 << 20, packets: 1 << 20 };
        let mut line = log_in(speak(Agreement::Curve25519, cipher), ours, "RekeyLimit 1M\n");
        assert_eq!(exec(&mut line, "cat", 24 << 20), 24 << 20);
        assert!(line.rekeys > 20, "{} rekeys", line.rekeys);
    }
}

#[test]
fn a_real_sshd_with_another_host_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let other = PrivateKey::new(ed25519(99), "other").unwrap();
    let (mut line, _) = sshd(folder.path(), &other, quick(), RekeyBudget::default(), "");
    assert_eq!(line.until(|_, _| false), Err(WireError::HostKey("another one".into())));
}

#[test]
fn a_real_ssh_talks_to_us_with_every_algorithm() {
    for kex in spoken_by_openssh_9_2() {
        for cipher in Cipher::ALL {
            let config = speak(kex, cipher);
            assert_eq!(serve_cat(config, RekeyBudget::default(), &["-oRekeyLimit=default"], 1000), 0);
        }
    }
}

#[test]
fn a_real_ssh_rekeys_with_us_under_full_duplex_load() {
    for cipher in ["aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"] {
        let ours = RekeyBudget { bytes: 3 << 20, packets: 1 << 20 };
        let options = ["-oRekeyLimit=1M", "-c", cipher];
        assert!(serve_cat(Algorithms::default(), ours, &options, 24 << 20) > 20);
    }
}

#[test]
fn a_real_ssh_gets_aes_gcm_though_it_prefers_chacha20() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut ssh = ssh(folder.path(), listener.local_addr().unwrap().port(), &["-v"]);
    let mut line = Line::new(listener.accept().unwrap().0, our_server(Algorithms::default(), RekeyBudget::default()));
    line.until(|t, _| t.established()).unwrap();
    line.transport.disconnect(11, "enough");
    line.flush();
    let said = ssh.wait_with_stderr();
    assert!(said.contains("server->client cipher: aes128-gcm@openssh.com"), "{said}");
    assert!(said.contains("kex: algorithm: curve25519-sha256"), "{said}");
    assert!(said.contains("Received disconnect from 127.0.0.1 port") && said.contains("enough"), "{said}");
}

/// A transport on a socket, driven without blocking.
struct Line<S> {
    stream: S,
    transport: Transport,
    unsent: Vec<u8>,
    rekeys: u32,
    was_rekeying: bool,
    // Stops the sshd at the other end when the line goes.
    _peer: Option<Reaped>,
}

impl<S: Read + Write + NonBlocking> Line<S> {
    fn new(stream: S, transport: Transport) -> Self {
        stream.non_blocking();
        Self { stream, transport, unsent: Vec::new(), rekeys: 0, was_rekeying: false, _peer: None }
    }

    /// Works until `enough` says so, which is asked for every message, and once a round with an empty one.
    fn until(&mut self, mut enough: impl FnMut(&mut Transport, &[u8]) -> bool) -> Result<(), WireError> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut message = Vec::new();
        loop {
            assert!(Instant::now() < deadline, "the peer says nothing");
            let moved = self.flush() | self.read();
            while let Some(payload) = self.transport.next()? {
                message.clear();
                message.extend_from_slice(payload);
                if enough(&mut self.transport, &message) {
                    return Ok(());
                }
            }
            if self.transport.wants_rekey() {
                self.transport.start_rekey()?;
            }
            let rekeying = self.transport.established() && self.transport.in_kex();
            self.rekeys += u32::from(!self.was_rekeying && rekeying);
            self.was_rekeying = rekeying;
            if enough(&mut self.transport, &[]) {
                return Ok(());
            }
            if !moved {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn flush(&mut self) -> bool {
        self.transport.take_output(&mut self.unsent);
        match self.stream.write(&self.unsent) {
            Ok(n) => {
                self.unsent.drain(..n);
                n > 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn read(&mut self) -> bool {
        match self.stream.read(self.transport.space()) {
            Ok(0) => panic!("the peer closed the line"),
            Ok(n) => {
                self.transport.filled(n);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}

trait NonBlocking {
    fn non_blocking(&self);
}

impl NonBlocking for UnixStream {
    fn non_blocking(&self) {
        self.set_nonblocking(true).unwrap();
    }
}

impl NonBlocking for std::net::TcpStream {
    fn non_blocking(&self) {
        self.set_nonblocking(true).unwrap();
    }
}

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

/// A real sshd on one end of a socket pair (`sshd -i`), us on the other, and a certificate that it accepts for root.
fn sshd(
    folder: &Path,
    host_key: &PrivateKey,
    algorithms: Algorithms,
    rekey: RekeyBudget,
    config: &str,
) -> (Line<UnixStream>, (Certificate, PrivateKey)) {
    // sshd's privilege separation wants it; a machine that runs an sshd has it.
    let _ = std::fs::create_dir_all("/run/sshd");
    let authority = PrivateKey::new(ed25519(7), "authority").unwrap();
    let user = PrivateKey::new(ed25519(8), "user").unwrap();
    let mut builder = Builder::new([1; 32], user.public_key().key_data().clone(), 0, u64::MAX - 1).unwrap();
    builder.cert_type(CertType::User).unwrap().valid_principal("root").unwrap().key_id("test").unwrap();
    let certificate = builder.sign(&authority).unwrap();

    let at = |name: &str| folder.join(name);
    host_key.write_openssh_file(&at("host"), LineEnding::LF).unwrap();
    authority.public_key().write_openssh_file(&at("authority.pub")).unwrap();
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
    let transport = Transport::client(Arc::new(config), Box::new(SystemEntropy));
    let mut line = Line::new(ours, transport);
    line._peer = Some(Reaped(child));
    (line, (certificate, user))
}

/// A line on which a real sshd has accepted our certificate.
fn log_in(algorithms: Algorithms, rekey: RekeyBudget, config: &str) -> Line<UnixStream> {
    let folder = tempfile::tempdir().unwrap();
    let (mut line, (certificate, key)) = sshd(folder.path(), &host_key(), algorithms, rekey, config);
    line.until(|t, _| t.established()).unwrap();
    let mut auth = ClientAuth::new("root", &certificate, &key, line.transport.session_id()).unwrap();
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
    line
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
    Transport::server(Arc::new(config), Box::new(SystemEntropy))
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

/// Serves one real ssh: accepts its key and echoes `total` bytes of channel data. The number of rekeys comes back.
fn serve_cat(algorithms: Algorithms, rekey: RekeyBudget, options: &[&str], total: usize) -> u32 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut child = ssh(folder.path(), listener.local_addr().unwrap().port(), options);
    let (mut stdin, mut stdout) = (child.0.stdin.take().unwrap(), child.0.stdout.take().unwrap());
    let writer = std::thread::spawn(move || stdin.write_all(&vec![b'y'; total]).unwrap());
    let reader = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()).unwrap());

    let mut line = Line::new(listener.accept().unwrap().0, our_server(algorithms, rekey));
    line.until(|t, _| t.established()).unwrap();
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
    let rekeys = line.rekeys;
    drop(line);
    writer.join().unwrap();
    assert_eq!(reader.join().unwrap() as usize, total);
    rekeys
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
