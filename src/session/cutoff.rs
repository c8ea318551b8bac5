//! One session's end: its deadline, the reason that won, and the guards around everything the session owns.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Ending;
use super::knife::{Deadlines, Knife};
use crate::access::time::{Clock, Span, Timestamp};

/// From the cut to `shutdown(2)` of the host's socket: time for the relay to send TERM and KILL and to close it itself. The promise
/// (end time to the host's connection closed) is 100 ms.
pub const HOST_GRACE: Duration = Duration::from_millis(40);
/// From the cut to the failure of the client's tunnel: time for the last words. The promise is 1 s.
pub const CLIENT_GRACE: Duration = Duration::from_millis(700);
/// From the cut to `shutdown(2)` of the outer socket, for a client that acknowledges nothing.
pub const OUTER_GRACE: Duration = Duration::from_secs(10);
/// How long before an idle logoff the warning comes; half the idle time where that is shorter.
pub const IDLE_WARNING: Duration = Duration::from_secs(120);

const NOT_YET: u64 = u64::MAX;

/// What a session holds on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The connection to the host; falls [`HOST_GRACE`] after the cut.
    Host,
    /// The client's tunnel; falls [`CLIENT_GRACE`] after the cut.
    Client,
    /// The outer socket under the tunnel, shared with other sessions; falls [`OUTER_GRACE`] after the cut unless it was released.
    Outer,
}

impl Side {
    pub(super) const ALL: [Self; 3] = [Self::Host, Self::Client, Self::Outer];

    pub(super) const fn grace(self) -> Duration {
        match self {
            Self::Host => HOST_GRACE,
            Self::Client => CLIENT_GRACE,
            Self::Outer => OUTER_GRACE,
        }
    }
}

/// How long after the cut (the end time, for a session whose time was up) each side was closed, measured on BOOTTIME when it was. `None`
/// where no cut fell, or nothing was held on that side, or it is still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lateness {
    /// Of the host's connection; promised under 100 ms.
    pub host: Option<Duration>,
    /// Of the client's tunnel; promised under 1 s.
    pub client: Option<Duration>,
}

/// One session's cutoff. Cheap to clone; all clones are the same cutoff. When the last one goes, the knife forgets the session.
#[derive(Clone)]
pub struct Cutoff(Arc<Inner>);

impl std::fmt::Debug for Cutoff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutoff").field("id", &self.0.id).field("fallen", &self.0.fallen.get()).finish()
    }
}

impl Cutoff {
    /// Arms the knife for a session that ends at `ends`, or when as much time as there is left until then has passed on BOOTTIME,
    /// whichever is first.
    pub fn new(knife: &Knife, ends: Timestamp, clock: Arc<dyn Clock>) -> Self {
        let left = ends.since(clock.now()).duration();
        let boot = clock.since_boot();
        let deadlines = Deadlines { wall: ends, boot: boot.saturating_add(left), idle: None, lost: None };
        let inner = Arc::new_cyclic(|weak| Inner {
            id: knife.register(deadlines, weak.clone()),
            knife: knife.clone(),
            clock,
            fallen: OnceLock::new(),
            fell: CancellationToken::new(),
            sides: Default::default(),
            touched: AtomicU64::new(micros(boot)),
            busy: AtomicBool::new(false),
            warn: Notify::new(),
        });
        knife.arm(inner.id);
        Self(inner)
    }

    /// Ends the session. The first reason wins; later ones change nothing. Never blocks.
    pub fn cut(&self, why: Ending) {
        self.0.fall(why, self.0.clock.since_boot());
    }

    /// Moves the end. Both hands move by the same length, so that a clock that was set back in between gives nothing. After the cut it
    /// changes nothing.
    pub fn extend(&self, ends: Timestamp) {
        self.0.knife.extend(self.0.id, ends);
    }

    /// When the session ends by the wall, as far as is known now; `None` once it is over.
    pub fn ends(&self) -> Option<Timestamp> {
        self.0.knife.ends(self.0.id)
    }

    /// Logs the session off after `idle` without a [`Cutoff::touch`]; [`Cutoff::warned`] resolves [`IDLE_WARNING`] earlier.
    pub fn log_off_after(&self, idle: Span) {
        self.touch();
        self.0.knife.set_idle(self.0.id, idle.duration(), self.0.touched());
    }

