//! What goes wrong below.

use std::path::PathBuf;

use thiserror::Error;

use crate::audit::checkpoint::NoteError;
use crate::audit::entry::EntryError;
use crate::audit::tree::TreeError;

/// What went wrong below. A fault: nobody outside the broker reads its words.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The URL leads to no store.
    #[error("the store's URL: {0}\nhint: write sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Url(String),
    /// The file or its folder.
    #[error("the store's file {path} cannot be opened: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its file is not there any more, or is another one.
    #[error("the store's file {} is not the one that was opened", .0.display())]
    Replaced(PathBuf),
    /// It did not answer in time.
    #[error("it did not answer in time")]
    Silent,
    /// It is known to be lost.
    #[error("it is lost, and was not asked")]
    Shut,
    /// What is in the file is not what was written.
    #[error("the store's file is damaged ({0})\nhint: keep the file aside, put the newest backup in its place, then `jit-bastion verify`")]
    Damaged(String),
    /// The database said no.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    /// The database keeps other texts than ours.
    #[error("the database's encoding is {0}, and the store needs UTF8\nhint: CREATE DATABASE .. ENCODING 'UTF8' TEMPLATE template0")]
    Encoding(String),
    /// A newer version has been here.
    #[error(
        "the store was changed by a newer jit-bastion (its shape is {seen}, this one knows up to {known})\nhint: run the newer version, or \
         go back to a backup from before"
    )]
    Newer {
        /// The first shape that we do not know.
        seen: i64,
        /// The last that we do.
        known: i64,
    },
    /// Somebody serves on this file.
    #[error(
        "a bastion serves on {0} already\nhint: stop it first, or give this one a store of its own; local commands work beside the one that serves"
    )]
    FileServes(PathBuf),
    /// Somebody serves as this node.
    #[error(
        "a bastion named {0} serves on this store already\nhint: stop it first; each machine has a name of its own, chosen by \
         `jit-bastion init --node NAME` and kept in its state folder"
    )]
    NodeServes(String),
    /// Its shape could not be brought to ours.
    #[error("the store's shape: {0}")]
    Shape(#[from] sqlx::migrate::MigrateError),
    /// A row that makes no sense.
    #[error("row {row} of {table} makes no sense: {why}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with it.
        why: String,
    },
    /// A write expected one row in a certain state and did not find it.
    #[error("{0} is not in the state that this change expects")]
    Moved(String),
    /// Every id drawn was taken.
    #[error("no free id was drawn")]
    Ids,
    /// An event that has no canonical form.
    #[error("event: {0}")]
    Entry(#[from] EntryError),
    /// The log's tree lacks rows.
    #[error("tree: {0}")]
    Tree(#[from] TreeError),
    /// A checkpoint could not be signed.
    #[error("checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The file of checkpoints.
    #[error("the file of checkpoints: {0}")]
    Checkpoints(std::io::Error),
    /// What was to be committed together with it could not be begun or committed, and so neither could it.
    #[error("{why}")]
    Group {
        /// Why.
        why: String,
        /// Whether that means that the store is lost.
        loss: bool,
    },
    /// The task of a change ended early.
    #[error("a change ended early: {0}")]
    Task(String),
}

impl StoreError {
    /// A text of `row` in `table` that its type refuses.
    pub(crate) fn row(table: &'static str, row: &str, why: impl std::fmt::Display) -> Self {
        Self::Row { table, row: row.to_owned(), why: why.to_string() }
    }
}
