//! Two peers, a relay between them, pipes that take and give what chance allows, key exchanges from all four ends: every seed must
//! come to its end with every byte delivered once, in order, and none shown before it was kept.

mod judged;
mod peer;
mod pipes;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

use super::{End, Law, Relay, Rights};
use crate::access::host::Host;
use crate::access::opening::Opening;
use crate::access::refusal::Refusal;
use crate::recording::RecordError;
use crate::ssh::leg::Leg;
use crate::ssh::tap::{Keep, Kept, Lands};
use crate::wire::codec::WireError;
use crate::wire::entropy::SeededEntropy;
use crate::wire::keys::{HostIdentity, HostKeyCheck};
use crate::wire::number;
use crate::wire::transport::{ClientConfig, RekeyBudget, ServerConfig, Transport};
use peer::{Peer, login};
use pipes::{Chance, PipeEnd, pipe};

/// Counts what is kept towards the user; some time after it was handed in, by chance.
struct Counter {
    kept: Rc<RefCell<usize>>,
    handed: usize,
    taken: u64,
    chance: Chance,
}

impl Keep for Counter {
    fn keep(&mut self, what: Kept<'_>) -> Result<(), RecordError> {
        if let Kept::Out(_, bytes) = what {
            self.handed += bytes.len();
        }
        self.taken += 1;
        Ok(())
    }
}

impl Lands for Counter {
    fn taken(&self) -> u64 {
        self.taken
    }

    fn commit(&mut self) -> impl Future<Output = Result<(), RecordError>> + use<> {
        let (kept, handed, mut rest) = (Rc::clone(&self.kept), self.handed, self.chance.below(4));
        poll_fn(move |cx| {
            if rest > 0 {
                rest -= 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut kept = kept.borrow_mut();
            *kept = handed.max(*kept);
            Poll::Ready(Ok(()))
        })
    }
}

/// A law that lets everything pass.
struct Anything(Host);

impl Law for Anything {
    fn host(&self) -> &Host {
        &self.0
    }

    fn opens(&self, _: &Opening) -> Result<(), Refusal> {
        Ok(())
    }

    fn tunnelled(&self, _: u32, _: &'static str) {}
}

struct Anyone;

impl HostKeyCheck for Anyone {
    fn check(&self, _blob: &[u8], _algorithm: &str) -> Result<(), WireError> {
        Ok(())
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn server(budget: RekeyBudget, seed: u64) -> Transport {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    let config = ServerConfig {
        id: crate::ssh::IDENTIFICATION.into(),
        host_keys: vec![HostIdentity::plain(&key).unwrap()],
        rekey: budget,
        ext_info: Vec::new(),
        algorithms: Default::default(),
    };
    Transport::server(Arc::new(config), Box::new(SeededEntropy::new(seed)))
}

fn client(budget: RekeyBudget, seed: u64) -> Transport {
    let config = ClientConfig {
        id: "SSH-2.0-OpenSSH_9.9 simulated".into(),
        trust: Arc::new(Anyone),
        host_key_algorithms: vec!["ssh-ed25519"],
        rekey: budget,
        algorithms: Default::default(),
    };
    Transport::client(Arc::new(config), Box::new(SeededEntropy::new(seed)))
}

/// One whole connection for one seed.
fn simulate(seed: u64) {
    peer::forget();
    let chance = Chance::new(seed);
    let [from_client, to_client, from_host, to_host] = [(); 4].map(|()| pipe(&chance));
    let kept = Rc::new(RefCell::new(0));
    let patient = RekeyBudget { bytes: 1 << 40, packets: 1 << 40 };
    let budget = RekeyBudget { bytes: 20_000 + chance.below(80_000) as u64, packets: 1 << 20 };
    let (up, down) = (chance.below(120_000), chance.below(120_000));
    let mut client_peer = Peer::new(client(patient, seed), [&to_client, &from_client], true, [up, down], &chance, &kept);
    let mut host_peer = Peer::new(server(patient, seed + 1), [&to_host, &from_host], false, [down, up], &chance, &kept);
    client_peer.queue(login());
    let keep = Counter { kept: Rc::clone(&kept), handed: 0, taken: 0, chance: chance.clone() };
    let relay = relay(server(budget, seed + 2), client(budget, seed + 3), [&from_client, &to_client, &from_host, &to_host], keep);
    let client_task = async {
        poll_fn(|cx| client_peer.step(cx)).await;
        assert_eq!((client_peer.sent, client_peer.heard), (up, down), "the client is not done");
    };
    let host_task = async {
        poll_fn(|cx| host_peer.step(cx)).await;
        assert_eq!((host_peer.sent, host_peer.heard), (down, up), "the host is not done");
    };
    run(seed, &chance, vec![Box::pin(client_task), Box::pin(host_task), Box::pin(relay)]);
}

async fn relay(server: Transport, client: Transport, pipes: [&PipeEnd; 4], keep: Counter) {
    let [from_client, to_client, from_host, to_host] = pipes.map(PipeEnd::clone);
    let (mut client_reader, mut host_reader) = (from_client, from_host);
    let (inner, upstream) = (Leg::new(server, to_client), Leg::new(client, to_host));
    upstream.establish(&mut host_reader).await.unwrap();
    // The relay begins where authentication ends.
    upstream.send(&login()).await.unwrap();
    assert_eq!(upstream.receive(&mut host_reader).await.unwrap(), [number::USERAUTH_SUCCESS]);
    assert_eq!(inner.receive(&mut client_reader).await.unwrap(), login());
    inner.send(&[number::USERAUTH_SUCCESS]).await.unwrap();
    let keep = RefCell::new(keep);
    let rights = Rights { shell: true, exec: true, reads: true, writes: true, record_input: false, content: Default::default() };
    let egress = crate::ssh::egress::Egress::unlimited();
    let law = Anything(Host::unregistered(&"simulated".parse().unwrap()));
    let relay = Relay::new((&inner, &upstream), &keep, (rights, &law), super::Pulse::none(), &egress);
    let end = relay.run(&mut client_reader, &mut host_reader).await;
    assert!(matches!(end, End::ClientLeft), "{end}");
    let _ = upstream.shutdown().await;
    let _ = inner.shutdown().await;
}

/// Polls whoever was woken, in an order of chance, until all are done. Nobody woken while somebody is not done is a deadlock.
fn run(seed: u64, chance: &Chance, tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>) {
    let mut tasks: Vec<_> = tasks.into_iter().map(|task| (Some(task), Arc::new(Flag(AtomicBool::new(true))))).collect();
    while tasks.iter().any(|(task, _)| task.is_some()) {
        let woken: Vec<usize> = (0..tasks.len()).filter(|i| tasks[*i].0.is_some() && tasks[*i].1.0.load(Ordering::SeqCst)).collect();
        assert!(!woken.is_empty(), "seed {seed}: deadlock");
        let (task, flag) = &mut tasks[woken[chance.below(woken.len())]];
        flag.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(flag));
        if task.as_mut().unwrap().as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            *task = None;
        }
    }
}

/// 10,000 seeds in all, in quarters, so that two cores share them. `SOAK` multiplies.
fn quarter(number: u64) {
    let rounds = std::env::var("SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1_u64);
    (0..2_500 * rounds).for_each(|n| simulate(n * 4 + number));
}

#[test]
fn no_deadlock_first_quarter() {
    quarter(0);
}

#[test]
fn no_deadlock_second_quarter() {
    quarter(1);
}

#[test]
fn no_deadlock_third_quarter() {
    quarter(2);
}

#[test]
fn no_deadlock_fourth_quarter() {
    quarter(3);
}