    /// The store does not answer: the session ends at `at` on BOOTTIME as `store-lost`, unless this is called with `None` before. Its own
    /// end is not moved.
    pub fn end_unless_back(&self, at: Option<Duration>) {
        self.0.knife.set_lost(self.0.id, at);
    }

    /// Somebody typed. An atomic store: call it for every input.
    pub fn touch(&self) {
        self.0.touched.store(micros(self.0.clock.since_boot()), Ordering::Relaxed);
    }

    /// While something works by itself the session is not idle, however little is typed. When it is done, idleness begins anew.
    pub fn busy(&self, works: bool) {
        if self.0.busy.swap(works, Ordering::Relaxed) && !works {
            self.touch();
        }
    }

    /// Waits until an idle logoff is near. Resolves once for each stretch of idleness; for one waiter.
    pub async fn warned(&self) {
        self.0.warn.notified().await;
    }

    /// Why it was cut; `None` while it goes on.
    pub fn reason(&self) -> Option<Ending> {
        self.0.fallen.get().map(|f| f.why)
    }

    /// When the cut fell on BOOTTIME: the end time itself where time was up, otherwise the call.
    pub fn cut_at(&self) -> Option<Duration> {
        self.0.fallen.get().map(|f| f.at)
    }

    /// Waits for the cut. Safe to drop and to call again.
    pub async fn fell(&self) -> Ending {
        self.0.fell.cancelled().await;
        // The token is cancelled only after the reason is set.
        self.reason().unwrap_or(Ending::Shutdown)
    }

    /// Gives the knife its own duplicate of a socket of this session (`OwnedFd` from `try_clone_to_owned`). It is shut down when
    /// that side's grace after the cut is over, at once if it is over already.
    pub fn hold(&self, socket: OwnedFd, side: Side) {
        self.0.side(side).used.store(true, Ordering::Relaxed);
        if let Some(refused) = self.0.knife.hold(self.0.id, socket, side) {
            let _ = shutdown(&refused, Shutdown::Both);
        }
    }

    /// The relay is done with this side. The knife's duplicates go; if the cut has fallen they are shut down first, and the lateness is
    /// measured. The outer socket is never shut by this: others may live on it.
    pub fn release(&self, side: Side) {
        let sockets = self.0.knife.release(self.0.id, side);
        if self.reason().is_some() {
            self.0.close(side, sockets, side != Side::Outer);
        }
    }

    /// Wraps a stream of this session: its reads and writes fail with `TimedOut` once that side has fallen, and tasks that wait in
    /// them are woken.
    pub fn guard<S>(&self, stream: S, side: Side) -> Guarded<S> {
        let state = self.0.side(side);
        state.used.store(true, Ordering::Relaxed);
        let gone = || Box::pin(state.gone.clone().cancelled_owned());
        Guarded { stream, gone: state.gone.clone(), reads: gone(), writes: gone() }
    }

    /// How late each side was closed, as far as it is.
    pub fn late(&self) -> Lateness {
        let read = |side| match self.0.side(side).late.load(Ordering::Acquire) {
            NOT_YET => None,
            late => Some(Duration::from_micros(late)),
        };
        Lateness { host: read(Side::Host), client: read(Side::Client) }
    }

    /// The session is over: the knife drops what it still holds. After a cut, sides that are still held are shut first, and a held
    /// outer socket still falls at its time unless it is released.
    pub fn close(&self) {
        for side in [Side::Host, Side::Client] {
            self.release(side);
        }
        self.0.knife.forget(self.0.id);
    }
}

#[derive(Debug, Clone, Copy)]
struct Fallen {
    why: Ending,
    at: Duration,
}

#[derive(Default)]
struct SideState {
    gone: CancellationToken,
    used: AtomicBool,
    late: Late,
}

struct Late(AtomicU64);

impl Default for Late {
    fn default() -> Self {
        Self(AtomicU64::new(NOT_YET))
    }
}

impl std::ops::Deref for Late {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        &self.0
    }
}

/// What the clones and the knife share. The knife has only a weak reference.
pub(super) struct Inner {
    id: u64,
    knife: Knife,
    clock: Arc<dyn Clock>,
    fallen: OnceLock<Fallen>,
    fell: CancellationToken,
    sides: [SideState; 3],
    touched: AtomicU64,
    busy: AtomicBool,
    warn: Notify,
}

impl Inner {
    fn side(&self, side: Side) -> &SideState {
        let [host, client, outer] = &self.sides;
        match side {
            Side::Host => host,
            Side::Client => client,
            Side::Outer => outer,
        }
    }

