//! What stood on the screens of sealed sessions, for search: a copy of what the recordings hold, never evidence.

use super::sql::sql;
use super::{Reader, SessionFilter, Store, StoreError, Tx, count, grams, name};
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

impl Tx {
    /// Adds lines of a channel.
    pub async fn add_text(&mut self, session: &SessionId, channel: u32, lines: &[SeenLine]) -> Result<(), StoreError> {
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

    /// Takes all text of a session out of the index; how many pieces there were.
    pub async fn drop_text(&mut self, session: &SessionId) -> Result<u64, StoreError> {
        grams::forget(self.conn(), session.as_str()).await?;
        sql("DELETE FROM screen_texts WHERE session = $1").bind(session.as_str()).execute(self.conn()).await
    }

    /// After text was taken out because it must not be known: nothing of it stays in the index.
    pub async fn wipe_text(&mut self) -> Result<(), StoreError> {
        grams::wipe(self.conn()).await
    }
}

impl Store {
    /// Adds pieces of a session's text, each the lines of one channel; before the first of them takes out what is there. Bookkeeping: no
    /// event.
    pub async fn keep_text(
        &self,
        now: Timestamp,
        session: SessionId,
        anew: bool,
        pieces: Vec<(u32, Vec<SeenLine>)>,
    ) -> Result<(), StoreError> {
        self.note(now, move |tx| {
            Box::pin(async move {
                if anew {
                    tx.drop_text(&session).await?;
                }
                for (channel, lines) in &pieces {
                    tx.add_text(&session, *channel, lines).await?;
                }
                Ok(())
            })
        })
        .await
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
