//! The first acts of a bastion that starts, and its last one. What a killed bastion left live is ended here, once.

use super::{Broker, Error, Fault};
use crate::access::names::Actor;
use crate::audit::digest::Digest;
use crate::audit::event::Event;
use crate::recording::RecoveredSession;
use crate::session::Ending;

use super::visit::closed;

impl Broker {
    /// The bastion begins to serve: an event with the key that signs its log.
    pub async fn started(&self) -> Result<(), Error> {
        let checkpoint_key = self.signer.as_ref().map(crate::ca::note::NoteSigner::verifier).unwrap_or_default();
        self.tell(&Actor::System, Event::BastionStarted { version: VERSION.into(), checkpoint_key }).await
    }

    /// The bastion was told to stop, and has ended so many sessions: its last event, and the head signed over it.
    pub async fn stopped_serving(&self, sessions: u64) -> Result<(), Error> {
        self.tell(&Actor::System, Event::BastionStopped { sessions }).await?;
        Ok(self.checkpoint().await?)
    }

    /// Ends every session of this node that a killed bastion left live, with what was `found` of its recordings. Before the first
    /// connection, by the one process that serves; doing it again changes nothing.
    pub async fn recover(&self, found: Vec<RecoveredSession>) -> Result<(), Fault> {
        let mut left = self.reader().live().await.map_err(|e| self.fault(&e))?;
        for RecoveredSession { journal, meta, sealed } in found {
            let sealed = match sealed {
                Ok(sealed) => sealed,
                Err(error) => {
                    self.fault(&format!("{} could not be finished: {error}", journal.display()));
                    continue;
                }
            };
            let session = meta.map(|meta| meta.session);
            if let Some(at) = left.iter().position(|row| session.as_ref() == Some(&row.id)) {
                let row = left.swap_remove(at);
                let ending = sealed.ending.parse().unwrap_or(Ending::Shutdown);
                let event = Event::SessionRecovered {
                    session: row.id.clone(),
                    manifest: Some(Digest::from_bytes(sealed.digest)),
                    recordings: sealed.channels.len() as u64,
                    bytes: sealed.channels.iter().map(|channel| channel.bytes).sum(),
                    torn: 0,
                };
                self.keep_closed(closed(row.id, ending, Some(&sealed), None, None), event).await?;
            }
            // Its digest is in the log: now, or since before the crash.
            sealed.let_go().map_err(|e| self.fault(&e))?;
        }
        for row in left {
            let event = Event::SessionRecovered { session: row.id.clone(), manifest: None, recordings: 0, bytes: 0, torn: 0 };
            self.keep_closed(closed(row.id, Ending::Shutdown, None, None, None), event).await?;
        }
        self.checkpoint().await
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
