//! A code of an invitation, at the door. Strangers come here: what they can cost us is bounded, and a wrong code tells them nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ssh_key::PublicKey;
use tokio::sync::Semaphore;

use super::invites::Offered;
use super::people::fingerprint;
use super::user_keys::{NewKey, acceptable, bare_line};
use super::{Broker, Error, Fault};
use crate::access::invite::{ATTEMPTS, CONFIRMED_WITHIN, InviteCode, InviteState, KeyOffer};
use crate::access::names::Actor;
use crate::access::policy::Act;
use crate::audit::event::Event;
use crate::ca::code;
use crate::store::{Outcome, Urgency};

/// Bounds what codes can cost: one argon2id at a time, and so many in a minute.
pub(super) struct Gate {
    one: Semaphore,
    /// Since boot, the oldest first.
    recent: Mutex<VecDeque<Duration>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { one: Semaphore::new(1), recent: Mutex::default() }
    }
}

impl Gate {
    /// Counts one more at `now`, unless the last minute has had its share.
    fn passes(&self, now: Duration) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|first| now.saturating_sub(*first) >= MINUTE) {
            recent.pop_front();
        }
        let passes = recent.len() < A_MINUTE;
        if passes {
            recent.push_back(now);
        }
        passes
    }
}

impl Broker {
    /// Somebody from `client` has proven `key`, which is nobody's, under `code`. If the code counts, the key waits to be confirmed, and the
    /// code is used up. None otherwise, for whatever reason; the log file has it.
    pub async fn redeem(&self, code: InviteCode, key: &PublicKey, client: SocketAddr) -> Result<Option<Offered>, Fault> {
        let now = self.now();
        let found = self.store.door().invite(code.id()).await.map_err(|e| self.fault(&e))?;
        let Some((invite, hash)) = found.filter(|(invite, _)| invite.takes_code(now)) else {
            tracing::info!(%client, "a code of no open invitation was tried");
            return Ok(None);
        };
        if !self.gate.passes(self.clock.since_boot()) {
            tracing::warn!(%client, invite = %invite.id, "too many codes were tried in a minute: this one was not looked at");
            return Ok(None);
        }
        let id = invite.id.clone();
        if !self.fits(code, hash).await? {
            let attempts = self.store.wrong_code(&id, now).await.map_err(|e| self.fault(&e))?;
            tracing::warn!(%client, invite = %id, attempts, "a wrong code was tried");
            if attempts >= ATTEMPTS {
                self.bar(id, client).await.map_err(|e| self.as_fault(e))?;
            }
            return Ok(None);
        }
        let new = NewKey { key: key.clone(), name: String::new() };
        let line = acceptable(&new).and_then(|()| bare_line(key));
        let line = match line {
            Ok(line) => line,
            Err(refusal) => {
                tracing::info!(%client, invite = %id, reason = %refusal.message, "a key was not taken");
                return Ok(None);
            }
        };
        let offer = KeyOffer { fingerprint: fingerprint(key), authorized_key: line, at: now, client: client.to_string() };
        self.offer(id, offer).await.map_err(|e| self.as_fault(e))
    }

    async fn fits(&self, code: InviteCode, hash: String) -> Result<bool, Fault> {
        let _turn = self.gate.one.acquire().await.map_err(|e| self.fault(&e))?;
        let fits = tokio::task::spawn_blocking(move || code::fits(code.secret(), &hash)).await.map_err(|e| self.fault(&e))?;
        fits.map_err(|e| self.fault(&e))
    }

    /// Keeps a proven key until somebody confirms it, if the invitation still counts, and tells who may.
    async fn offer(&self, id: crate::access::names::InviteId, offer: KeyOffer) -> Result<Option<Offered>, Error> {
        let policy = self.in_force();
        self.act(Urgency::Ordinary, Actor::System, move |tx| {
            Box::pin(async move {
                let policy = policy.now();
                let now = tx.now();
                let Some(invite) = tx.invite(&id).await?.filter(|invite| invite.takes_code(now)) else { return Ok(Outcome::Same(None)) };
                // A key belongs to one user, and a disabled one keeps theirs; nobody is told so here.
                let taken = tx.key_owner(&offer.fingerprint).await?.is_some();
                if taken || tx.person(&invite.user).await?.is_none() {
                    return Ok(Outcome::Same(None));
                }
                tx.offer_key(&id, &offer).await?;
                let user = invite.user.clone();
                let text = format!(
                    "{user} offered the key {}: compare it with them, then `confirm {user} {}`",
                    offer.fingerprint, offer.fingerprint
                );
                for row in tx.users().await?.into_iter().filter(|row| row.in_force(now) && row.person.user != user) {
                    if invite.sponsor.as_ref() == Some(&row.person.user) || policy.may_somewhere(&row.person, Act::Users) {
                        tx.tell(&row.person.user, &text).await?;
                    }
                }
                let event = Event::InviteUsed { invite: id, user: user.clone(), key: offer.fingerprint.clone(), client: offer.client };
                let until = offer.at.plus(CONFIRMED_WITHIN);
                let offered = Offered { user, fingerprint: offer.fingerprint, sponsor: invite.sponsor, until };
                Ok(Outcome::Changed(Some(offered), event))
            })
        })
        .await
    }

    async fn bar(&self, id: crate::access::names::InviteId, client: SocketAddr) -> Result<(), Error> {
        self.act(Urgency::Ordinary, Actor::System, move |tx| {
            Box::pin(async move {
                let open = tx.invite(&id).await?.filter(|invite| invite.state == InviteState::Open);
                let Some(invite) = open else { return Ok(Outcome::Same(())) };
                tx.settle_invite(&id, InviteState::Barred).await?;
                Ok(Outcome::Changed((), Event::InviteBarred { invite: id, user: invite.user, client: client.to_string() }))
            })
        })
        .await
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Codes of open invitations that are looked at in a minute: more than people type, too few to keep the machine busy.
const A_MINUTE: usize = 10;
