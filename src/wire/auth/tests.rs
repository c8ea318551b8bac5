use proptest::prelude::*;
use ssh_key::{Certificate, PrivateKey};

use super::super::codec::{Reader, WireError, Writer};
use super::super::keygen::Keygen;
use super::super::keys::{Signer, certificate_algorithm};
use super::super::number;
use super::super::verify::plain_algorithm;
use super::*;

const SESSION: &[u8] = &[42; 32];
const HOST_KEY: &[u8] = b"the host key blob that was shown";

fn accepted() -> ServerAuth {
    let mut server = ServerAuth::new(SESSION, HOST_KEY);
    let step = server.handle(&Writer::message(number::SERVICE_REQUEST).string(b"ssh-userauth").done());
    let AuthStep::Reply(reply) = step.unwrap() else { panic!() };
    assert_eq!(reply, Writer::message(number::SERVICE_ACCEPT).string(b"ssh-userauth").done());
    server
}

fn request(user: &str, method: &str) -> Writer {
    let head = Writer::message(number::USERAUTH_REQUEST).string(user.as_bytes());
    head.string(b"ssh-connection").string(method.as_bytes())
}

fn offer(user: &str, algorithm: &str, key: &[u8]) -> Vec<u8> {
    request(user, "publickey").bool(false).string(algorithm.as_bytes()).string(key).done()
}

/// A signed request, bound to `host_key` or unbound, over `session`.
fn signed(user: &str, key: &PrivateKey, blob: &[u8], host_key: Option<&[u8]>, session: &[u8]) -> Vec<u8> {
    let signer = Signer::new(key).unwrap();
    let plain = key.public_key().to_bytes().unwrap() == blob;
    let algorithm = if plain { signer.algorithm().to_owned() } else { certificate_algorithm(signer.algorithm()) };
    let method = if host_key.is_some() { "publickey-hostbound-v00@openssh.com" } else { "publickey" };
    let body = request(user, method).bool(true).string(algorithm.as_bytes()).string(blob);
    let body = host_key.into_iter().fold(body, Writer::string).done();
    let signature = signer.sign(&Writer::new().string(session).raw(&body).done()).unwrap();
    Writer::new().raw(&body).string(&signature).done()
}

fn ed25519(seed: u8) -> PrivateKey {
    PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]))
}

fn blob(key: &PrivateKey) -> Vec<u8> {
    key.public_key().to_bytes().unwrap()
}

fn no() -> Vec<u8> {
    failure(&["publickey"], false)
}

#[test]
fn nothing_before_the_service_and_the_service_once() {
    let mut server = ServerAuth::new(SESSION, HOST_KEY);
    assert_eq!(server.handle(&request("anna", "none").done()).unwrap_err(), WireError::Unexpected(50));
    let connection = Writer::message(number::SERVICE_REQUEST).string(b"ssh-connection").done();
    assert!(server.handle(&connection).is_err());
    let again = Writer::message(number::SERVICE_REQUEST).string(b"ssh-userauth").done();
    assert_eq!(accepted().handle(&again).unwrap_err(), WireError::Unexpected(5));
    for early in [2, 20, 51, 52, 60, 61, 80, 90, 94] {
        assert_eq!(accepted().handle(&[early]).unwrap_err(), WireError::Unexpected(early));
    }
}

#[test]
fn methods_we_do_not_have_fail_and_name_ours() {
    let mut server = accepted();
    for method in ["none", "password", "hostbased", "gssapi-with-mic", "keyboard-interactive"] {
        let AuthStep::Reply(reply) = server.handle(&request("anna", method).raw(b"any").done()).unwrap() else { panic!() };
        assert_eq!(reply, no(), "{method}");
    }
    let other = Writer::message(50).string(b"anna").string(b"ssh-sftp").string(b"none").done();
    assert!(accepted().handle(&other).is_err());
    assert!(accepted().handle(&request(&"a".repeat(257), "none").done()).is_err());
    let not_text = Writer::message(50).string(b"\xff").string(b"ssh-connection").string(b"none").done();
    assert!(accepted().handle(&not_text).is_err());
}

