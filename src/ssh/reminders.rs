//! Words to whoever is inside while a session goes on: it is about to be logged off as idle, its end is near, its end has moved.

use std::convert::Infallible;
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::sleep;

use super::relay::{Relay, Said};
use super::tap::Lands;
use crate::access::time::{Clock, Span, Timestamp};
use crate::broker::OpenSession;
use crate::session::idle_warning;

/// Says on every terminal of the session what its user must know in time. Never comes back; dropped with the relay.
pub(super) async fn remind<C, H, K>(relay: &Relay<'_, C, H, K>, open: &OpenSession, clock: &dyn Clock) -> Infallible
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    let mut ends = open.ends;
    let mut next = next_mark(ends.since(clock.now()).duration());
    loop {
        let words = tokio::select! {
            () = open.cutoff.warned() => open.idle.map(|idle| idle_words(idle.duration())),
            () = sleep(until(next, ends, clock.now())) => None,
        };
        if let Some(words) = words {
            tell(relay, &words).await;
        }
        let Some(now_ends) = open.cutoff.ends() else { continue };
        let left = now_ends.since(clock.now()).duration();
        if now_ends != ends {
            ends = now_ends;
            next = next_mark(left);
            tell(relay, &format!("your time ends at {ends} now, in {}", whole(left))).await;
        } else if next.is_some_and(|mark| left <= mark) {
            next = next_mark(left);
            tell(relay, &near_words(open, ends, left)).await;
        }
    }
}

/// Says it, again where the host was in the middle of an escape sequence or the client gave no room; for a few seconds.
async fn tell<C, H, K>(relay: &Relay<'_, C, H, K>, words: &str)
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    let mut heard = Vec::new();
    for _ in 0..TRIES {
        let said = relay.say(words, &mut heard);
        relay.speak().await;
        if said == Said::All {
            return;
        }
        sleep(BETWEEN).await;
    }
}

fn idle_words(idle: Duration) -> String {
    let ahead = idle_warning(idle);
    format!("nothing was typed for {}: you are logged off in {} unless you type", whole(idle.saturating_sub(ahead)), whole(ahead))
}

fn near_words(open: &OpenSession, ends: Timestamp, left: Duration) -> String {
    let grant = open.meta.right.under();
    format!("your time ends at {ends}, in {}; `ssh jit-bastion extend {grant} --for D --reason WHY` asks for more", whole(left))
}

/// In seconds, rounded up: nobody reads milliseconds.
fn whole(length: Duration) -> Span {
    Span::seconds(length.as_secs() + u64::from(length.subsec_nanos() > 0))
}

/// The next moment before the end at which something is to be said.
fn next_mark(left: Duration) -> Option<Duration> {
    MARKS.into_iter().find(|mark| left > *mark)
}

/// How long to sleep: to the next mark, but never so long that a moved end goes unnoticed.
fn until(next: Option<Duration>, ends: Timestamp, now: Timestamp) -> Duration {
    let left = ends.since(now).duration();
    next.map_or(LOOK, |mark| left.saturating_sub(mark)).min(LOOK)
}

/// How long before the end it is said, the longest first.
const MARKS: [Duration; 2] = [Duration::from_secs(5 * 60), Duration::from_secs(60)];

/// Between two looks at the end.
const LOOK: Duration = Duration::from_secs(2);

/// A terminal that is in the middle of something gets so many tries, with this between them.
const TRIES: usize = 40;
const BETWEEN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_once_each_and_none_when_it_is_late_already() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        assert_eq!(next_mark(minutes(60)), Some(minutes(5)));
        assert_eq!(next_mark(minutes(5)), Some(minutes(1)));
        assert_eq!(next_mark(minutes(1)), None);
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(until(Some(minutes(5)), at(301), at(0)), Duration::from_secs(1));
        assert_eq!(until(Some(minutes(5)), at(3600), at(0)), LOOK);
        assert_eq!(until(None, at(30), at(0)), LOOK);
    }

    #[test]
    fn the_words_say_how_long() {
        assert_eq!(idle_words(Duration::from_secs(15 * 60)), "nothing was typed for 13m: you are logged off in 2m unless you type");
        assert_eq!(idle_words(Duration::from_secs(2)), "nothing was typed for 1s: you are logged off in 1s unless you type");
    }
}
