//! The fuzz targets on stable Rust, near to what honest peers say: known good messages, each changed many times with a
//! seeded generator, so that a run repeats. `FUZZ_ROUNDS` makes it longer; the real thing is `make fuzz`.

#[path = "../fuzz/src/lib.rs"]
#[expect(dead_code, reason = "every target runs in fuzz_smoke; here only those whose honest messages are made below")]
mod fuzz;

use fuzz::{auth, channel, keys, law, peek};
use jit_bastion::wire::codec::Writer;
use jit_bastion::wire::verify::SIGNATURE_ALGORITHMS;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

/// Feeds `run` each seed and many children of it.
fn feed(name: &str, seeds: &[Vec<u8>], run: fn(&[u8])) {
    let rounds: u64 = std::env::var("FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    for seed in seeds {
        run(seed);
    }
    for round in 0..rounds {
        let mut random = StdRng::seed_from_u64(round);
        let mut data = seeds[random.random_range(0..seeds.len())].clone();
        for _ in 0..random.random_range(1..6) {
            mutate(&mut data, &mut random);
        }
        // a panic must name its input
        if std::panic::catch_unwind(|| run(&data)).is_err() {
            panic!("{name}, round {round}: {data:02x?}");
        }
    }
}

fn mutate(data: &mut Vec<u8>, random: &mut StdRng) {
    let at = if data.is_empty() { 0 } else { random.random_range(0..data.len()) };
    match random.random_range(0..6) {
        0 => data.truncate(at),
        1 => data.insert(at, random.random()),
        2 if !data.is_empty() => data[at] ^= 1 << random.random_range(0..8),
        3 if !data.is_empty() => data[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
        4 if data.len() >= at + 4 => {
            let number: u32 = [0, 1, 255, 65_536, u32::MAX, u32::MAX - 3][random.random_range(0..6)];
            data[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
        _ => data.extend((0..random.random_range(0..40)).map(|_| random.random::<u8>())),
    }
}

fn named(name: &str) -> Writer {
    Writer::message(98).u32(3).string(name.as_bytes()).bool(true)
}

#[test]
fn policies() {
    let shipped = include_str!("../systemd/policy.toml");
    let demo = include_str!("../src/cli/demo/first/policy.toml");
    let documented =
        include_str!("../docs/policy.md").split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    feed("policy", &[shipped, demo, documented].map(|text| text.as_bytes().to_vec()), law::policy);
}

#[test]
fn channel_messages() {
    let open = |kind: &str| Writer::message(90).string(kind.as_bytes()).u32(1).u32(2).u32(u32::MAX);
    let seeds = [
        open("session").done(),
        open("direct-tcpip").string(b"db").u32(22).string(b"::1").u32(1).done(),
        Writer::message(91).u32(1).u32(2).u32(3).u32(4).done(),
        Writer::message(93).u32(1).u32(2).done(),
        Writer::message(94).u32(1).string(b"data").done(),
        Writer::message(80).string(b"keepalive@openssh.com").bool(true).done(),
        named("pty-req").string(b"xterm").u32(80).u32(24).u32(0).u32(0).string(b"\0").done(),
        named("exec").string(b"true").done(),
        named("exit-signal").string(b"TERM").bool(false).string(b"").string(b"").done(),
        named("window-change").u32(1).u32(2).u32(3).u32(4).done(),
    ];
    feed("channel", &seeds, channel::channel);
}

#[test]
fn key_blobs_and_signatures() {
    let mut seeds = Vec::new();
    for (index, algorithm) in SIGNATURE_ALGORITHMS.into_iter().enumerate() {
        let point = |size: usize| [&[4][..], &vec![7; 2 * size]].concat();
        let head = |name: &str| Writer::new().string(name.as_bytes());
        let curve = |name: &str, size: usize| head(algorithm).string(name.as_bytes()).string(&point(size));
        let key = match algorithm {
            "ssh-ed25519" => head(algorithm).string(&[7; 32]),
            "sk-ssh-ed25519@openssh.com" => head(algorithm).string(&[7; 32]).string(b"ssh:"),
            "sk-ecdsa-sha2-nistp256@openssh.com" => curve("nistp256", 32).string(b"ssh:"),
            "ecdsa-sha2-nistp256" => curve("nistp256", 32),
            "ecdsa-sha2-nistp384" => curve("nistp384", 48),
            "ecdsa-sha2-nistp521" => curve("nistp521", 66),
            _ => head("ssh-rsa").mpint(&[1, 0, 1]).mpint(&[0xc5; 256]),
        };
        let key = key.done();
        let signature = head(algorithm).string(&[9; 64]).u8(1).u32(1).done();
        let pick = u8::try_from(index << 1).unwrap();
        let cut = u8::try_from(key.len()).unwrap_or(u8::MAX);
        seeds.push([&[pick, cut][..], &key, &signature].concat());
    }
    let name = b"ssh-ed25519-cert-v01@openssh.com";
    let key = Writer::new().string(name).string(&[1; 32]).string(&[7; 32]).u64(1).u32(2).string(b"id");
    let limits = key.string(&Writer::new().string(b"phi-db").done()).u64(0).u64(u64::MAX).string(b"").string(b"");
    let authority = Writer::new().string(b"ssh-ed25519").string(&[8; 32]).done();
    let signature = Writer::new().string(b"ssh-ed25519").string(&[9; 64]).done();
    let certificate = limits.string(b"").string(&authority).string(&signature).done();
    seeds.push([&[1, 255][..], &certificate].concat());
    feed("keys", &seeds, keys::keys);
}

#[test]
fn access_certificates() {
    let text = |text: &str| Writer::new().string(text.as_bytes()).done();
    let authority = PrivateKey::from(Ed25519Keypair::from_seed(&keys::AUTHORITY)).public_key().to_bytes().expect("a key");
    let stranger = Writer::new().string(b"ssh-ed25519").string(&[9; 32]).done();
    let option = Writer::new().string(b"grant@jit-bastion").string(&text("g-7k2m9q")).done();
    let certificate = |authority: &[u8]| {
        let key = Writer::new().string(b"ssh-ed25519-cert-v01@openssh.com").string(&[1; 32]).string(&[7; 32]);
        let who = key.u64(1).u32(1).string(b"alice/g-7k2m9q").string(&text("access@jit-bastion"));
        let limits = who.u64(1_777_593_600).u64(1_782_864_000).string(&option).string(b"").string(b"");
        let signature = Writer::new().string(b"ssh-ed25519").string(&[9; 64]).done();
        limits.string(authority).string(&signature).done()
    };
    let nested = certificate(&certificate(&authority));
    let whole = certificate(&authority);
    let read = ssh_key::Certificate::from_bytes(&whole).expect("its form is right");
    assert_eq!(read.valid_principals(), ["access@jit-bastion"], "only the signature is wrong with this one");
    feed("access_certificate", &[whole, certificate(&stranger), nested], keys::access_certificate);
}

/// Messages as the two authentication targets read them.
fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let frame = |message: &Vec<u8>| [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
    messages.iter().flat_map(frame).collect()
}

#[test]
fn clients_that_log_in() {
    let request = |method: &str| Writer::message(50).string(b"anna").string(b"ssh-connection").string(method.as_bytes());
    let key = Writer::new().string(b"ssh-ed25519").string(&[7; 32]).done();
    let signature = Writer::new().string(b"ssh-ed25519").string(&[9; 64]).done();
    let signed = |method: &str| request(method).bool(true).string(b"ssh-ed25519").string(&key);
    let seeds = [
        framed(&[request("none").done(), request("publickey").bool(false).string(b"ssh-ed25519").string(&key).done()]),
        framed(&[signed("publickey").string(&signature).done()]),
        framed(&[signed("publickey-hostbound-v00@openssh.com").string(b"our host key").string(&signature).done()]),
        framed(&[request("keyboard-interactive").string(b"").string(b"").done(), Writer::message(61).u32(1).string(b"123456").done()]),
    ];
    feed("server_auth", &seeds, auth::server_auth);
}

#[test]
fn hosts_that_answer() {
    let accept = Writer::message(6).string(b"ssh-userauth").done();
    let banner = Writer::message(53).string(b"hello\x1b[2J\n").string(b"").done();
    let seeds = [
        framed(&[Writer::message(7).u32(0).done(), accept.clone(), banner.clone(), vec![52]]),
        framed(&[banner, accept, Writer::message(51).names(&["publickey", "password"]).bool(true).done()]),
    ];
    feed("client_auth", &seeds, auth::client_auth);
}

#[test]
fn first_words_of_clients() {
    let gcm = ["aes128-gcm@openssh.com"];
    let head = Writer::message(20).raw(&[7; 16]).names(&["curve25519-sha256"]).names(&["ssh-ed25519"]);
    let lists = head.names(&gcm).names(&gcm).names(&[]).names(&[]).names(&["none"]).names(&["none"]);
    let kexinit = lists.names(&[]).names(&[]).bool(false).u32(0).done();
    let length = u32::try_from(kexinit.len() + 1 + 8).unwrap();
    let packet = Writer::new().u32(length).u8(8).raw(&kexinit).raw(&[0; 8]).done();
    let ignore = Writer::new().u32(12).u8(6).u8(2).u32(0).raw(&[0; 6]).done();
    let line = b"SSH-2.0-client\r\n";
    let seeds = [[&line[..], &packet].concat(), [&line[..], &ignore, &packet, b"more"].concat(), line.to_vec()];
    feed("peek", &seeds, peek::peek_at);
}
