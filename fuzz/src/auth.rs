//! Authentication, both sides. The input is a run of messages, each behind two bytes of length.

use std::sync::OnceLock;

use jit_bastion::wire::auth::{AuthStep, ClientAuth, ClientStep, Echo, ServerAuth};
use ssh_key::certificate::Builder;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{Certificate, PrivateKey};

pub const ALL: &[super::Target] = &[("server_auth", server_auth), ("client_auth", client_auth)];

/// A client that sends anything.
pub fn server_auth(data: &[u8]) {
    let mut server = ServerAuth::new(&[42; 32], b"our host key");
    server.set_methods(&["publickey", "keyboard-interactive"]);
    let _ = server.handle(b"\x05\0\0\0\x0cssh-userauth");
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (payload, after) = tail.split_at(usize::from(u16::from_be_bytes(*length)).min(tail.len()));
        rest = after;
        match server.handle(payload) {
            Err(_) => return,
            Ok(AuthStep::KeyboardInteractive { .. }) => drop(server.ask("", "", &[("Code: ", Echo::Hide)])),
            Ok(AuthStep::Answers { answers, .. }) => assert_eq!(answers.as_slice().len(), 1),
            Ok(_) => {}
        }
    }
}

/// A host that answers anything.
pub fn client_auth(data: &[u8]) {
    static IDENTITY: OnceLock<(PrivateKey, Certificate)> = OnceLock::new();
    let (key, certificate) = IDENTITY.get_or_init(identity);
    let mut client = ClientAuth::new("anna", certificate, key, &[42; 32]).unwrap();
    let (mut rest, mut asked) = (data, false);
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (payload, after) = tail.split_at(usize::from(u16::from_be_bytes(*length)).min(tail.len()));
        rest = after;
        match client.handle(payload) {
            Err(_) => return,
            Ok(ClientStep::Send(_)) => assert!(!std::mem::replace(&mut asked, true), "one request only"),
            Ok(ClientStep::In) => assert!(asked),
            Ok(ClientStep::Banner(text)) => assert!(!text.contains('\x1b')),
            Ok(ClientStep::Refused { methods, .. }) => assert!(!methods.contains('\x1b')),
            Ok(ClientStep::Wait) => {}
        }
    }
}

fn identity() -> (PrivateKey, Certificate) {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[1; 32]));
    let authority = PrivateKey::from(Ed25519Keypair::from_seed(&[2; 32]));
    let mut builder = Builder::new(vec![3; 16], key.public_key(), 1, 2).unwrap();
    builder.valid_principal("anna").unwrap();
    let certificate = builder.sign(&authority).unwrap();
    (key, certificate)
}
