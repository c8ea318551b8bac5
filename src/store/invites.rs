//! Invitations: what became of their codes, and the keys that were offered with them.

use sqlx::FromRow;

use super::sql::sql;
use super::{Conn, Reader, Store, StoreError, Tx, name, one};
use crate::access::invite::{Invite, InviteState, KeyOffer};
use crate::access::names::{Actor, InviteId, User};
use crate::access::time::Timestamp;

#[derive(FromRow)]
struct Raw {
    id: String,
    user_name: String,
    hash: String,
    sponsor: Option<String>,
    made_at: i64,
    ends_at: i64,
    attempts: i64,
    state: String,
    fingerprint: Option<String>,
    authorized_key: Option<String>,
    offered_at: Option<i64>,
    client: Option<String>,
}

impl Raw {
    fn read(self) -> Result<Invite, StoreError> {
        let id = self.id.as_str();
        let offer = match (self.fingerprint, self.authorized_key, self.offered_at) {
            (Some(fingerprint), Some(authorized_key), Some(at)) => {
                Some(KeyOffer { fingerprint, authorized_key, at: Timestamp::from_micros(at), client: self.client.unwrap_or_default() })
            }
            _ => None,
        };
        Ok(Invite {
            id: name("invites", id, id)?,
            user: name("invites", id, &self.user_name)?,
            sponsor: self.sponsor.as_deref().map(|sponsor| name("invites", id, sponsor)).transpose()?,
            made_at: Timestamp::from_micros(self.made_at),
            ends_at: Timestamp::from_micros(self.ends_at),
            attempts: u32::try_from(self.attempts).map_err(|e| StoreError::row("invites", id, e))?,
            state: InviteState::from_word(&self.state).ok_or_else(|| StoreError::row("invites", id, &self.state))?,
            offer,
        })
    }
}

impl Reader {
    /// One invitation, and the hash of its code.
    pub async fn invite(&self, id: &InviteId) -> Result<Option<(Invite, String)>, StoreError> {
        let mut conn = self.moment().await?;
        load(&mut conn, id).await
    }

    /// The invitation of `user` that is open or waits for its confirmation; its time may be over.
    pub async fn invite_of(&self, user: &User) -> Result<Option<Invite>, StoreError> {
        let mut conn = self.moment().await?;
        unsettled(&mut conn, user).await
    }

    /// Invitations with a key that waits to be confirmed, the oldest first; its time may be over.
    pub async fn offered(&self) -> Result<Vec<Invite>, StoreError> {
        let raws: Vec<Raw> =
            sql("SELECT id, user_name, hash, sponsor, made_at, ends_at, attempts, state, fingerprint, authorized_key, offered_at, client
             FROM invites WHERE state = 'offered' ORDER BY offered_at, id LIMIT 1000")
            .fetch_all(&self.pool)
            .await?;
        raws.into_iter().map(Raw::read).collect()
    }
}

impl Tx {
    /// One invitation.
    pub async fn invite(&mut self, id: &InviteId) -> Result<Option<Invite>, StoreError> {
        Ok(load(self.conn(), id).await?.map(|(invite, _)| invite))
    }

    /// The invitation of `user` that is open or waits for its confirmation; its time may be over.
    pub async fn invite_of(&mut self, user: &User) -> Result<Option<Invite>, StoreError> {
        unsettled(self.conn(), user).await
    }

    /// A new invitation; false if its id is taken.
    pub async fn add_invite(&mut self, invite: &Invite, hash: &str, by: &Actor) -> Result<bool, StoreError> {
        let done = sql("INSERT INTO invites (id, user_name, hash, sponsor, made_at, made_by, ends_at, attempts, state)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 'open') ON CONFLICT (id) DO NOTHING")
        .bind(invite.id.as_str())
        .bind(invite.user.as_str())
        .bind(hash)
        .bind(invite.sponsor.as_ref().map(User::as_str))
        .bind(invite.made_at.micros())
        .bind(by.to_string())
        .bind(invite.ends_at.micros())
        .execute(self.conn())
        .await?;
        Ok(done == 1)
    }

    /// This key was proven under its code.
    pub async fn offer_key(&mut self, id: &InviteId, offer: &KeyOffer) -> Result<(), StoreError> {
        let done = sql("UPDATE invites SET state = 'offered', fingerprint = $2, authorized_key = $3, offered_at = $4, client = $5
             WHERE id = $1 AND state = 'open'")
        .bind(id.as_str())
        .bind(offer.fingerprint.as_str())
        .bind(offer.authorized_key.as_str())
        .bind(offer.at.micros())
        .bind(offer.client.as_str())
        .execute(self.conn())
        .await?;
        one(done, id)
    }

    /// It was open or offered, and is `state` from here on.
    pub async fn settle_invite(&mut self, id: &InviteId, state: InviteState) -> Result<(), StoreError> {
        let now = self.now.micros();
        let done = sql("UPDATE invites SET state = $2, settled_at = $3 WHERE id = $1 AND state IN ('open', 'offered')")
            .bind(id.as_str())
            .bind(state.as_str())
            .bind(now)
            .execute(self.conn())
            .await?;
        one(done, id)
    }
}

impl Store {
    /// Counts a wrong code against an open invitation; how many it has now.
    pub async fn wrong_code(&self, id: &InviteId, now: Timestamp) -> Result<u32, StoreError> {
        let id = id.clone();
        self.note(now, move |tx| {
            Box::pin(async move {
                sql("UPDATE invites SET attempts = attempts + 1 WHERE id = $1 AND state = 'open'")
                    .bind(id.as_str())
                    .execute(tx.conn())
                    .await?;
                Ok(tx.invite(&id).await?.map_or(0, |invite| invite.attempts))
            })
        })
        .await
    }
}

async fn load(conn: &mut Conn, id: &InviteId) -> Result<Option<(Invite, String)>, StoreError> {
    let raw: Option<Raw> =
        sql("SELECT id, user_name, hash, sponsor, made_at, ends_at, attempts, state, fingerprint, authorized_key, offered_at, client
         FROM invites WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(conn)
        .await?;
    raw.map(|raw| {
        let hash = raw.hash.clone();
        Ok((raw.read()?, hash))
    })
    .transpose()
}

async fn unsettled(conn: &mut Conn, user: &User) -> Result<Option<Invite>, StoreError> {
    let raw: Option<Raw> =
        sql("SELECT id, user_name, hash, sponsor, made_at, ends_at, attempts, state, fingerprint, authorized_key, offered_at, client
         FROM invites WHERE user_name = $1 AND state IN ('open', 'offered')")
        .bind(user.as_str())
        .fetch_optional(conn)
        .await?;
    raw.map(Raw::read).transpose()
}
