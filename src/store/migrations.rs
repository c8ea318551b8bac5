//! The shapes that the store has had, each a file for either database with the same tables and columns, and the way forward through them.
//! A store that has seen a shape which this version does not know is refused.

use std::borrow::Cow;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::StoreError;
use super::sql::Pool;

/// One step of the store's shape.
struct Shape {
    number: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! shapes {
    ($($number:literal $name:literal)*) => {
        &[$(Shape {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
        }),*]
    };
}

/// All of them, the oldest first. A shape that a store has seen is never changed again: the next one is a new line.
const SHAPES: &[Shape] = shapes! {
    1 "0001_first"
    2 "0002_requests_and_grants"
    3 "0003_users"
    4 "0004_hosts"
    5 "0005_certificates"
    6 "0006_screen_text"
    7 "0007_policy"
    10 "0010_egress"
    13 "0013_screen_index"
};

/// Brings the store to the newest shape. `pool` may write.
pub(super) async fn forward(pool: &Pool) -> Result<(), StoreError> {
    let run = match pool {
        Pool::Sqlite(pool) => migrator(SHAPES, |shape| shape.sqlite).run(pool).await,
        Pool::Postgres(pool) => migrator(SHAPES, |shape| shape.postgres).run(pool).await,
    };
    run.map_err(|error| match error {
        MigrateError::VersionMissing(number) => StoreError::Newer { seen: number, known: SHAPES.last().map_or(0, |shape| shape.number) },
        other => StoreError::Shape(other),
    })
}

/// Brings an empty store to the shape `number` and no further.
#[cfg(test)]
pub(super) async fn up_to(pool: &Pool, number: i64) {
    let shapes = SHAPES.split(|shape| shape.number > number).next().unwrap();
    match pool {
        Pool::Sqlite(pool) => migrator(shapes, |shape| shape.sqlite).run(pool).await.unwrap(),
        Pool::Postgres(pool) => migrator(shapes, |shape| shape.postgres).run(pool).await.unwrap(),
    }
}

/// The names of all shapes.
#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    SHAPES.iter().map(|shape| shape.name).collect()
}

fn migrator(shapes: &[Shape], text: impl Fn(&Shape) -> &'static str) -> Migrator {
    let migration = |shape: &Shape| {
        let name = shape.name.split_once('_').map_or(shape.name, |(_, name)| name);
        Migration::new(shape.number, Cow::Borrowed(name), MigrationType::Simple, text(shape).into_sql_str(), false)
    };
    Migrator::with_migrations(shapes.iter().map(migration).collect())
}
