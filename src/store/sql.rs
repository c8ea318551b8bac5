//! One statement for both databases: a text that SQLite and PostgreSQL read alike, and its values.
//!
//! Written as `sql("SELECT a FROM t WHERE id = $1").bind(id).fetch_optional(conn).await?`. What a text may hold so that both read it:
//! `$1`, a CAST around a parameter that may be null and is only tested, `ON CONFLICT .. DO`, no vendor's functions, whole numbers of
//! 64 bits only (a bare `SELECT 1` is none: ask with [`Statement::found`]).

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{FromRow, Postgres, Sqlite, Transaction};

use super::StoreError;

/// A row's type: whatever `#[derive(FromRow)]` made readable, and tuples.
pub(super) trait Record: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl<T> Record for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

/// One connection in a transaction; dropping it ends that without a trace.
pub(super) enum Conn {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Conn {
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        bounded(async {
            match self {
                Self::Sqlite(tx) => tx.commit().await?,
                Self::Postgres(tx) => tx.commit().await?,
            }
            Ok(())
        })
        .await
    }

    /// Runs statements about the transaction itself, in one message.
    pub(super) async fn run(&mut self, text: &'static str) -> Result<(), StoreError> {
        bounded(async {
            match self {
                Self::Sqlite(tx) => sqlx::raw_sql(text).execute(&mut **tx).await.map(|_| ())?,
                Self::Postgres(tx) => sqlx::raw_sql(text).execute(&mut **tx).await.map(|_| ())?,
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        bounded(async {
            match self {
                Self::Sqlite(tx) => tx.rollback().await?,
                Self::Postgres(tx) => tx.rollback().await?,
            }
            Ok(())
        })
        .await
    }
}

/// A few connections for one purpose.
#[derive(Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    /// A transaction, begun as each database says it.
    ///
    /// In a task of its own: with sqlx 0.9.0 a beginning that its caller gives up leaves PostgreSQL's connection in the pool with the
    /// transaction open (their issue 4393).
    pub(super) async fn begin(&self, sqlite: &'static str, postgres: &'static str) -> Result<Conn, StoreError> {
        let pool = self.clone();
        let begun = tokio::spawn(async move {
            Ok(match pool {
                Self::Sqlite(pool) => Conn::Sqlite(match pool.begin_with(sqlite).await {
                    // Where its disk is full SQLite rolls back by itself, and sqlx goes on counting: that connection begins nothing more.
                    Err(sqlx::Error::InvalidSavePointStatement) => {
                        pool.acquire().await?.close().await?;
                        pool.begin_with(sqlite).await?
                    }
                    begun => begun?,
                }),
                Self::Postgres(pool) => Conn::Postgres(pool.begin_with(postgres).await?),
            })
        });
        bounded(async { begun.await.unwrap_or_else(|e| Err(StoreError::Task(e.to_string()))) }).await
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// What a statement runs on: a transaction, or whichever connection of a pool is free.
pub(super) enum On<'c> {
    Conn(&'c mut Conn),
    Pool(&'c Pool),
}

impl<'c> From<&'c mut Conn> for On<'c> {
    fn from(conn: &'c mut Conn) -> Self {
        Self::Conn(conn)
    }
}

impl<'c> From<&'c Pool> for On<'c> {
    fn from(pool: &'c Pool) -> Self {
        Self::Pool(pool)
    }
}

/// A connection for the length of one statement.
enum Line<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
    SqliteOwn(PoolConnection<Sqlite>),
    PostgresOwn(PoolConnection<Postgres>),
}

impl<'c> On<'c> {
    async fn line(self) -> Result<Line<'c>, StoreError> {
        Ok(match self {
            Self::Conn(Conn::Sqlite(tx)) => Line::Sqlite(tx),
            Self::Conn(Conn::Postgres(tx)) => Line::Postgres(tx),
            Self::Pool(Pool::Sqlite(pool)) => Line::SqliteOwn(pool.acquire().await?),
            Self::Pool(Pool::Postgres(pool)) => Line::PostgresOwn(pool.acquire().await?),
        })
    }
}

/// A value in a statement. PostgreSQL keeps no NUL in a text; neither do we then: U+2400 stands in its place on both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(Option<String>),
    Int(Option<i64>),
    Bytes(Option<Vec<u8>>),
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.map(|text| if text.contains('\0') { text.replace('\0', "\u{2400}") } else { text }))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        text.map(str::to_owned).into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Some(text).into()
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Some(text).into()
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(Some(n))
    }
}

