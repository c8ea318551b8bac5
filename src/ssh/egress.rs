//! What of a grant's bytes towards the client one session may still let through. Every channel of every kind spends from here.
//!
//! A session takes its bytes from the store a share at a time and spends them to the last one: what was taken is spent for all other
//! sessions, so that no crash and no other node lets more through. Whoever passes bytes waits until there is enough for any message
//! ([`Egress::ready`]), or until the grant has no more to give; then the first byte too many ends the session.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// The purse of one session; without limit where its rule sets none.
#[derive(Debug, Default)]
pub(crate) struct Egress(Option<Purse>);

#[derive(Debug)]
struct Purse {
    left: Cell<u64>,
    /// What was left when it was last filled.
    filled: Cell<u64>,
    /// The grant gives no more.
    last: Cell<bool>,
    over: Cell<bool>,
    done: Cell<bool>,
    low: Notify,
    more: Notify,
}

impl Egress {
    /// Of a session whose rule sets no limit.
    pub(crate) fn unlimited() -> Self {
        Self(None)
    }

    /// Of a session that begins with so many bytes.
    pub(crate) fn of(bytes: u64) -> Self {
        Self(Some(Purse {
            left: Cell::new(bytes),
            filled: Cell::new(bytes),
            last: Cell::new(false),
            over: Cell::new(false),
            done: Cell::new(false),
            low: Notify::new(),
            more: Notify::new(),
        }))
    }

    /// Whether any one message may pass, or else none will ever again.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.as_ref().is_none_or(|purse| {
            purse.ask();
            purse.last.get() || purse.left.get() >= MESSAGE
        })
    }

    /// Waits for that.
    pub(crate) async fn ready(&self) {
        let Some(purse) = &self.0 else { return };
        loop {
            let more = purse.more.notified();
            if self.is_ready() {
                return;
            }
            more.await;
        }
    }

    /// Spends `bytes`; returns how many of them may pass. Fewer than there are: it is [over](Egress::is_over).
    pub(crate) fn spend(&self, bytes: usize) -> usize {
        let Some(purse) = &self.0 else { return bytes };
        let passes = usize::try_from(purse.left.get()).map_or(bytes, |left| left.min(bytes));
        purse.left.set(purse.left.get() - passes as u64);
        purse.over.set(purse.over.get() || passes < bytes);
        passes
    }

    /// Somebody wanted to let more through than there is.
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|purse| purse.over.get())
    }

    /// What was taken and not spent.
    pub(crate) fn left(&self) -> u64 {
        self.0.as_ref().map_or(0, |purse| purse.left.get())
    }

    /// Nothing will pass any more: [`Egress::keep_filled`] comes back.
    pub(crate) fn close(&self) {
        if let Some(purse) = &self.0 {
            purse.done.set(true);
            purse.low.notify_one();
        }
    }

    /// Fills it whenever it runs low, with what `take` gets of the grant: nothing means that there is no more. Comes back when it is
    /// closed, and not to be dropped before: what was being taken then goes back with the rest.
    pub(crate) async fn keep_filled<E, F: Future<Output = Result<u64, E>>>(&self, take: impl Fn() -> F) {
        let Some(purse) = &self.0 else { return };
        loop {
            purse.low.notified().await;
            if purse.done.get() {
                return;
            }
            // What cannot be counted does not pass: without an answer the bytes wait, until the store is back or the session ends.
            match take().await {
                Ok(more) => purse.fill(more),
                Err(_) => {
                    sleep(AGAIN).await;
                    purse.low.notify_one();
                }
            }
        }
    }
}

impl Purse {
    fn ask(&self) {
        let left = self.left.get();
        if !self.last.get() && left < (self.filled.get() / 2).max(MESSAGE) {
            self.low.notify_one();
        }
    }

    fn fill(&self, more: u64) {
        let left = self.left.get().saturating_add(more);
        self.left.set(left);
        self.filled.set(left);
        self.last.set(self.last.get() || more == 0);
        self.ask();
        self.more.notify_waiters();
    }
}

/// No message is longer: the transport takes no longer packet.
const MESSAGE: u64 = 256 * 1024;

/// Between two tries to reach the store.
const AGAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn without_a_limit_everything_passes_at_once() {
        let egress = Egress::unlimited();
        assert!(egress.is_ready() && egress.spend(usize::MAX) == usize::MAX && !egress.is_over() && egress.left() == 0);
    }

    proptest! {
        /// Whatever shares come, in whatever messages it is spent: exactly the whole passes, and then not one byte.
        #[test]
        fn exactly_what_there_is_passes(
            first in 0u64..600_000,
            shares in prop::collection::vec(1u64..600_000, 0..8),
            messages in prop::collection::vec(1usize..40_000, 1..200),
        ) {
            let whole = first + shares.iter().sum::<u64>();
            let egress = Egress::of(first);
            let rest = RefCell::new(shares.into_iter());
            let wanted: u64 = messages.iter().map(|n| *n as u64).sum();
            let passed = Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
                let spend = async {
                    let mut passed = 0;
                    for message in messages {
                        egress.ready().await;
                        passed += egress.spend(message) as u64;
                        if egress.is_over() {
                            break;
                        }
                    }
                    passed
                };
                let take = || std::future::ready(Ok::<_, ()>(rest.borrow_mut().next().unwrap_or(0)));
                let spend = async {
                    let passed = spend.await;
                    egress.close();
                    passed
                };
                tokio::join!(spend, egress.keep_filled(take)).0
            });
            prop_assert_eq!(passed, wanted.min(whole));
            prop_assert_eq!(egress.is_over(), wanted > whole);
            let untaken: u64 = rest.into_inner().sum();
            prop_assert_eq!(egress.left(), whole - untaken - passed);
        }
    }
}
