//! The metrics' door: `GET /metrics`, nothing else, to one scraper at a time or a few.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::audit::event::Event;
use crate::broker::Broker;
use crate::metrics::{Page, Tally};
use crate::store::Store;

/// What a scrape tells of.
pub(super) struct Scrape {
    pub broker: Arc<Broker>,
    pub tally: Arc<Tally>,
    /// Where the recordings lie: how much room is left there.
    pub recordings: PathBuf,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    events: BTreeMap<&'static str, u64>,
    endings: BTreeMap<String, u64>,
    /// The latest cut yet, in milliseconds, at the host and at the client.
    worst: (u64, u64),
}

impl Scrape {
    pub fn new(broker: Arc<Broker>, tally: Arc<Tally>, recordings: PathBuf) -> Arc<Self> {
        Arc::new(Self { broker, tally, recordings, counts: Mutex::default() })
    }

    /// Counts what this process logs, for ever.
    pub async fn listen(&self, store: &Store) {
        let mut entries = store.entries();
        loop {
            match entries.recv().await {
                Ok(entry) => self.count(&entry.event),
                // Counts are no evidence: what was missed is missing.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    fn count(&self, event: &Event) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.events.entry(event.name()).or_default() += 1;
        if let Event::SessionClosed { ending, late_host_ms, late_client_ms, .. } = event {
            *counts.endings.entry(ending.clone()).or_default() += 1;
            counts.worst.0 = counts.worst.0.max(late_host_ms.unwrap_or(0));
            counts.worst.1 = counts.worst.1.max(late_client_ms.unwrap_or(0));
        }
    }

    /// Answers scrapers, for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(SCRAPERS));
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // One too many is closed at once.
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
            let scrape = Arc::clone(&self);
            tokio::spawn(async move {
                let _ = timeout(PATIENCE, scrape.answer(stream)).await;
                drop(place);
            });
        }
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut asked = Vec::new();
        let mut piece = [0; 1024];
        while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
            let n = stream.read(&mut piece).await?;
            asked.extend_from_slice(piece.get(..n).unwrap_or_default());
            if n == 0 || asked.len() > LONGEST {
                return Ok(());
            }
        }
        let (status, body) = match wanted(&asked) {
            true => ("200 OK", self.page().await),
            false => ("404 Not Found", "there is /metrics here, and nothing else\n".into()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    }

    async fn page(&self) -> String {
        let mut page = Page::default();
        page.info("build_info", "The program's version.", "version", env!("CARGO_PKG_VERSION"));
        page.info("policy_info", "SHA-256 of the policy in force.", "policy", &self.broker.policy().digest());
        self.tally.write(&mut page);
        page.gauge("sessions_live", "Sessions that go on here.", self.broker.live().list().len() as u64);
        let newest = self.broker.reader().newest().await;
        page.gauge("store_up", "1 when the store answers.", u64::from(newest.is_ok()));
        if let Ok(space) = rustix::fs::statvfs(&self.recordings) {
            page.gauge("recordings_free_bytes", "Room where the recordings lie.", space.f_bavail.saturating_mul(space.f_frsize));
        }
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let events = counts.events.iter().map(|(name, n)| (*name, *n));
        page.counters("events_total", "Events that this process logged, by name.", "event", events);
        let endings = counts.endings.iter().map(|(name, n)| (name.as_str(), *n));
        page.counters("sessions_ended_total", "Sessions that ended here, by ending.", "ending", endings);
        page.gauge("cut_late_host_ms_worst", "The latest cut since the start, at the host's socket; promised under 100.", counts.worst.0);
        page.gauge("cut_late_client_ms_worst", "The same at the client's socket; promised under 1000.", counts.worst.1);
        drop(counts);
        page.text()
    }
}

/// Is this a request for the page?
fn wanted(asked: &[u8]) -> bool {
    let line = asked.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    words.next() == Some(b"GET") && words.next().is_some_and(|path| path.split(|b| *b == b'?').next() == Some(b"/metrics"))
}

/// Scrapers at the same time.
const SCRAPERS: usize = 4;
/// A request's head at most.
const LONGEST: usize = 8 * 1024;
/// For one scrape from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_page_is_there() {
        for (asked, is_it) in [
            (&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[..], true),
            (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", true),
            (b"POST /metrics HTTP/1.1\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\n\r\n", false),
            (b"GET /metricsx HTTP/1.1\r\n\r\n", false),
            (b"\r\n\r\n", false),
        ] {
            assert_eq!(wanted(asked), is_it, "{asked:?}");
        }
    }
}
