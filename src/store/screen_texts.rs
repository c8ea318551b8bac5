//! What stood on the screens of sealed sessions, for search: a copy of what the recordings hold, never evidence.

use super::open::Place;
use super::sql::{On, sql};
use super::{Reader, SessionFilter, Store, StoreError, Tx, count, grams, name, sqlite};
use crate::access::names::{HostName, Login, SessionId, User};
use crate::access::time::Timestamp;
use crate::recording::text::{Needle, SeenLine, folded};

/// A few lines of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPiece {
    /// Where it lies in the index; larger is newer.
    pub id: i64,
    /// Whose.
    pub session: SessionId,
    /// Which channel of it.
    pub channel: u32,
    /// Its lines, in the order in which they were seen.
    pub lines: Vec<SeenLine>,
}

/// One writing of a session's text into the index. When another begins, or the text is erased, it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(i64);

impl Tx {
    /// Takes all text of a session out of the index and lets none in again; how many pieces there were. None where it was erased already.
    pub async fn erase_text(&mut self, session: &SessionId) -> Result<Option<u64>, StoreError> {
        if erased(self.conn(), session).await?.is_some() {
            return Ok(None);
        }
        let (pieces, now) = (self.drop_text(session).await?, self.now.micros());
        sql("INSERT INTO screen_index (session, generation, erased_at) VALUES ($1, 1, $2)
             ON CONFLICT (session) DO UPDATE SET generation = screen_index.generation + 1, erased_at = excluded.erased_at")
        .bind(session.as_str())
        .bind(now)
        .execute(self.conn())
        .await?;
        Ok(Some(pieces))
    }

    async fn drop_text(&mut self, session: &SessionId) -> Result<u64, StoreError> {
        grams::forget(self.conn(), session.as_str()).await?;
        sql("DELETE FROM screen_texts WHERE session = $1").bind(session.as_str()).execute(self.conn()).await
    }

    /// Adds lines of a channel.
    async fn add_text(&mut self, session: &SessionId, channel: u32, lines: &[SeenLine]) -> Result<(), StoreError> {
        let (id,): (i64,) = sql("SELECT COALESCE(MAX(id), 0) + 1 FROM screen_texts").fetch_one(self.conn()).await?;
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let times: Vec<String> = lines.iter().map(|line| line.at.to_string()).collect();
        let sought: Vec<String> = texts.iter().map(|text| folded(text)).collect();
        sql("INSERT INTO screen_texts (id, session, channel, body, times) VALUES ($1, $2, $3, $4, $5)")
            .bind(id)
            .bind(session.as_str())
            .bind(i64::from(channel))
            .bind(texts.join("\n"))
            .bind(times.join("\n"))
            .execute(self.conn())
            .await?;
        grams::add(self.conn(), id, &sought.join("\n")).await
    }
}

impl Store {
    /// Begins to write a session's text: what is there goes. None where it was erased, unless it is to be written `again`. Bookkeeping: no
    /// event.
    pub async fn begin_text(&self, now: Timestamp, session: SessionId, again: bool) -> Result<Option<Generation>, StoreError> {
        self.note(now, move |tx| {
            Box::pin(async move {
                if !again && erased(tx.conn(), &session).await?.is_some() {
                    return Ok(None);
                }
                tx.drop_text(&session).await?;
                let (generation,): (i64,) = sql("INSERT INTO screen_index (session, generation) VALUES ($1, 1)
                     ON CONFLICT (session) DO UPDATE SET generation = screen_index.generation + 1, erased_at = NULL RETURNING generation")
                .bind(session.as_str())
                .fetch_one(tx.conn())
                .await?;
                Ok(Some(Generation(generation)))
            })
        })
        .await
    }

    /// Adds pieces of a session's text, each the lines of one channel. `false`, and nothing is added, where that writing is over. Bookkeeping:
    /// no event.
    pub async fn keep_text(
        &self,
        now: Timestamp,
        session: SessionId,
        Generation(generation): Generation,
        pieces: Vec<(u32, Vec<SeenLine>)>,
    ) -> Result<bool, StoreError> {
        self.note(now, move |tx| {
            Box::pin(async move {
                let goes_on = sql("SELECT 1 FROM screen_index WHERE session = $1 AND generation = $2")
                    .bind(session.as_str())
                    .bind(generation)
                    .found(tx.conn())
                    .await?;
                if goes_on {
                    for (channel, lines) in &pieces {
                        tx.add_text(&session, *channel, lines).await?;
                    }
                }
                Ok(goes_on)
            })
        })
        .await
    }

    /// After text was taken out because it must not be known: nothing of it stays in the index, nor in the file where the store is one.
    /// In many small changes, between which others have their turn. False: somebody reads without end, and it still lies in SQLite's
    /// write-ahead log.
    pub async fn wipe_text(&self, now: Timestamp) -> Result<bool, StoreError> {
        let mut first = true;
        while self.note(now, move |tx| Box::pin(async move { grams::wipe(tx.conn(), first).await })).await? {
            first = false;
        }
        match &self.0.at {
            Place::Sqlite(path) => sqlite::fold(path).await,
            Place::Postgres(_) => Ok(true),
        }
    }
}

impl Reader {
    /// Up to `most` pieces before piece `before` that may hold the text, the newest first, of sealed sessions that fit the filter's user,
    /// host, login and times.
    pub async fn text_pieces(
        &self,
        needle: &Needle,
        filter: &SessionFilter,
        before: Option<i64>,
        most: u32,
    ) -> Result<Vec<TextPiece>, StoreError> {
        let rows: Vec<(i64, String, i64, String, String)> = grams::candidates(&self.pool)
            .bind(filter.user.as_ref().map(User::as_str))
            .bind(filter.host.as_ref().map(HostName::as_str))
            .bind(filter.login.as_ref().map(Login::as_str))
            .bind(filter.since.map(Timestamp::micros))
            .bind(filter.until.map(Timestamp::micros))
            .bind(grams::asked(&self.pool, needle.as_str()))
            .bind(before.unwrap_or_else(grams::end))
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(piece).collect()
    }