#[test]
fn a_key_is_offered_then_proven() {
    let (mut server, key) = (accepted(), ed25519(1));
    let AuthStep::Offered { user, algorithm, key: offered } = server.handle(&offer("anna", "ssh-ed25519", &blob(&key))).unwrap() else {
        panic!()
    };
    assert_eq!((user.as_str(), algorithm.as_str(), &offered), ("anna", "ssh-ed25519", &blob(&key)));
    for host_key in [None, Some(HOST_KEY)] {
        let AuthStep::Proven { user, key: proven, .. } = server.handle(&signed("anna", &key, &blob(&key), host_key, SESSION)).unwrap()
        else {
            panic!()
        };
        assert_eq!((user.as_str(), proven), ("anna", blob(&key)));
    }
}

#[test]
fn a_signature_is_for_one_session_one_user_one_key_and_one_host() {
    let (key, other) = (ed25519(1), ed25519(2));
    let wrong = |payload: &[u8]| match accepted().handle(payload) {
        Ok(AuthStep::Wrong { reply }) => assert_eq!(reply, no()),
        step => panic!("{step:?}"),
    };
    wrong(&signed("anna", &key, &blob(&key), None, &[43; 32]));
    wrong(&signed("anna", &key, &blob(&other), None, SESSION));
    wrong(&signed("anna", &key, &blob(&key), Some(b"another host's key"), SESSION));
    let mut bertha = signed("anna", &key, &blob(&key), None, SESSION);
    bertha[5..9].copy_from_slice(b"anne");
    wrong(&bertha);
    // an unbound signature under the bound method's name, and the other way round
    let unbound = signed("anna", &key, &blob(&key), None, SESSION);
    let signature = &unbound[unbound.len() - 87..];
    let bound = request("anna", "publickey-hostbound-v00@openssh.com").bool(true).string(b"ssh-ed25519");
    wrong(&bound.string(&blob(&key)).string(HOST_KEY).raw(signature).done());
    // every byte of the signature counts, and of what it covers
    for byte in (unbound.len() - 64)..unbound.len() {
        let mut changed = unbound.clone();
        changed[byte] ^= 1;
        wrong(&changed);
    }
}

#[test]
fn keys_of_the_wrong_form_are_no_offer() {
    let key = blob(&ed25519(1));
    let mut server = accepted();
    for (algorithm, key) in [
        ("ssh-rsa", &key[..]),
        ("ssh-dss", &key),
        ("ecdsa-sha2-nistp256", &key),
        ("ssh-ed25519-cert-v01@openssh.com", &key),
        ("ssh-ed25519", &key[..20]),
        ("ssh-ed25519", b""),
    ] {
        let AuthStep::Reply(reply) = server.handle(&offer("anna", algorithm, key)).unwrap() else { panic!("{algorithm}") };
        assert_eq!(reply, no());
    }
    let longer = [offer("anna", "ssh-ed25519", &key), b"x".to_vec()].concat();
    assert!(server.handle(&longer).is_err());
}

#[test]
fn real_keys_of_every_type_are_offered() {
    let keygen = Keygen::new();
    keygen.key("ca", "ed25519");
    for (name, kind) in [("a", "ed25519"), ("b", "ecdsa:256"), ("c", "ecdsa:384"), ("d", "ecdsa:521"), ("e", "rsa:3072")] {
        let key = blob(&keygen.key(name, kind));
        let algorithm = match kind {
            "rsa:3072" => "rsa-sha2-256".to_owned(),
            _ => keygen.public(name).algorithm().as_str().to_owned(),
        };
        assert!(matches!(accepted().handle(&offer("anna", &algorithm, &key)), Ok(AuthStep::Offered { .. })), "{kind}");
        let certificate = keygen.certificate(name, "ca", &["-n", "anna"]).to_bytes().unwrap();
        let certified = certificate_algorithm(&algorithm);
        assert!(plain_algorithm(&certified).is_some());
        let step = accepted().handle(&offer("anna", &certified, &certificate));
        let Ok(AuthStep::Offered { key, .. }) = step else { panic!("{kind}: {step:?}") };
        assert_eq!(key, certificate);
    }
}

