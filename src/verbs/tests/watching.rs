//! Looking on while a right lasts, and no longer.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::*;

/// A terminal of somebody who does these things and then looks on.
#[derive(Default)]
struct Viewer {
    does: VecDeque<Happening>,
    read: Collected,
}

impl Sink for Viewer {
    fn out<'a>(&'a mut self, bytes: &'a [u8]) -> Waiting<'a, io::Result<()>> {
        self.read.out(bytes)
    }

    fn err<'a>(&'a mut self, bytes: &'a [u8]) -> Waiting<'a, io::Result<()>> {
        self.read.err(bytes)
    }

    fn input(&mut self, most: usize) -> Waiting<'_, io::Result<Vec<u8>>> {
        self.read.input(most)
    }

    fn closed(&mut self) -> Waiting<'_, ()> {
        self.read.closed()
    }

    fn happening(&mut self) -> Waiting<'_, Happening> {
        match self.does.pop_front() {
            Some(done) => Box::pin(std::future::ready(done)),
            None => Box::pin(std::future::pending()),
        }
    }
}

const WATCHES: &str = "do = [\"sessions\", \"watch\", \"recordings\", \"replay\", \"unmask\"]";

fn policy(unmask: bool) -> String {
    let policy = POLICY.replace("do = [\"sessions\", \"recordings\", \"replay\"]", WATCHES);
    if unmask { policy } else { policy.replace(", \"unmask\"", "") }
}

impl World {
    async fn at_a_terminal(&self, who: &str) -> Caller {
        let mut caller = self.caller(who).await;
        (caller.look.columns, caller.rows) = (Some(80), Some(24));
        caller
    }

    /// Alice is inside, with a shell.
    async fn inside(&self) -> (OpenSession, Journal) {
        let open = self.enter().await;
        let mut journal = Journal::create(&self.dir.path().join("journal"), &open.meta, Level::Process).unwrap();
        let shell = ChannelMeta { kind: ChannelKind::Shell, command: None, terminal: None };
        for body in [Body::Open(shell), Body::Out(b"$ ls\r\n")] {
            journal.keep(&[Frame { channel: 1, at: 0, body }]).unwrap();
        }
        (open, journal)
    }

    /// Carol does this; when she has begun, which is this event, `then` happens. What she reads at last.
    async fn ends(&self, line: &str, begun: &str, then: Waiting<'_, ()>) -> (u8, String) {
        let (caller, parsed, mut viewer) = (self.at_a_terminal("carol").await, from_line(line, None).unwrap(), Viewer::default());
        let before = self.told(begun).await;
        let course = async {
            while self.told(begun).await == before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            then.await;
        };
        let looking = async { tokio::join!(Box::pin(run(&self.broker, &caller, &parsed, &mut viewer)), course).0 };
        let status = tokio::time::timeout(Duration::from_secs(20), looking).await.expect("it goes on");
        assert!(viewer.read.out.ends_with(crate::recording::deck::LEAVE), "their own screen is back");
        (status, String::from_utf8(viewer.read.err).unwrap())
    }
}

#[tokio::test]
async fn whoever_may_watch_no_longer_sees_nothing_more() {
    let world = world().await;
    world.rules(&policy(true)).await;
    world.grant().await;
    let (open, _journal) = world.inside().await;
    let watch = format!("watch {} --because x", open.id);
    let (status, told) = world.ends(&format!("{watch} --unmask"), "session-watched", Box::pin(world.rules(&policy(false)))).await;
    assert_eq!((status, told.lines().next()), (1, Some("you may watch this unmasked no longer")));
    let (status, told) = world.ends(&watch, "session-watched", Box::pin(world.rules(POLICY))).await;
    assert_eq!((status, told.lines().next()), (1, Some("you may watch this no longer")));
    world.rules(&policy(false)).await;
    let local = Actor::Local("root".into());
    let disabled = Box::pin(async { world.broker.disable_user(&local, &User::parse("carol").unwrap(), None).await.map(drop).unwrap() });
    let (status, told) = world.ends(&watch, "session-watched", disabled).await;
    assert_eq!((status, told.lines().next()), (1, Some("you may watch this no longer")));
    world.broker.close_session(open, Ending::Left, None, Lateness::default()).await.unwrap();
}