impl From<Option<i64>> for Value {
    fn from(n: Option<i64>) -> Self {
        Self::Int(n)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl From<&Vec<u8>> for Value {
    fn from(bytes: &Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

/// A statement and its values so far.
#[must_use = "a statement does nothing until it is executed or fetched"]
pub(super) struct Statement {
    text: &'static str,
    values: Vec<Value>,
}

/// The statement `text`, written for both databases.
pub(super) fn sql(text: &'static str) -> Statement {
    #[cfg(test)]
    super::testing::counted();
    Statement { text, values: Vec::new() }
}

/// Waits no longer than [`ANSWER`]: a server that was stopped, or a network that swallows everything, never says so itself.
async fn bounded<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(ANSWER, work).await.unwrap_or(Err(StoreError::Silent))
}

macro_rules! on_either {
    ($self:ident, $on:ident, |$query:ident, $conn:ident| $run:expr) => {
        match $on.into().line().await? {
            Line::Sqlite($conn) => {
                let $query = $self.for_sqlite();
                $run
            }
            Line::Postgres($conn) => {
                let $query = $self.for_postgres();
                $run
            }
            Line::SqliteOwn(mut own) => {
                let ($query, $conn) = ($self.for_sqlite(), &mut *own);
                $run
            }
            Line::PostgresOwn(mut own) => {
                let ($query, $conn) = ($self.for_postgres(), &mut *own);
                $run
            }
        }
    };
}

impl Statement {
    /// The next value, `$1` first.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; how many rows it wrote.
    pub(super) async fn execute<'c>(self, on: impl Into<On<'c>>) -> Result<u64, StoreError> {
        bounded(async { Ok(on_either!(self, on, |query, conn| query.execute(conn).await?.rows_affected())) }).await
    }

    /// Its one row.
    pub(super) async fn fetch_one<'c, T: Record>(self, on: impl Into<On<'c>>) -> Result<T, StoreError> {
        bounded(async { Ok(on_either!(self, on, |query, conn| T::from_row(&query.fetch_one(conn).await?)?)) }).await
    }

    /// Its first row, if there is one.
    pub(super) async fn fetch_optional<'c, T: Record>(self, on: impl Into<On<'c>>) -> Result<Option<T>, StoreError> {
        bounded(async {
            Ok(on_either!(self, on, |query, conn| query.fetch_optional(conn).await?.map(|row| T::from_row(&row)).transpose()?))
        })
        .await
    }

    /// Its rows.
    pub(super) async fn fetch_all<'c, T: Record>(self, on: impl Into<On<'c>>) -> Result<Vec<T>, StoreError> {
        bounded(async {
            Ok(on_either!(self, on, |query, conn| query.fetch_all(conn).await?.iter().map(T::from_row).collect::<Result<_, _>>()?))
        })
        .await
    }

    /// Does it find a row? What is in it does not matter: `SELECT 1 FROM ..`.
    pub(super) async fn found<'c>(self, on: impl Into<On<'c>>) -> Result<bool, StoreError> {
        bounded(async { Ok(on_either!(self, on, |query, conn| query.fetch_optional(conn).await?.is_some())) }).await
    }

    fn for_sqlite(self) -> Query<'static, Sqlite, SqliteArguments> {
        self.values.into_iter().fold(sqlx::query(self.text), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Int(n) => query.bind(n),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }

    fn for_postgres(self) -> Query<'static, Postgres, PgArguments> {
        self.values.into_iter().fold(sqlx::query(self.text), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Int(n) => query.bind(n),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }
}

/// A store that takes longer than this for one answer counts as lost; longer than anybody waits for another's lock.
pub(super) const ANSWER: Duration = Duration::from_secs(8);
