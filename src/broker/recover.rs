//! The first acts of a bastion that starts, and its last one. What a killed bastion left live is ended here, once.

use std::collections::BTreeSet;

use super::visit::closed;
use super::{Broker, Error, Fault};
use crate::access::names::{Actor, SessionId};
use crate::audit::digest::Digest;
use crate::audit::event::Event;
use crate::recording::{RecoveredSession, SealedSession};
use crate::session::Ending;
use crate::store::{ClosedSession, Outcome, Urgency, Waiting};

impl Broker {
    /// The bastion begins to serve: an event with the key that signs its log.
    pub async fn started(&self) -> Result<(), Error> {
        let checkpoint_key = self.note_signer().map(|signer| signer.verifier()).unwrap_or_default();
        self.tell(&Actor::System, Event::BastionStarted { version: VERSION.into(), checkpoint_key }).await
    }

    /// The bastion was told to stop, and has ended so many sessions: its last event, and the head signed over it.
    pub async fn stopped_serving(&self, sessions: u64) -> Result<(), Error> {
        self.ask_again().await;
        let event = Event::BastionStopped { sessions, happened_us: None, written_late_us: None };
        match self.tell(&Actor::System, event).await {
            Err(Error::Fault(fault)) if fault.is_store_lost() => {
                self.keep_waiting(Waiting::Stopped { at: self.now(), sessions }).await;
                Ok(())
            }
            told => {
                told?;
                Ok(self.checkpoint().await?)
            }
        }
    }

    /// Ends every session of this node that a killed bastion left live, with what was `found` of its recordings. A session whose
    /// recordings could not be finished stays as it is for the next start. Before the first connection, by the one process that serves;
    /// doing it again changes nothing.
    pub async fn recover(&self, found: Vec<RecoveredSession>) -> Result<(), Fault> {
        let live = self.reader().live(self.now()).await.map_err(|e| self.fault(&e))?;
        let mut left: BTreeSet<SessionId> = live.rows.into_iter().map(|row| row.id).collect();
        for (id, why) in live.unread {
            self.fault(&format!("the live session {id} cannot be read and is ended as far as it is known: {why}"));
            match SessionId::parse(&id) {
                Ok(id) => drop(left.insert(id)),
                Err(_) => drop(self.fault(&format!("the session {id} has no id that an event could name; its row stays as it is"))),
            }
        }
        for RecoveredSession { journal, meta, sealed } in found {
            let session = meta.map(|meta| meta.session);
            let was_live = session.as_ref().is_some_and(|id| left.remove(id));
            match sealed {
                Err(error) => {
                    self.fault(&format!("{} could not be finished: {error}", journal.display()));
                }
                Ok(sealed) => self.keep_recovered(&sealed, was_live).await?,
            }
        }
        for id in left {
            // Not one byte of it was kept, so not one was shown.
            let event = recovered(&id, None);
            self.keep_closed(closed(id, Ending::Shutdown, None, None, None), event).await?;
        }
        self.checkpoint().await
    }

    /// A session that ended without a seal has one after all. Doing it again changes nothing.
    pub async fn sealed_later(&self, sealed: &SealedSession) -> Result<(), Fault> {
        self.keep_recovered(sealed, false).await?;
        self.checkpoint().await
    }

    /// The digest goes into the log, unless it is there since before the crash; then the journal goes.
    async fn keep_recovered(&self, sealed: &SealedSession, was_live: bool) -> Result<(), Fault> {
        let id = sealed.meta.session.clone();
        // An interrupted session has no ending of its own.
        let ending = sealed.ending.parse().unwrap_or(Ending::Shutdown);
        let closed = closed(id.clone(), ending, Some(sealed), None, None);
        let event = recovered(&id, Some(sealed));
        if was_live {
            self.keep_closed(closed, event).await?;
        } else {
            let row = self.reader().session(&id).await.map_err(|e| self.fault(&e))?;
            match row {
                Some(row) if row.sealed.is_some() => {}
                Some(_) => self.keep_sealed(closed, event).await?,
                None if self.keep_recovered_audit(sealed, event).await? => {}
                None => {
                    self.fault(&format!("the journal of {id} was found, and the store does not know that session; it stays"));
                    return Ok(());
                }
            }
        }
        sealed.let_go().map_err(|e| self.fault(&e))
    }

    async fn keep_sealed(&self, closed: ClosedSession, event: Event) -> Result<(), Fault> {
        let done = self.act(Urgency::Ordinary, Actor::System, move |tx| {
            Box::pin(async move {
                tx.seal_session(&closed).await?;
                Ok(Outcome::Changed((), event))
            })
        });
        done.await.map_err(|error| self.as_fault(error))
    }
}

pub(super) fn recovered(id: &SessionId, sealed: Option<&SealedSession>) -> Event {
    let channels = sealed.map(|sealed| sealed.channels.as_slice()).unwrap_or_default();
    Event::SessionRecovered {
        session: id.clone(),
        manifest: sealed.map(|sealed| Digest::from_bytes(sealed.digest)),
        recordings: channels.len() as u64,
        bytes: channels.iter().map(|channel| channel.bytes).sum(),
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
