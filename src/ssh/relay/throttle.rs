//! How fast a terminal may be filled: no reader follows a listing of many megabytes a second, and each of its bytes is kept. The client's
//! grants of window are passed on to the host at that rate, so nothing is queued and no other channel waits.

use std::convert::Infallible;
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, sleep};

use super::Relay;
use crate::ssh::tap::Lands;
use crate::wire::channel;

/// One terminal's rate: a second's worth at once, then as much a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Throttle {
    rate: u64,
    tokens: u64,
    at: Instant,
    /// Granted by the client and not passed on yet.
    owed: u64,
}

impl Throttle {
    pub(super) fn of(rate: u64, now: Instant) -> Self {
        Self { rate, tokens: rate, at: now, owed: 0 }
    }

    /// The client grants so much; how much of it the host gets now.
    pub(super) fn grant(&mut self, bytes: u32, now: Instant) -> u32 {
        self.owed = self.owed.saturating_add(bytes.into());
        self.release(now)
    }

    /// The client granted so much before; the host gets it in time.
    pub(super) fn hold(&mut self, bytes: u32) {
        self.owed = self.owed.saturating_add(bytes.into());
    }

    /// What the host gets now of what is owed.
    fn release(&mut self, now: Instant) -> u32 {
        let passed = u64::try_from(now.duration_since(self.at).as_micros()).unwrap_or(u64::MAX);
        let earned = passed.saturating_mul(self.rate) / 1_000_000;
        // A moment too short to earn a byte is not forgotten.
        if earned > 0 {
            self.at = now;
            self.tokens = self.tokens.saturating_add(earned).min(self.rate);
        }
        let passes = u32::try_from(self.owed.min(self.tokens)).unwrap_or(u32::MAX);
        self.tokens -= u64::from(passes);
        self.owed -= u64::from(passes);
        passes
    }

    pub(super) fn owes(&self) -> bool {
        self.owed > 0
    }
}

impl<C, H, K> Relay<'_, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    /// Passes on in time what is owed to hosts. Never comes back.
    pub(super) async fn pay_windows(&self) -> Infallible {
        loop {
            self.owes.notified().await;
            while self.pay() {
                // Whoever reads from the host notices when it is gone.
                let _ = self.host.flush().await;
                sleep(OFTEN).await;
            }
        }
    }

    /// Whether something is still owed after this.
    fn pay(&self) -> bool {
        let now = Instant::now();
        let mut owes = false;
        for open in &mut self.table.borrow_mut().channels {
            let (Some(host), Some(throttle)) = (open.host.filter(|_| !open.client_closed && !open.answers.is_over()), &mut open.throttle)
            else {
                continue;
            };
            let passes = throttle.release(now);
            if passes > 0 {
                let _ = self.host.answer(channel::window_adjust(host, passes));
            }
            owes |= throttle.owes();
        }
        owes
    }
}

/// Small enough that output flows, seldom enough to cost nothing.
const OFTEN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_at_once_and_then_so_much_a_second() {
        let start = Instant::now();
        let after = |ms: u64| start + Duration::from_millis(ms);
        let mut throttle = Throttle::of(1000, start);
        assert_eq!(throttle.grant(600, start), 600);
        assert_eq!(throttle.grant(600, start), 400);
        assert!(throttle.owes());
        assert_eq!(throttle.release(after(100)), 100);
        assert_eq!(throttle.release(after(100)), 0);
        assert_eq!(throttle.release(after(400)), 100);
        assert!(!throttle.owes());
        assert_eq!(throttle.grant(5000, after(9_999)), 1000, "no more than a second is saved up");
        let mut passed = 0;
        for ms in 0..2000 {
            passed += u64::from(throttle.release(after(9_999 + ms)));
        }
        assert!((1998..=2000).contains(&passed), "{passed}");
    }
}