#[tokio::test]
async fn whoever_may_replay_no_longer_sees_nothing_more() {
    let world = world().await;
    world.rules(&policy(true)).await;
    world.grant().await;
    let session = world.seen(&[(1000, Body::Out(b"one\r\n")), (3_600_000_000, Body::Out(b"two\r\n"))]).await;
    let replay = format!("replay {session} --because x");
    let (status, told) = world.ends(&format!("{replay} --unmask"), "recording-opened", Box::pin(world.rules(&policy(false)))).await;
    assert_eq!((status, told.lines().next()), (1, Some("you may replay this unmasked no longer")));
    let local = Actor::Local("root".into());
    let disabled = Box::pin(async { world.broker.disable_user(&local, &User::parse("carol").unwrap(), None).await.map(drop).unwrap() });
    let (status, told) = world.ends(&replay, "recording-opened", disabled).await;
    assert_eq!((status, told.lines().next()), (1, Some("you may replay this no longer")));
}

#[tokio::test]
async fn what_cannot_be_watched_is_no_event() {
    let world = world().await;
    world.rules(&policy(false)).await;
    world.grant().await;
    let (open, _journal) = world.inside().await;
    for (who, words, code) in [
        ("carol", format!("{}.2", open.id), "nothing-to-watch"),
        ("vera", open.id.to_string(), "no-such-id"),
        ("carol", "s-000000".into(), "no-such-id"),
    ] {
        let parsed = from_line(&format!("watch {words} --because x"), None).unwrap();
        let (caller, mut viewer) = (world.at_a_terminal(who).await, Viewer::default());
        assert_eq!(run(&world.broker, &caller, &parsed, &mut viewer).await, 1, "{who} {words}");
        let told = String::from_utf8(viewer.read.err).unwrap();
        assert!(told.starts_with(if code == "no-such-id" { "no session" } else { "nothing is open" }), "{told}");
    }
    assert_eq!(world.told("session-watched").await, 0);

    let said = world.say("carol", &format!("replay {} --because x", open.id)).await;
    let watch = format!("{0} goes on: it can be replayed when it has ended\nhint: ssh -t jit-bastion watch {0} --because WHY\n", open.id);
    assert_eq!((said.status, said.err), (1, watch));
    let said = world.say("vera", &format!("replay {} --because x", open.id)).await;
    assert!(said.err.starts_with("no recording"), "whoever may not knows nothing of it: {said:?}");
    world.broker.close_session(open, Ending::Left, None, Lateness::default()).await.unwrap();
}

#[tokio::test]
async fn a_window_may_change_its_size_while_what_for_is_asked() {
    let world = world().await;
    world.grant().await;
    let session = world.visit().await;
    let parsed = from_line(&format!("replay {session} --speed 100"), None).unwrap();
    let resized = Happening::Resized { columns: 100, rows: 30 };
    let typed = |text: &[u8]| Happening::Typed(text.to_vec());
    let caller = world.at_a_terminal("carol").await;
    let mut viewer = Viewer { does: [typed(b"case "), resized.clone(), typed(b"12\r")].into(), ..Viewer::default() };
    assert_eq!(run(&world.broker, &caller, &parsed, &mut viewer).await, 0);
    assert!(String::from_utf8_lossy(&viewer.read.out).contains("\x1b[30;1H"), "the status line is in the last row of the new window");
    let mut viewer = Viewer { does: [resized, typed(b"\x03")].into(), ..Viewer::default() };
    assert_eq!(run(&world.broker, &caller, &parsed, &mut viewer).await, 1);
    let told = String::from_utf8(viewer.read.err).unwrap();
    assert!(told.ends_with(&format!("hint: ssh -t jit-bastion replay {session}.1 --because WHY\n")), "{told}");
}
