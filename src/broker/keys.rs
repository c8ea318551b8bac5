//! The keys of a bastion that serves: those that are in force, and how it takes over others that somebody has sealed into the store, here or
//! on another node, without ending a session.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::{Broker, Error, Fault, Serving};
use crate::access::names::Actor;
use crate::access::refusal::Refusal;
use crate::audit::checkpoint::{Checkpoint, NoteError, NoteKey};
use crate::audit::event::Event;
use crate::ca::keyring::Keyring;
use crate::ca::note::{NoteKeyError, NoteSigner};
use crate::session::Knife;
use crate::store::{Outcome, Urgency};

/// Opens a sealed ring with the passphrase as it lies there now. Slow; says in one line why it cannot.
pub type Reopen = Arc<dyn Fn(&str) -> Result<Keyring, String> + Send + Sync>;

/// What a bastion that serves has in its hands.
pub(super) struct Opened {
    ring: RwLock<Arc<Keyring>>,
    signer: RwLock<Arc<NoteSigner>>,
    pub(super) knife: Knife,
    reopen: OnceLock<Reopen>,
    /// The version of the sealed ring that is in force.
    version: AtomicI64,
    /// Why the ring that replaced stolen keys cannot be taken over, while it cannot.
    barred: RwLock<Option<String>>,
    /// Held while a head is signed, so that none is signed by a key that was replaced while it was made.
    signing: Mutex<()>,
}

impl Opened {
    pub(super) fn new(serving: Serving, node: &str) -> Result<Self, NoteKeyError> {
        let Serving { keys, knife } = serving;
        let signer = RwLock::new(Arc::new(keys.note_signer(node)?));
        Ok(Self {
            ring: RwLock::new(Arc::new(keys)),
            signer,
            knife,
            reopen: OnceLock::new(),
            version: AtomicI64::new(0),
            barred: RwLock::default(),
            signing: Mutex::default(),
        })
    }

    /// Puts a ring in force, as if this process had started with it.
    #[cfg(test)]
    pub(super) fn put(&self, ring: Keyring, node: &str) {
        *self.signer.write().unwrap() = Arc::new(ring.note_signer(node).unwrap());
        *self.ring.write().unwrap() = Arc::new(ring);
    }

    /// True where that is new.
    pub(super) fn bar(&self, why: Option<String>) -> bool {
        let mut barred = self.barred.write().unwrap_or_else(PoisonError::into_inner);
        let new = barred.is_some() != why.is_some();
        *barred = why;
        new
    }