#[test]
fn offers_signatures_and_requests_have_budgets_that_a_new_name_does_not_renew() {
    let key = ed25519(1);
    let count = |payload: &dyn Fn(usize) -> Vec<u8>| {
        let mut server = accepted();
        (0..200).take_while(|index| server.handle(&payload(*index)).is_ok()).count()
    };
    assert_eq!(count(&|index| offer(&format!("user{index}"), "ssh-ed25519", &blob(&key))), 20);
    assert_eq!(count(&|index| signed(&format!("user{index}"), &key, &blob(&key), None, b"other")), 6);
    assert_eq!(count(&|index| request(&format!("user{index}"), "none").done()), 64);
}

#[test]
fn questions_get_exactly_their_answers_and_only_once() {
    let mut server = accepted();
    server.set_methods(&["publickey", "keyboard-interactive"]);
    let interactive = request("anna", "keyboard-interactive").string(b"").string(b"").done();
    let answer = |answers: &[&str]| {
        let head = Writer::message(61).u32(u32::try_from(answers.len()).unwrap());
        answers.iter().fold(head, |message, answer| message.string(answer.as_bytes())).done()
    };
    assert!(matches!(server.handle(&interactive), Ok(AuthStep::KeyboardInteractive { .. })));
    assert!(server.handle(&answer(&["early"])).is_err());
    let message = server.ask("name", "why", &[("Code: ", Echo::Show), ("PIN: ", Echo::Hide)]);
    let mut r = Reader::new(&message);
    assert_eq!((r.u8(), r.text(), r.text(), r.text(), r.u32()), (Ok(60), Ok("name"), Ok("why"), Ok(""), Ok(2)));
    assert_eq!((r.text(), r.bool(), r.text(), r.bool()), (Ok("Code: "), Ok(true), Ok("PIN: "), Ok(false)));
    let step = server.handle(&answer(&["123456", "geheim"])).unwrap();
    assert!(!format!("{step:?}").contains("geheim"));
    let AuthStep::Answers { user, answers } = step else { panic!() };
    assert_eq!(user, "anna");
    assert_eq!(answers.as_slice().iter().map(|answer| answer.as_str()).collect::<Vec<_>>(), ["123456", "geheim"]);
    assert!(server.handle(&answer(&["again", "again"])).is_err());
    let _ = server.ask("", "only a word", &[]);
    assert!(matches!(server.handle(&answer(&[])), Ok(AuthStep::Answers { .. })));
    let _ = server.ask("", "", &[("Code: ", Echo::Show)]);
    assert!(server.handle(&answer(&[])).is_err());
    // another request, by whatever name, abandons the questions
    let _ = server.ask("", "", &[("Code: ", Echo::Show)]);
    assert!(server.handle(&request("bertha", "none").done()).is_ok());
    assert_eq!(server.handle(&answer(&["123456"])).unwrap_err(), WireError::Unexpected(61));
}

fn certified(keygen: &Keygen, name: &str, kind: &str) -> (PrivateKey, Certificate) {
    let key = keygen.key(name, kind);
    (key, keygen.certificate(name, "ca", &["-n", "anna"]))
}

#[test]
fn our_client_gets_into_our_server_with_its_certificate() {
    let keygen = Keygen::new();
    keygen.key("ca", "ed25519");
    for (name, kind) in [("a", "ed25519"), ("b", "ecdsa:256")] {
        let (key, certificate) = certified(&keygen, name, kind);
        let mut client = ClientAuth::new("anna", &certificate, &key, SESSION).unwrap();
        let mut server = ServerAuth::new(SESSION, HOST_KEY);
        let AuthStep::Reply(accept) = server.handle(&client.start()).unwrap() else { panic!() };
        assert_eq!(client.handle(&Writer::message(7).u32(0).done()), Ok(ClientStep::Wait));
        let Ok(ClientStep::Send(request)) = client.handle(&accept) else { panic!() };
        let AuthStep::Proven { user, algorithm, key, verified } = server.handle(&request).unwrap() else { panic!() };
        assert_eq!((user.as_str(), verified.touch()), ("anna", None));
        assert!(algorithm.ends_with("-cert-v01@openssh.com"));
        assert_eq!(key, certificate.to_bytes().unwrap());
        assert_eq!(client.handle(&banner("be good\nand quick\n")), Ok(ClientStep::Banner("be good\nand quick\n".to_owned())));
        assert_eq!(client.handle(&success()), Ok(ClientStep::In));
        assert_eq!(client.handle(&banner("late")), Err(WireError::Unexpected(53)));
    }
}

