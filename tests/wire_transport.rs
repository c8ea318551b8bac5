//! Our two roles against each other.

mod wire_pair;

use jit_bastion::wire::cipher::Cipher;
use jit_bastion::wire::codec::{WireError, Writer};
use jit_bastion::wire::kex::agreement::Agreement;
use wire_pair::*;

#[test]
fn every_agreement_with_every_cipher() {
    for kex in Agreement::ALL {
        for cipher in Cipher::ALL {
            let (mut c, mut s) = known_pair(&speak(kex, cipher));
            assert_eq!(c.session_id(), s.session_id());
            assert!(!c.session_id().is_empty() && c.host_key().is_some());
            assert_eq!(c.peer_ext_info(), [("ping@openssh.com".to_owned(), b"0".to_vec())]);
            c.send(b"\x5eto the server").unwrap();
            s.send(b"\x5eto the client").unwrap();
            let (at_c, at_s) = settle(&mut c, &mut s);
            assert_eq!(at_c, [b"\x5eto the client"]);
            assert_eq!(at_s, [b"\x5eto the server"]);
        }
    }
}

#[test]
fn rekey_from_either_side_and_both() {
    for cipher in Cipher::ALL {
        for who in 1..4 {
            let (mut c, mut s) = known_pair(&speak(Agreement::MlKem768X25519, cipher));
            let id = c.session_id().to_vec();
            if who & 1 != 0 {
                c.start_rekey().unwrap();
                assert!(c.in_kex() && !c.can_send());
                assert_eq!(c.send(b"\x5e"), Err(WireError::Busy));
                assert_eq!(c.start_rekey(), Err(WireError::Busy));
            }
            if who & 2 != 0 {
                s.start_rekey().unwrap();
            }
            settle(&mut c, &mut s);
            assert!(c.can_send() && s.can_send() && !c.in_kex() && !s.in_kex());
            assert_eq!(c.session_id(), id);
            c.send(b"\x5eafter").unwrap();
            s.send(b"\x5eafterwards").unwrap();
            let seen = settle(&mut c, &mut s);
            assert_eq!(seen, (vec![b"\x5eafterwards".to_vec()], vec![b"\x5eafter".to_vec()]));
        }
    }
}

#[test]
fn data_in_flight_when_we_start_a_rekey_is_delivered() {
    let (mut c, mut s) = known_pair(&quick());
    s.send(b"\x5ein flight").unwrap();
    c.start_rekey().unwrap();
    let (at_c, at_s) = settle(&mut c, &mut s);
    assert_eq!((at_c, at_s), (vec![b"\x5ein flight".to_vec()], vec![]));
    assert!(c.can_send() && s.can_send());
}

#[test]
fn a_large_message_passes_after_login_only() {
    let large = vec![94; 200_000];
    let (mut c, mut s) = pair(&quick());
    c.send(&large).unwrap();
    assert_eq!(carry(&mut c, &mut s), Err(WireError::TooLarge("packet")));
    let (mut c, mut s) = known_pair(&quick());
    c.send(b"\x5ebefore").unwrap();
    c.send(&large).unwrap();
    assert_eq!(settle(&mut c, &mut s).1, [b"\x5ebefore".to_vec(), large]);
}

#[test]
fn ping_is_answered_but_not_in_a_rekey() {
    let (mut c, mut s) = known_pair(&quick());
    let ping = Writer::message(192).string(b"12345678").done();
    c.send(&ping).unwrap();
    assert_eq!(carry(&mut c, &mut s), Ok(vec![]));
    assert!(!s.output().is_empty());
    assert_eq!(carry(&mut s, &mut c), Ok(vec![]));
    c.send(&ping).unwrap();
    s.start_rekey().unwrap();
    settle(&mut c, &mut s);
    assert!(c.can_send() && s.can_send());
}

#[test]
fn words_of_a_disconnect_arrive() {
    let (mut c, mut s) = known_pair(&quick());
    s.start_rekey().unwrap();
    s.disconnect(11, &format!("your time is up\u{7}{}", "x".repeat(500)));
    assert!(!s.can_send());
    let Err(WireError::Disconnected { code: 11, text }) = carry(&mut s, &mut c) else { panic!() };
    assert!(text.starts_with("your time is upx") && text.len() == 400);
}
