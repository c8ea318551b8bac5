//! What other nodes say when they have written: look now. A hint, never more: whoever waits for it also looks without being told.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool, PgPoolOptions};

use super::open::Place;
use super::{Store, postgres};

/// Listens to the other nodes.
pub struct Hints(Option<Line>);

struct Line {
    pool: PgPool,
    listener: Option<PgListener>,
}

impl Store {
    /// What the other nodes say from now on. On SQLite nobody says anything: its processes look often.
    pub fn hints(&self) -> Hints {
        let line = match &self.0.at {
            Place::Postgres(options) => {
                let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(postgres::of_its_own(options, "listen"));
                Some(Line { pool, listener: None })
            }
            Place::Sqlite(_) => None,
        };
        Hints(line)
    }
}

impl Hints {
    /// Nobody is ever heard: all hints are lost.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Comes back when there may be something new: another process wrote, or the connection broke, so that nobody knows what was missed.
    /// May be given up at any time.
    pub async fn heard(&mut self) {
        let Some(line) = &mut self.0 else { return std::future::pending().await };
        let Some(listener) = &mut line.listener else { return line.connect().await };
        match listener.try_recv().await {
            // Many at once are one.
            Ok(Some(_)) => while listener.next_buffered().is_some() {},
            // Whatever it was, what was said meanwhile is lost: look, and listen anew.
            Ok(None) | Err(_) => line.listener = None,
        }
    }
}

impl Line {
    async fn connect(&mut self) {
        loop {
            match self.listen().await {
                Ok(listener) => {
                    self.listener = Some(listener);
                    return;
                }
                Err(error) => tracing::debug!(%error, "the other nodes cannot be heard"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(postgres::CHANNEL).await?;
        Ok(listener)
    }
}

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