fn asked() -> ClientAuth {
    let keygen = Keygen::new();
    keygen.key("ca", "ed25519");
    let (key, certificate) = certified(&keygen, "a", "ed25519");
    let other = ed25519(9);
    assert!(ClientAuth::new("anna", &certificate, &other, SESSION).is_err());
    let mut client = ClientAuth::new("anna", &certificate, &key, SESSION).unwrap();
    assert_eq!(client.handle(&success()), Err(WireError::Unexpected(52)));
    assert_eq!(client.handle(&no()), Err(WireError::Unexpected(51)));
    client.handle(&compose::service_accept("ssh-userauth")).unwrap();
    client
}

#[test]
fn a_host_that_refuses_or_wants_more_says_what() {
    let refused = |message: &[u8]| match asked().handle(message) {
        Ok(ClientStep::Refused { methods, partial }) => (methods, partial),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&failure(&["publickey", "password"], false)), ("publickey,password".to_owned(), false));
    assert_eq!(refused(&failure(&["keyboard-interactive"], true)), ("keyboard-interactive".to_owned(), true));
    assert_eq!(refused(&failure(&["a\x1b[2Jb"], false)), ("a[2Jb".to_owned(), false));
    for odd in [5, 6, 20, 50, 60, 61, 80, 94] {
        assert_eq!(asked().handle(&[odd]), Err(WireError::Unexpected(odd)));
    }
}

#[test]
fn banners_are_safe_and_few() {
    let mut client = asked();
    let nasty = Writer::message(53).string(b"a\x1b]0;x\x07b\x9b\r\n\tc\xc2\x9b").string(b"").done();
    assert_eq!(client.handle(&nasty), Ok(ClientStep::Banner("a]0;xb\u{fffd}\n\tc".to_owned())));
    let Ok(ClientStep::Banner(long)) = client.handle(&banner(&"x".repeat(100_000))) else { panic!() };
    assert_eq!(long.len(), 16 * 1024);
    let more = (0..100).take_while(|_| client.handle(&banner("hello")).is_ok()).count();
    assert_eq!(more, 14);
}

#[test]
fn the_extensions_are_the_three() {
    let extensions = server_ext_info();
    let names: Vec<&str> = extensions.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["server-sig-algs", "publickey-hostbound@openssh.com", "ping@openssh.com"]);
    let algorithms = String::from_utf8(extensions[0].1.clone()).unwrap();
    assert!(algorithms.contains("rsa-sha2-512") && !algorithms.split(',').any(|name| name == "ssh-rsa"));
}

fn proves(server: &mut ServerAuth, payload: &[u8]) -> bool {
    matches!(server.handle(payload), Ok(AuthStep::Proven { .. }))
}

proptest! {
    #[test]
    fn garbage_never_panics_and_never_proves(messages in prop::collection::vec((prop::sample::select(vec![5u8, 50, 50, 50, 61]), any::<Vec<u8>>()), 0..20), cut in any::<usize>()) {
        let key = ed25519(1);
        let good = signed("anna", &key, &blob(&key), Some(HOST_KEY), SESSION);
        let mut server = accepted();
        prop_assert!(!proves(&mut server, &good[..cut % good.len()]));
        for (number, mut payload) in messages {
            payload.insert(0, number);
            prop_assert!(!proves(&mut server, &payload));
            let tail = request("anna", "publickey").raw(&payload).done();
            prop_assert!(!proves(&mut server, &tail));
        }
    }

    #[test]
    fn a_byte_changed_anywhere_in_a_request_proves_nothing(byte in any::<usize>(), bit in 0u8..8) {
        let key = ed25519(1);
        let mut request = signed("anna", &key, &blob(&key), Some(HOST_KEY), SESSION);
        let byte = byte % request.len();
        request[byte] ^= 1 << bit;
        prop_assert!(!proves(&mut accepted(), &request), "byte {byte}");
    }
}
