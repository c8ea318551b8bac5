//! Our transport against russh: another author's hybrid key exchange, which the OpenSSH of Debian 12 does not have.

mod wire_line;
mod wire_pair;

use std::borrow::Cow;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use jit_bastion::wire::cipher::Cipher;
use jit_bastion::wire::codec::Writer;
use jit_bastion::wire::kex::agreement::Agreement;
use jit_bastion::wire::transport::Transport;
use russh::client::AuthResult;
use russh::keys::PublicKeyOrCertificate;
use russh::{Preferred, cipher, kex};
use wire_line::Line;
use wire_pair::*;

struct Peer;

impl russh::client::Handler for Peer {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

impl russh::server::Handler for Peer {
    type Error = russh::Error;
}

/// With ChaCha20 russh is strict; with AES-GCM it is not, as OpenSSH before 9.6.
fn names(agreement: Agreement, ours: Cipher) -> Preferred {
    let agreement = match agreement {
        Agreement::MlKem768X25519 => kex::MLKEM768X25519_SHA256,
        Agreement::Curve25519 => kex::CURVE25519,
        Agreement::Curve25519LibSsh => kex::CURVE25519_PRE_RFC_8731,
        Agreement::NistP256 => kex::ECDH_SHA2_NISTP256,
        Agreement::NistP384 => kex::ECDH_SHA2_NISTP384,
    };
    let cipher = if ours == Cipher::ChaCha20Poly1305 { cipher::CHACHA20_POLY1305 } else { cipher::AES_256_GCM };
    let markers = [kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER];
    let kex = if ours == Cipher::ChaCha20Poly1305 { [vec![agreement], markers.to_vec()].concat() } else { vec![agreement] };
    let kex = Cow::Owned(kex);
    Preferred { kex, cipher: Cow::Owned(vec![cipher]), ..Preferred::DEFAULT }
}

fn combinations() -> impl Iterator<Item = (Agreement, Cipher)> {
    Agreement::ALL.into_iter().flat_map(|kex| [(kex, Cipher::Aes256Gcm), (kex, Cipher::ChaCha20Poly1305)])
}

/// Our end, on a thread of its own, until a message comes that `last` names.
fn ours(stream: TcpStream, transport: Transport, first: Option<Vec<u8>>, last: u8, answer: Option<Vec<u8>>) {
    let mut line = Line::new(stream, transport);
    line.establish().unwrap();
    first.into_iter().for_each(|message| line.transport.send(&message).unwrap());
    line.until(|t, message| {
        if message.first() == Some(&5) {
            t.send(&Writer::message(6).string(b"ssh-userauth").done()).unwrap();
        }
        message.first() == Some(&last)
    })
    .unwrap();
    answer.into_iter().for_each(|message| line.transport.send(&message).unwrap());
    while !line.transport.output().is_empty() {
        line.flush();
    }
}

#[tokio::test]
async fn a_russh_client_talks_to_us() {
    for (agreement, cipher) in combinations() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let failure = Writer::message(51).names(&["publickey"]).bool(false).done();
        let ours = std::thread::spawn(move || {
            let transport = server(speak(agreement, cipher), 3);
            ours(listener.accept().unwrap().0, transport, None, 50, Some(failure));
        });
        let config = russh::client::Config { preferred: names(agreement, cipher), ..Default::default() };
        let mut handle = russh::client::connect(Arc::new(config), address, Peer).await.unwrap();
        let result = handle.authenticate_none("nobody").await.unwrap();
        assert!(matches!(result, AuthResult::Failure { .. }), "{agreement:?} {cipher:?}");
        ours.join().unwrap();
    }
}

#[tokio::test]
async fn we_talk_to_a_russh_server() {
    for (agreement, cipher) in combinations() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ours = std::thread::spawn(move || {
            let transport = client(speak(agreement, cipher), 3);
            let first = Writer::message(5).string(b"ssh-userauth").done();
            ours(TcpStream::connect(address).unwrap(), transport, Some(first), 6, None);
        });
        let config = russh::server::Config { preferred: names(agreement, cipher), keys: vec![host_key()], ..Default::default() };
        let running = russh::server::run_stream(Arc::new(config), listener.accept().await.unwrap().0, Peer).await.unwrap();
        // How it ends is not the point: our end hangs up.
        let _ = running.await;
        ours.join().unwrap();
    }
}