    /// How many pieces of a session's text there are.
    pub async fn text_of(&self, session: &SessionId) -> Result<u64, StoreError> {
        let (pieces,): (i64,) =
            sql("SELECT COUNT(*) FROM screen_texts WHERE session = $1").bind(session.as_str()).fetch_one(&self.pool).await?;
        count("screen_texts", session.as_str(), pieces)
    }

    /// When a session's text was erased; none where it was not, or was written again since.
    pub async fn text_erased(&self, session: &SessionId) -> Result<Option<Timestamp>, StoreError> {
        erased(&self.pool, session).await
    }
}

async fn erased<'c>(on: impl Into<On<'c>>, session: &SessionId) -> Result<Option<Timestamp>, StoreError> {
    let row: Option<(Option<i64>,)> =
        sql("SELECT erased_at FROM screen_index WHERE session = $1").bind(session.as_str()).fetch_optional(on).await?;
    Ok(row.and_then(|(at,)| at).map(Timestamp::from_micros))
}

fn piece((id, session, channel, body, times): (i64, String, i64, String, String)) -> Result<TextPiece, StoreError> {
    let times = times.split('\n').map(|at| at.parse().unwrap_or_default());
    Ok(TextPiece {
        id,
        session: name("screen_texts", &session, &session)?,
        channel: u32::try_from(channel).map_err(|e| StoreError::row("screen_texts", &session, e))?,
        lines: body.split('\n').zip(times).map(|(text, at)| SeenLine { at, text: text.to_owned() }).collect(),
    })
}

/// So many bytes of lines make a piece: small enough that few of them are looked at in vain, large enough that the index stays small.
pub const PIECE: usize = 2048;

#[cfg(test)]
mod tests;