    /// When the client last typed, on BOOTTIME; now, while something works by itself.
    pub(super) fn touched(&self) -> Duration {
        if self.busy.load(Ordering::Relaxed) {
            return self.clock.since_boot();
        }
        Duration::from_micros(self.touched.load(Ordering::Relaxed))
    }

    /// The cut: marks it, wakes who waits, and has the knife close each side when its grace is over. `at` is on BOOTTIME.
    pub(super) fn fall(&self, why: Ending, at: Duration) {
        if self.fallen.set(Fallen { why, at }).is_err() {
            return;
        }
        self.knife.schedule_falls(self.id, at);
        self.fell.cancel();
    }

    /// Closes one side for good and measures.
    pub(super) fn close(&self, side: Side, sockets: Vec<OwnedFd>, shut: bool) {
        if shut {
            for socket in &sockets {
                let _ = shutdown(socket, Shutdown::Both);
            }
        }
        drop(sockets);
        let state = self.side(side);
        if let (true, Some(fallen)) = (state.used.load(Ordering::Relaxed), self.fallen.get()) {
            let late = micros(self.clock.since_boot().saturating_sub(fallen.at)).min(NOT_YET - 1);
            let _ = state.late.compare_exchange(NOT_YET, late, Ordering::AcqRel, Ordering::Acquire);
        }
        state.gone.cancel();
    }

