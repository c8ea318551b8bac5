//! The knife: one thread of its own that ends sessions. It needs no runtime, no disk and no lock that a relay holds for longer than a
//! push onto its heap.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::net::{Shutdown, shutdown};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create, timerfd_settime,
};

use super::Ending;
use super::cutoff::{IDLE_WARNING, Inner, Side};
use crate::access::time::{Clock, Timestamp};

/// How often the knife looks when the kernel's timers refuse their service.
const WITHOUT_TIMERS: Duration = Duration::from_millis(10);
/// The wall timer is always armed, because it tells of a clock that was set: this far ahead when nothing is due.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// A handle on the knife's thread. The thread ends when the last handle and the last cutoff are gone.
#[derive(Clone)]
pub struct Knife(Arc<Handle>);

impl std::fmt::Debug for Knife {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Knife").finish_non_exhaustive()
    }
}

impl Knife {
    /// Starts the thread. Fails when the machine gives no thread or no timers.
    pub fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk::default()),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            clock,
        });
        let timers = Timers::new()?;
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("knife".into()).spawn(move || {
            let last_resort = AbortOnPanic;
            of_thread.run(&timers);
            std::mem::forget(last_resort);
        })?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Has the knife look at its deadlines now. Only tests that move a clock by hand need it.
    pub fn wake(&self) {
        self.0.0.ring();
    }

    pub(super) fn register(&self, deadlines: Deadlines, session: Weak<Inner>) -> u64 {
        let mut desk = self.desk();
        desk.last_id += 1;
        let id = desk.last_id;
        desk.entries.insert(id, Entry { deadlines, session, sockets: Default::default(), fallen: [false; 3], cut: false });
        id
    }

    /// From here on the session can end: its weak reference must hold, so this comes after [`Knife::register`].
    pub(super) fn arm(&self, id: u64) {
        let mut desk = self.desk();
        let Some(deadlines) = desk.entries.get(&id).map(|e| e.deadlines) else { return };
        desk.push(id, &deadlines);
        drop(desk);
        self.wake();
    }

    pub(super) fn extend(&self, id: u64, ends: Timestamp) {
        let mut desk = self.desk();
        let Some(entry) = desk.entries.get_mut(&id) else { return };
        let old = &mut entry.deadlines;
        // An end only moves on: of two that move it at the same time the earlier may come last.
        if ends <= old.wall {
            return;
        }
        old.boot = old.boot.saturating_add(ends.since(old.wall).duration());
        old.wall = ends;
        let deadlines = *old;
        desk.push(id, &deadlines);
        drop(desk);
        self.wake();
    }

    pub(super) fn ends(&self, id: u64) -> Option<Timestamp> {
        self.desk().entries.get(&id).map(|e| e.deadlines.wall)
    }

    pub(super) fn set_idle(&self, id: u64, idle: Duration, touched: Duration) {
        let mut desk = self.desk();
        let Some(entry) = desk.entries.get_mut(&id) else { return };
        entry.deadlines.idle = Some(idle);
        desk.boot.push(Reverse((touched + idle, id, Step::Idle)));
        desk.boot.push(Reverse((touched + idle.saturating_sub(idle_warning(idle)), id, Step::Warn)));
        drop(desk);
        self.wake();
    }

    pub(super) fn set_lost(&self, id: u64, at: Option<Duration>) {
        let mut desk = self.desk();
        let Some(entry) = desk.entries.get_mut(&id) else { return };
        entry.deadlines.lost = at;
        desk.boot.extend(at.map(|at| Reverse((at, id, Step::Lost))));
        drop(desk);
        self.wake();
    }

    /// Keeps the duplicate, or hands it back where that side has already fallen.
    pub(super) fn hold(&self, id: u64, socket: OwnedFd, side: Side) -> Option<OwnedFd> {
        let mut desk = self.desk();
        match desk.entries.get_mut(&id) {
            Some(entry) if !entry.fallen[side as usize] => {
                entry.sockets[side as usize].push(socket);
                None
            }
            _ => Some(socket),
        }
    }

    pub(super) fn release(&self, id: u64, side: Side) -> Vec<OwnedFd> {
        let mut desk = self.desk();
        desk.entries.get_mut(&id).map(|entry| std::mem::take(&mut entry.sockets[side as usize])).unwrap_or_default()
    }

    pub(super) fn schedule_falls(&self, id: u64, at: Duration) {
        let mut desk = self.desk();
        let Some(entry) = desk.entries.get_mut(&id) else { return };
        entry.cut = true;
        for side in Side::ALL {
            desk.boot.push(Reverse((at.saturating_add(side.grace()), id, Step::Fall(side as u8))));
        }
        drop(desk);
        self.wake();
    }

    /// Drops what is held. After a cut the outer socket stays, because it may have to fall later.
    pub(super) fn forget(&self, id: u64) {
        let mut desk = self.desk();
        let outer = desk.entries.get_mut(&id).filter(|e| e.cut).map(|e| std::mem::take(&mut e.sockets[Side::Outer as usize]));
        let entry = desk.entries.remove(&id);
        if let (Some(sockets), Some(entry)) = (outer.filter(|o| !o.is_empty()), &entry) {
            let sockets = [Vec::new(), Vec::new(), sockets];
            let (session, fallen) = (Weak::clone(&entry.session), [true, true, false]);
            desk.entries.insert(id, Entry { deadlines: entry.deadlines, session, sockets, fallen, cut: true });
        }
        desk.sweep();
        drop(desk);
        // Dropped after the lock is given back: closing a socket is a system call.
        drop(entry);
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.0.desk()
    }
}