    fn signer(&self) -> Arc<NoteSigner> {
        Arc::clone(&self.signer.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Broker {
    pub(super) fn opened(&self) -> Result<&Opened, Fault> {
        self.opened.as_ref().ok_or_else(|| self.fault("this process has not opened the keys"))
    }

    /// The keys in force.
    pub(super) fn keys(&self) -> Result<Arc<Keyring>, Fault> {
        Ok(Arc::clone(&self.opened()?.ring.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Who signs the log's heads and the manifests at this moment; none in a process that has not opened the keys.
    pub fn note_signer(&self) -> Option<Arc<NoteSigner>> {
        self.opened.as_ref().map(Opened::signer)
    }

    /// From now on looks after the ring in the store: `version` is the one in force, `reopen` opens another.
    pub fn follow_keys(&self, version: i64, reopen: Reopen) {
        if let Some(opened) = &self.opened {
            opened.version.store(version, Ordering::Release);
            let _ = opened.reopen.set(reopen);
            self.mark_barred(None);
        }
    }

    /// Takes over what is sealed into the store while this process runs. Never comes back.
    pub(super) async fn keep_keys(&self) {
        let following = self.opened.as_ref().and_then(|opened| Some((opened, opened.reopen.get()?)));
        let Some((opened, reopen)) = following else { return std::future::pending().await };
        let mut changes = self.changes();
        loop {
            if self.follow_ring(opened, reopen).await.is_err() {
                sleep(AGAIN).await;
            }
            // A change of any kind, or after a while anyway.
            let _ = timeout(AGAIN, changes.changed()).await;
            changes.mark_unchanged();
            sleep(PAUSE).await;
        }
    }

    /// Takes over what is new. Where that cannot be done: after a planned change the keys before go on being good; after a theft nobody comes in
    /// with them any more.
    pub(super) async fn follow_ring(&self, opened: &Opened, reopen: &Reopen) -> Result<(), String> {
        let done = self.look_at_keys(opened, reopen).await;
        let Err(why) = &done else {
            if opened.bar(None) {
                tracing::warn!("the keys were taken over: people are let in again");
                self.mark_barred(None);
            }
            return done;
        };
        // A store that does not answer bars by itself.
        let since = self.store.watcher().keys_since().await.unwrap_or_default();
        if since.is_some_and(|since| opened.version.load(Ordering::Acquire) < since) {
            opened.bar(Some(why.clone()));
            self.mark_barred(Some(why));
            tracing::error!(%why, "the keys were stolen and replaced, and the new ones cannot be opened here: nobody comes in on this node");
        } else {
            tracing::error!(%why, "the keys in the store are others now and cannot be taken over; those before stay in force");
        }
        done
    }

    /// For `status`, which is another process.
    fn mark_barred(&self, why: Option<&String>) {
        let file = self.settings.state.join(BARRED);
        let marked = match why {
            Some(why) => std::fs::write(&file, format!("{why}\n")),
            None => match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        };
        if let Err(error) = marked {
            self.fault(&format!("{}: {error}", file.display()));
        }
    }

    /// The keys in hand are not known to be stolen ones.
    pub(super) fn keys_are_good(&self) -> Result<(), Refusal> {
        let barred = |opened: &Opened| opened.barred.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if !self.opened.as_ref().is_some_and(barred) {
            return Ok(());
        }
        let refusal = Refusal::new("keys", "the bastion's keys were stolen and replaced, and this node cannot open the new ones");
        Err(refusal.hint("an administrator puts the passphrase of now where the config looks; until then use another node"))
    }

    pub(super) async fn look_at_keys(&self, opened: &Opened, reopen: &Reopen) -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let now = self.store.watcher().keys_version().await.map_err(|e| said(&e))?;
        if now.is_none_or(|now| now == opened.version.load(Ordering::Acquire)) {
            return Ok(());
        }
        let Some((sealed, version)) = self.store.watcher().sealed_ring().await.map_err(|e| said(&e))? else { return Ok(()) };
        let reopen = Arc::clone(reopen);
        let ring = tokio::task::spawn_blocking(move || reopen(&sealed)).await.map_err(|e| said(&e))??;
        self.take_over(opened, ring).await.map_err(|e| said(&e))?;
        opened.version.store(version, Ordering::Release);
        tracing::info!(version, "the keys in the store were taken over");
        Ok(())
    }

    /// Puts `ring` in force. Sessions go on; what is signed from now on is signed by it.
    async fn take_over(&self, opened: &Opened, ring: Keyring) -> Result<(), Error> {
        let (name, before) = (self.store.node(), opened.signer());
        let after = ring.note_signer(name).map_err(|e| self.fault(&e))?;
        // Only a key that was replaced by plan may vouch for the next one; a stolen one signs nothing more.
        let vouches = ring.note_signers_before(name, self.now()).iter().any(|old| old.public_key() == before.public_key());
        *opened.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        if after.public_key() != before.public_key() {
            let signing = opened.signing.lock().await;
            // A local command on this node may have been quicker.
            let last = self.reader().last_checkpoint().await.map_err(|e| self.fault(&e))?;
            if !last.is_some_and(|last| signed(&last, &after)) {
                self.hand_over(&after, vouches.then_some(&*before)).await?;
            }
            *opened.signer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
            drop(signing);
            self.checkpoint().await?;
        }
        self.ring();
        Ok(())
    }

    /// At the start, before anything is signed: if this log's last head is by a key that was replaced while this node stood still, hands
    /// the log over.
    pub async fn take_over_log(&self) -> Result<(), Error> {
        let (ring, name) = (self.keys()?, self.store.node().to_owned());
        let Some(last) = self.reader().last_checkpoint().await.map_err(|e| self.fault(&e))? else { return Ok(()) };
        let current = self.opened()?.signer();
        if signed(&last, &current) {
            return Ok(());
        }
        let old = ring.note_signers_before(&name, self.now()).into_iter().find(|old| signed(&last, old));
        self.hand_over(&current, old.as_ref()).await
    }

    /// Logs that `after` signs from here on; `before` vouches for it with a last head, if there is one that may.
    async fn hand_over(&self, after: &NoteSigner, before: Option<&NoteSigner>) -> Result<(), Error> {
        self.tell(&Actor::System, Event::CheckpointKeyChanged { checkpoint_key: after.verifier() }).await?;
        if let Some(before) = before {
            self.checkpoint_by(before).await?;
        }
        Ok(())
    }

    /// Signs the head of this node's log, if there is anything new; in the store and in the file of checkpoints.
    pub async fn checkpoint(&self) -> Result<(), Fault> {
        let Some(opened) = &self.opened else { return Ok(()) };
        if self.store_lost().is_some() {
            // What is new then waits itself.
            return Ok(());
        }
        let _signing = opened.signing.lock().await;
        self.checkpoint_by(&opened.signer()).await
    }

    async fn checkpoint_by(&self, signer: &NoteSigner) -> Result<(), Fault> {
        let sign = |head: &Checkpoint| -> Result<crate::audit::checkpoint::Note, NoteError> {
            let key = NoteKey::new(signer.name(), *signer.public_key())?;
            head.sign(&key, |bytes| signer.sign(bytes))
        };
        self.store.checkpoint(self.now(), &self.checkpoints, sign).await.map(drop).map_err(|e| self.fault(&e))
    }

    /// Puts another sealed ring into the store, with its events; refused if somebody else has changed it since `version`.
    /// `stolen`: whoever cannot open this one must let nobody in with those before.
    pub async fn reseal(&self, by: &Actor, version: i64, sealed: String, events: Vec<Event>, stolen: bool) -> Result<(), Error> {
        self.act(Urgency::Urgent, by.clone(), move |tx| {
            Box::pin(async move {
                tx.replace_sealed_keys(&sealed, version).await?;
                if stolen {
                    tx.forget_keys_before(version + 1).await?;
                }
                Ok(Outcome::Many((), events))
            })
        })
        .await
    }
}

/// Is this the head of `signer`'s log, signed by it?
fn signed(note: &str, signer: &NoteSigner) -> bool {
    NoteKey::new(signer.name(), *signer.public_key()).is_ok_and(|key| Checkpoint::open(note, &key).is_ok())
}

/// The file in the state folder that says so to `status`.
pub const BARRED: &str = "keys-barred";

/// Between two looks: somebody who changes much must not keep the store busy with this.
const PAUSE: Duration = Duration::from_millis(200);
/// Without a change, and after a look that failed.
const AGAIN: Duration = Duration::from_secs(10);