    /// Tells the user that an idle logoff is near.
    pub(super) fn warn_idle(&self) {
        self.warn.notify_one();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.knife.forget(self.id);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A stream that falls with its session. See [`Cutoff::guard`].
pub struct Guarded<S> {
    stream: S,
    gone: CancellationToken,
    reads: Pin<Box<dyn Future<Output = ()> + Send>>,
    writes: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> Guarded<S> {
    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    fn open(&self) -> io::Result<()> {
        if self.gone.is_cancelled() { Err(fallen()) } else { Ok(()) }
    }

    /// While the stream inside waits, wait for the cut too.
    fn or_fall<T>(waiter: &mut Pin<Box<dyn Future<Output = ()> + Send>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        waiter.as_mut().poll(cx).map(|()| Err(fallen()))
    }
}

fn fallen() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the session was cut")
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.open()?;
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => Self::or_fall(&mut self.reads, cx),
            ready => ready,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.open()?;
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Pending => Self::or_fall(&mut self.writes, cx),
            ready => ready,
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.open()?;
        match Pin::new(&mut self.stream).poll_write_vectored(cx, bufs) {
            Poll::Pending => Self::or_fall(&mut self.writes, cx),
            ready => ready,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open()?;
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => Self::or_fall(&mut self.writes, cx),
            ready => ready,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => Self::or_fall(&mut self.writes, cx),
            ready => ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::access::time::{MovedClock, SystemClock};

    const START: Timestamp = Timestamp::from_micros(1_795_298_820_000_000);

    fn real() -> (Knife, Arc<dyn Clock>) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        (Knife::start(Arc::clone(&clock)).unwrap(), clock)
    }

    fn moved() -> (Knife, Arc<MovedClock>) {
        let clock = Arc::new(MovedClock::at(START));
        (Knife::start(Arc::clone(&clock) as _).unwrap(), clock)
    }

    fn in_ms(clock: &dyn Clock, ms: u64) -> Timestamp {
        clock.now().plus(Span::from_duration(Duration::from_millis(ms)))
    }

    fn seconds(n: u64) -> Timestamp {
        START.plus(Span::seconds(n))
    }

    fn eventually(what: &str, mut check: impl FnMut() -> bool) {
        let begun = SystemClock.since_boot();
        while !check() {
            assert!(SystemClock.since_boot() - begun < Duration::from_secs(10), "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it stays uncut: the knife had its chance to look.
    fn stays(knife: &Knife, cutoff: &Cutoff) -> bool {
        knife.wake();
        std::thread::sleep(Duration::from_millis(60));
        cutoff.reason().is_none()
    }

    #[test]
    fn the_hosts_socket_is_shut_within_the_promise() {
        let (knife, clock) = real();
        let (ours, mut hosts) = UnixStream::pair().unwrap();
        let cutoff = Cutoff::new(&knife, in_ms(&*clock, 150), Arc::clone(&clock));
        cutoff.hold(ours.try_clone().unwrap().into(), Side::Host);
        let begun = clock.since_boot();
        assert_eq!(hosts.read(&mut [0; 8]).unwrap(), 0, "end of file");
        let took = clock.since_boot() - begun;
        assert!(took >= Duration::from_millis(150) && took < Duration::from_millis(350), "{took:?}");
        assert_eq!(cutoff.reason(), Some(Ending::TimeUp));
        eventually("measured", || cutoff.late().host.is_some());
        assert!(cutoff.late().host.unwrap() < Duration::from_millis(100), "{:?}", cutoff.late());
        assert_eq!(cutoff.late().client, None);
    }

    #[test]
    fn a_polite_relay_is_faster_than_the_knife() {
        let (knife, clock) = real();
        let (ours, mut hosts) = UnixStream::pair().unwrap();
        let cutoff = Cutoff::new(&knife, in_ms(&*clock, 60_000), clock);
        cutoff.hold(ours.try_clone().unwrap().into(), Side::Host);
        cutoff.cut(Ending::Revoked);
        cutoff.release(Side::Host);
        assert_eq!(hosts.read(&mut [0; 8]).unwrap(), 0);
        assert!(cutoff.late().host.unwrap() < HOST_GRACE);
        // A late holder finds the side already fallen.
        std::thread::sleep(HOST_GRACE * 2);
        let (ours, mut hosts) = UnixStream::pair().unwrap();
        cutoff.hold(ours.into(), Side::Host);
        assert_eq!(hosts.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn a_release_in_peace_keeps_the_connection() {
        let (knife, clock) = real();
        let (ours, mut hosts) = UnixStream::pair().unwrap();
        let cutoff = Cutoff::new(&knife, in_ms(&*clock, 60_000), clock);
        cutoff.hold(ours.try_clone().unwrap().into(), Side::Host);
        cutoff.release(Side::Host);
        cutoff.cut(Ending::Killed);
        std::thread::sleep(HOST_GRACE * 2);
        std::io::Write::write_all(&mut &ours, b"x").unwrap();
        assert_eq!(hosts.read(&mut [0; 8]).unwrap(), 1);
        // Dropped without a cut, the knife's duplicate goes too.
        cutoff.hold(ours.into(), Side::Outer);
        cutoff.release(Side::Outer);
        assert_eq!(hosts.read(&mut [0; 8]).unwrap(), 0);
    }

    #[tokio::test]
    async fn the_guarded_tunnel_falls_and_wakes_both_halves() {
        let (knife, clock) = real();
        let cutoff = Cutoff::new(&knife, in_ms(&*clock, 100), Arc::clone(&clock));
        let (ours, _stopped_client) = tokio::io::duplex(16);
        let (mut reads, mut writes) = tokio::io::split(cutoff.guard(ours, Side::Client));
        let reading = tokio::spawn(async move { reads.read_u8().await.map_err(|e| e.kind()) });
        let writing = tokio::spawn(async move { writes.write_all(&[7; 1000]).await.map_err(|e| e.kind()) });
        assert_eq!(cutoff.fell().await, Ending::TimeUp);
        assert!(!reading.is_finished() && !writing.is_finished(), "last words have their time");
        assert_eq!(reading.await.unwrap(), Err(io::ErrorKind::TimedOut));
        assert_eq!(writing.await.unwrap(), Err(io::ErrorKind::TimedOut));
        let late = cutoff.late().client.unwrap();
        assert!(late >= CLIENT_GRACE && late < Duration::from_secs(1), "{late:?}");
    }

    #[test]
    fn the_first_reason_wins() {
        let (knife, clock) = real();
        let cutoff = Cutoff::new(&knife, in_ms(&*clock, 60_000), clock);
        let racers: Vec<_> = Ending::ALL
            .into_iter()
            .map(|why| {
                let cutoff = cutoff.clone();
                std::thread::spawn(move || cutoff.cut(why))
            })
            .collect();
        racers.into_iter().for_each(|r| r.join().unwrap());
        let (why, at) = (cutoff.reason(), cutoff.cut_at());
        assert!(why.is_some());
        cutoff.cut(Ending::Left);
        assert_eq!((cutoff.reason(), cutoff.cut_at()), (why, at));
    }

    #[test]
    fn a_clock_set_back_lengthens_nothing_and_one_set_on_ends() {
        let (knife, clock) = moved();
        let cutoff = Cutoff::new(&knife, seconds(100), Arc::clone(&clock) as _);
        clock.advance(Span::seconds(60));
        clock.set_wall(START.minus(Span::seconds(5000)));
        clock.advance(Span::seconds(39));
        assert!(stays(&knife, &cutoff));
        clock.advance(Span::seconds(1));
        knife.wake();
        eventually("cut by BOOTTIME", || cutoff.reason() == Some(Ending::TimeUp));
        assert_eq!(cutoff.cut_at(), Some(clock.since_boot()));

        let cutoff = Cutoff::new(&knife, clock.now().plus(Span::seconds(100)), Arc::clone(&clock) as _);
        clock.set_wall(clock.now().plus(Span::seconds(100)));
        knife.wake();
        eventually("cut by the wall", || cutoff.reason() == Some(Ending::TimeUp));
    }

    #[test]
    fn an_extension_moves_both_hands() {
        let (knife, clock) = moved();
        let cutoff = Cutoff::new(&knife, seconds(100), Arc::clone(&clock) as _);
        cutoff.extend(seconds(200));
        assert_eq!(cutoff.ends(), Some(seconds(200)));
        clock.advance(Span::seconds(150));
        assert!(stays(&knife, &cutoff));
        // An earlier end changes nothing.
        cutoff.extend(seconds(120));
        assert!(stays(&knife, &cutoff));
        clock.advance(Span::seconds(50));
        knife.wake();
        eventually("cut", || cutoff.reason() == Some(Ending::TimeUp));
        cutoff.extend(seconds(900));
        assert_eq!(cutoff.reason(), Some(Ending::TimeUp));
    }

    #[test]
    fn an_end_in_the_past_ends_at_once() {
        let (knife, clock) = moved();
        let cutoff = Cutoff::new(&knife, START.minus(Span::seconds(1)), clock as _);
        eventually("cut", || cutoff.reason() == Some(Ending::TimeUp));
    }

    #[tokio::test]
    async fn idleness_is_warned_of_and_then_ends() {
        let (knife, clock) = moved();
        let cutoff = Cutoff::new(&knife, seconds(90_000), Arc::clone(&clock) as _);
        cutoff.log_off_after(Span::minutes(10));
        clock.advance(Span::minutes(7));
        cutoff.touch();
        clock.advance(Span::minutes(7));
        assert!(stays(&knife, &cutoff));
        clock.advance(Span::minutes(1));
        knife.wake();
        cutoff.warned().await;
        assert_eq!(cutoff.reason(), None);
        cutoff.touch();
        clock.advance(Span::minutes(9));
        knife.wake();
        cutoff.warned().await;
        clock.advance(Span::minutes(1));
        knife.wake();
        assert_eq!(cutoff.fell().await, Ending::Idle);
    }

    #[test]
    fn thousands_of_deadlines() {
        let (knife, clock) = real();
        let ends: Vec<_> = (0..4000u64).map(|i| Cutoff::new(&knife, in_ms(&*clock, 200 + (i * 7919) % 300), Arc::clone(&clock))).collect();
        // Few with a socket: a test may have no more than 1024 descriptors.
        ends.iter().step_by(40).for_each(|c| c.hold(UnixStream::pair().unwrap().0.into(), Side::Host));
        eventually("all closed", || ends.iter().step_by(40).all(|c| c.late().host.is_some()));
        let worst = ends.iter().filter_map(|c| c.late().host).max().unwrap();
        assert!(worst < Duration::from_millis(300), "{worst:?}");
        assert!(ends.iter().all(|c| c.reason() == Some(Ending::TimeUp)));
    }

    #[test]
    fn the_outer_socket_outlives_the_session_until_its_grace() {
        let (knife, clock) = moved();
        let (ours, hosts) = UnixStream::pair().unwrap();
        let cutoff = Cutoff::new(&knife, seconds(100), Arc::clone(&clock) as _);
        cutoff.hold(ours.try_clone().unwrap().into(), Side::Outer);
        cutoff.cut(Ending::Killed);
        cutoff.close();
        drop(cutoff);
        hosts.set_nonblocking(true).unwrap();
        let kind = |r: io::Result<usize>| r.map_err(|e| e.kind());
        assert_eq!(kind((&hosts).read(&mut [0; 8])), Err(io::ErrorKind::WouldBlock));
        clock.advance(Span::seconds(11));
        knife.wake();
        eventually("shut", || kind((&hosts).read(&mut [0; 8])) == Ok(0));
    }
}