/// When a session ends, on both hands of the clock, and how long it may be idle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) wall: Timestamp,
    pub(super) boot: Duration,
    pub(super) idle: Option<Duration>,
    /// While the store does not answer: when the session ends unless it does again.
    pub(super) lost: Option<Duration>,
}

/// What is to do when a moment on BOOTTIME has come. An entry on the heap may be stale: the session's deadlines decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The session's length has passed.
    End,
    /// A side falls, its grace is over.
    Fall(u8),
    /// The session may have been idle for too long.
    Idle,
    /// The session may be near that.
    Warn,
    /// The store may have been silent for too long.
    Lost,
}

struct Entry {
    deadlines: Deadlines,
    session: Weak<Inner>,
    sockets: [Vec<OwnedFd>; 3],
    fallen: [bool; 3],
    cut: bool,
}

#[derive(Default)]
struct Desk {
    entries: HashMap<u64, Entry>,
    wall: BinaryHeap<Reverse<(Timestamp, u64)>>,
    boot: BinaryHeap<Reverse<(Duration, u64, Step)>>,
    last_id: u64,
    stop: bool,
}

/// One thing to do once the lock is given back: waking and system calls never happen under it.
enum Stroke {
    End(Arc<Inner>, Duration, Ending),
    Fall(Option<Arc<Inner>>, Side, Vec<OwnedFd>),
    Warn(Arc<Inner>),
}

impl Desk {
    fn push(&mut self, id: u64, deadlines: &Deadlines) {
        self.wall.push(Reverse((deadlines.wall, id)));
        self.boot.push(Reverse((deadlines.boot, id, Step::End)));
    }

    /// Short sessions leave entries behind that would lie on the heaps until the grant's end: swept when they are the most of them.
    fn sweep(&mut self) {
        let Self { entries, wall, boot, .. } = self;
        if boot.len() > entries.len() * 8 + 1024 {
            wall.retain(|r| entries.contains_key(&r.0.1));
            boot.retain(|r| entries.contains_key(&r.0.1));
        }
    }

    /// Takes what is due at `now` (wall) and `boot`. `set` says that the wall was set just now, so that the distance to a wall
    /// deadline says nothing about lateness.
    fn due(&mut self, now: Timestamp, boot: Duration, set: bool) -> Vec<Stroke> {
        let mut strokes = Vec::new();
        while let Some(&Reverse((when, id))) = self.wall.peek().filter(|r| r.0.0 <= now) {
            self.wall.pop();
            let live = self.entries.get(&id).filter(|e| e.deadlines.wall <= now);
            let session = live.and_then(|e| e.session.upgrade());
            let ended = if set { boot } else { boot.saturating_sub(now.since(when).duration()) };
            strokes.extend(session.map(|s| Stroke::End(s, ended, Ending::TimeUp)));
        }
        while let Some(&Reverse((when, id, step))) = self.boot.peek().filter(|r| r.0.0 <= boot) {
            self.boot.pop();
            let stroke = self.step(when, id, step, boot);
            strokes.extend(stroke);
        }
        strokes
    }

