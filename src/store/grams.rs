//! The index that text is sought in, the one thing that each database has in its own words: SQLite as FTS5 by trigrams, PostgreSQL as an
//! array of numbers under GIN, which every installation has without an extension. Both only say where a text may stand; whether it does,
//! the reader looks.

use super::sql::{Pool, Statement, sql};
use super::{Conn, StoreError, stored};
use crate::recording::text::{grams, some_grams};

/// A longer text is looked up by so many of its pieces: each more is another long list, and the reader looks anyway.
const MOST_GRAMS: usize = 10;
/// Pages of 4 KiB that one step writes.
const STEP: i64 = 256;

/// Adds piece `id` with this folded text.
pub(super) async fn add(conn: &mut Conn, id: i64, folded: &str) -> Result<(), StoreError> {
    let statement = match conn {
        Conn::Sqlite(_) => sql("INSERT INTO screen_grams (rowid, folded) VALUES ($1, $2)").bind(id).bind(folded),
        Conn::Postgres(_) => {
            sql("INSERT INTO screen_grams (id, grams) VALUES ($1, CAST(CAST($2 AS TEXT) AS INTEGER[]))").bind(id).bind(numbers(folded))
        }
    };
    statement.execute(conn).await.map(drop)
}

/// Takes the pieces of a session out of the index, before they go themselves.
pub(super) async fn forget(conn: &mut Conn, session: &str) -> Result<(), StoreError> {
    let statement = match conn {
        Conn::Sqlite(_) => sql("DELETE FROM screen_grams WHERE rowid IN (SELECT id FROM screen_texts WHERE session = $1)"),
        Conn::Postgres(_) => sql("DELETE FROM screen_grams WHERE id IN (SELECT id FROM screen_texts WHERE session = $1)"),
    };
    statement.bind(session).execute(conn).await.map(drop)
}

/// Lets nothing of what was forgotten lie about in the index, step by step: writing all of a large one at once would keep every other
/// writer waiting for longer than they wait. The first step says that all of it is to be written anew. `false`: nothing was left to do.
pub(super) async fn wipe(conn: &mut Conn, first: bool) -> Result<bool, StoreError> {
    match conn {
        Conn::Sqlite(_) => {
            let before = changes(conn).await?;
            // https://www.sqlite.org/fts5.html#the_merge_command: a negative number begins, positive ones go on.
            let pages = if first { -STEP } else { STEP };
            sql("INSERT INTO screen_grams (screen_grams, rank) VALUES ('merge', $1)").bind(pages).execute(&mut *conn).await?;
            // One change is the command itself.
            Ok(changes(conn).await? - before >= 2)
        }
        // Its own housekeeping takes what is deleted.
        Conn::Postgres(_) => Ok(false),
    }
}

async fn changes(conn: &mut Conn) -> Result<i64, StoreError> {
    let (changes,): (i64,) = sql("SELECT total_changes()").fetch_one(conn).await?;
    Ok(changes)
}

/// The pieces that may hold the folded text `needle` and that are older than piece `before`, the newest first, of sessions that fit $1..$5;
/// at most `most`. The values $1..$5 are bound by the caller.
pub(super) fn candidates(pool: &Pool) -> Statement {
    match pool {
        Pool::Sqlite(_) => sql(concat!(
            "SELECT t.id, t.session, t.channel, t.body, t.times
             FROM screen_grams JOIN screen_texts t ON t.id = screen_grams.rowid JOIN sessions s ON s.id = t.session
             WHERE screen_grams MATCH $6 AND screen_grams.rowid < $7",
            " AND s.manifest IS NOT NULL
             AND (CAST($1 AS TEXT) IS NULL OR s.user_name = $1) AND (CAST($2 AS TEXT) IS NULL OR s.host = $2)
             AND (CAST($3 AS TEXT) IS NULL OR s.login = $3) AND (CAST($4 AS BIGINT) IS NULL OR s.started_at >= $4)
             AND (CAST($5 AS BIGINT) IS NULL OR s.started_at < $5)
             ORDER BY screen_grams.rowid DESC LIMIT $8"
        )),
        Pool::Postgres(_) => sql(concat!(
            "SELECT t.id, t.session, t.channel, t.body, t.times
             FROM screen_grams g JOIN screen_texts t ON t.id = g.id JOIN sessions s ON s.id = t.session
             WHERE g.grams @> CAST(CAST($6 AS TEXT) AS INTEGER[]) AND g.id < $7",
            " AND s.manifest IS NOT NULL
             AND (CAST($1 AS TEXT) IS NULL OR s.user_name = $1) AND (CAST($2 AS TEXT) IS NULL OR s.host = $2)
             AND (CAST($3 AS TEXT) IS NULL OR s.login = $3) AND (CAST($4 AS BIGINT) IS NULL OR s.started_at >= $4)
             AND (CAST($5 AS BIGINT) IS NULL OR s.started_at < $5)
             ORDER BY g.id DESC LIMIT $8"
        )),
    }
}

/// What $6 is for `needle`: a query of FTS5, or an array of numbers.
pub(super) fn asked(pool: &Pool, needle: &str) -> String {
    match pool {
        Pool::Sqlite(_) => {
            let quoted = |gram: [char; 3]| format!("\"{}\"", gram.iter().collect::<String>().replace('"', "\"\""));
            some_grams(needle, MOST_GRAMS).into_iter().map(quoted).collect::<Vec<_>>().join(" AND ")
        }
        Pool::Postgres(_) => numbers_of(some_grams(needle, MOST_GRAMS).into_iter()),
    }
}

fn numbers(folded: &str) -> String {
    numbers_of(folded.split('\n').flat_map(grams))
}

fn numbers_of(grams: impl Iterator<Item = [char; 3]>) -> String {
    let numbers: std::collections::BTreeSet<i32> = grams.map(number).collect();
    let numbers: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
    format!("{{{}}}", numbers.join(","))
}

/// FNV-1a over the three characters: two that share a number only make the reader look in vain.
fn number(gram: [char; 3]) -> i32 {
    let bytes = gram.into_iter().flat_map(|c| u32::from(c).to_le_bytes());
    bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).cast_signed()
}

/// A number of a piece that is past all of them.
pub(super) fn end() -> i64 {
    stored(u64::MAX)
}