    fn step(&mut self, when: Duration, id: u64, step: Step, boot: Duration) -> Option<Stroke> {
        let entry = self.entries.get_mut(&id)?;
        if let Step::Fall(side) = step {
            let side = *Side::ALL.get(usize::from(side))?;
            entry.fallen[side as usize] = true;
            let (session, sockets) = (entry.session.upgrade(), std::mem::take(&mut entry.sockets[side as usize]));
            if session.is_none() && side == Side::Outer {
                self.entries.remove(&id);
            }
            return Some(Stroke::Fall(session, side, sockets));
        }
        let session = entry.session.upgrade()?;
        match step {
            Step::End => (entry.deadlines.boot <= boot).then_some(Stroke::End(session, when, Ending::TimeUp)),
            Step::Lost => entry.deadlines.lost.filter(|at| *at <= boot).map(|at| Stroke::End(session, at, Ending::StoreLost)),
            Step::Fall(_) => None,
            Step::Idle | Step::Warn => {
                let idle = entry.deadlines.idle?;
                let ahead = if step == Step::Warn { idle_warning(idle) } else { Duration::ZERO };
                let really = session.touched().saturating_add(idle).saturating_sub(ahead);
                if really > boot {
                    self.boot.push(Reverse((really, id, step)));
                    return None;
                }
                if step == Step::Idle {
                    return Some(Stroke::End(session, really, Ending::Idle));
                }
                // The next stretch of idleness can begin no earlier than now.
                self.boot.push(Reverse((boot.saturating_add(idle).saturating_sub(ahead), id, Step::Warn)));
                Some(Stroke::Warn(session))
            }
        }
    }
}

/// How long before the logoff of a session that may be idle for `idle` the warning comes.
pub fn idle_warning(idle: Duration) -> Duration {
    IDLE_WARNING.min(idle / 2)
}

struct Shared {
    desk: Mutex<Desk>,
    bell: OwnedFd,
    clock: Arc<dyn Clock>,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // The only error is a full counter, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn run(&self, timers: &Timers) {
        let mut set = false;
        loop {
            let (now, boot) = (self.clock.now(), self.clock.since_boot());
            let (strokes, wall, next, stop) = {
                let mut desk = self.desk();
                let strokes = desk.due(now, boot, set);
                let wall = desk.wall.peek().map(|r| r.0.0);
                let next = desk.boot.peek().map(|r| r.0.0);
                (strokes, wall, next, desk.stop)
            };
            if stop {
                return;
            }
            let idle = strokes.is_empty();
            strokes.into_iter().for_each(Stroke::strike);
            set = false;
            if idle {
                let wall = wall.map_or(FAR, |w| w.since(now).duration().min(FAR));
                let next = next.map(|n| n.saturating_sub(boot));
                set = timers.wait(wall, next, &self.bell).unwrap_or_else(|_| {
                    std::thread::sleep(WITHOUT_TIMERS);
                    false
                });
            }
        }
    }
}

impl Stroke {
    fn strike(self) {
        match self {
            Self::End(session, at, why) => session.fall(why, at),
            Self::Fall(Some(session), side, sockets) => session.close(side, sockets, true),
            Self::Fall(None, _, sockets) => sockets.iter().for_each(|s| {
                let _ = shutdown(s, Shutdown::Both);
            }),
            Self::Warn(session) => session.warn_idle(),
        }
    }
}

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.desk().stop = true;
        self.0.ring();
    }
}

/// A bastion that cannot cut must not go on: a panic on the knife's thread ends the process.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

struct Timers {
    boot: OwnedFd,
    wall: OwnedFd,
}

impl Timers {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { boot: timerfd_create(TimerfdClockId::Boottime, flags)?, wall: timerfd_create(TimerfdClockId::Realtime, flags)? })
    }

    /// Sleeps until `wall` from now has passed on the wall, `boot` from now on BOOTTIME, the bell rings, or the wall is set (then true).
    fn wait(&self, wall: Duration, boot: Option<Duration>, bell: &OwnedFd) -> io::Result<bool> {
        let set_or_due = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&self.wall, set_or_due, &at(ClockId::Realtime, wall))?;
        timerfd_settime(&self.boot, TimerfdTimerFlags::ABSTIME, &at(ClockId::Boottime, boot.unwrap_or(FAR).min(FAR)))?;
        let mut fds = [&self.boot, &self.wall, bell].map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut count = [0u8; 8];
        let set = matches!(rustix::io::read(&self.wall, &mut count), Err(rustix::io::Errno::CANCELED));
        for fd in [&self.boot, bell] {
            let _ = rustix::io::read(fd, &mut count);
        }
        Ok(set)
    }
}

/// The moment that lies `ahead` of now on a clock. Read from the kernel, so that it also holds for a clock that a test moves.
fn at(clock: ClockId, ahead: Duration) -> Itimerspec {
    let now = clock_gettime(clock);
    let nanos = now.tv_nsec + i64::from(ahead.subsec_nanos());
    let seconds = now.tv_sec + i64::try_from(ahead.as_secs()).unwrap_or(0) + nanos / 1_000_000_000;
    let value = Timespec { tv_sec: seconds, tv_nsec: nanos % 1_000_000_000 };
    Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value }
}
