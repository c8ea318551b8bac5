//! Signed heads of this node's log, in the store and in a file beside it.
//!
//! The file holds one note after another, each followed by an empty line. It is only ever appended to; a tail that a crash tore is cut
//! off before the next note, and readers pass over it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::sql::sql;
use super::{Reader, Store, StoreError, count, stored};
use crate::access::time::Timestamp;
use crate::audit::checkpoint::{Checkpoint, Note, NoteError};
use crate::audit::copy;
use crate::audit::verify::Head;

/// The file of checkpoints outside the database. Several processes may append to it: each takes a lock on it.
#[derive(Debug, Clone)]
pub struct CheckpointFile(PathBuf);

impl CheckpointFile {
    /// The file `checkpoints` in the state folder; made when the first note is appended.
    pub fn in_folder(state: &Path) -> Self {
        Self(state.join("checkpoints"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Every whole note in it, the oldest first, as heads to verify a log against; a torn tail is passed over. No file: no heads.
    pub fn heads(&self) -> io::Result<Vec<Head>> {
        let mut bytes = Vec::new();
        match File::open(&self.0) {
            Ok(mut file) => file.read_to_end(&mut bytes)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        Ok(copy::heads(&bytes, &self.0.display().to_string()))
    }

    /// Appends a note and returns when it is on the disk.
    fn append(&self, note: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.0)?;
        flock(&file, FlockOperation::LockExclusive)?;
        let len = file.seek(SeekFrom::End(0))?;
        let from = len.saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        (&mut file).take(TAIL).read_to_end(&mut tail)?;
        // Without a whole note in its tail the file is not ours to cut: append after what there is.
        let good = match copy::whole(&tail) {
            0 if from > 0 => len,
            good => from + good as u64,
        };
        file.set_len(good)?;
        file.seek(SeekFrom::Start(good))?;
        file.write_all(format!("{note}\n").as_bytes())?;
        file.sync_data()
    }
}

impl Store {
    /// Signs this node's head if there is anything new, and keeps it in `file` and in the store; the size that it covers. `sign` must
    /// not wait.
    pub async fn checkpoint<S>(&self, now: Timestamp, file: &CheckpointFile, sign: S) -> Result<Option<u64>, StoreError>
    where
        S: FnOnce(&Checkpoint) -> Result<Note, NoteError> + Send,
    {
        let reader = self.reader();
        let Some(head) = reader.head().await? else { return Ok(None) };
        let (last,): (Option<i64>,) =
            sql("SELECT MAX(size) FROM checkpoints WHERE node = $1").bind(self.node()).fetch_one(&reader.pool).await?;
        if last.is_some_and(|last| last >= stored(head.size)) {
            return Ok(None);
        }
        let note = sign(&Checkpoint { origin: head.node, size: head.size, root: head.root })?.to_string();
        let (outside, text) = (file.clone(), note.clone());
        let written = tokio::task::spawn_blocking(move || outside.append(&text)).await;
        written.map_err(|e| StoreError::Task(e.to_string()))?.map_err(StoreError::Checkpoints)?;
        let node = self.node().to_owned();
        self.note(now, move |tx| {
            Box::pin(async move {
                sql("INSERT INTO checkpoints (node, size, time, note) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                    .bind(node)
                    .bind(stored(head.size))
                    .bind(now.micros())
                    .bind(note)
                    .execute(tx.conn())
                    .await?;
                Ok(())
            })
        })
        .await?;
        Ok(Some(head.size))
    }
}

impl Reader {
    /// The newest checkpoint of this node's log in the store.
    pub async fn last_checkpoint(&self) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = sql("SELECT note FROM checkpoints WHERE node = $1 ORDER BY size DESC LIMIT 1")
            .bind(&self.node)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(note,)| note))
    }

    /// Every checkpoint in the store of this node's log, as heads to verify it against.
    pub async fn checkpoints(&self) -> Result<Vec<Head>, StoreError> {
        let rows: Vec<(i64, String)> =
            sql("SELECT size, note FROM checkpoints WHERE node = $1 ORDER BY size").bind(&self.node).fetch_all(&self.pool).await?;
        let head = |(size, note)| Ok(Head { source: format!("store, size {}", count("checkpoints", &self.node, size)?), note });
        rows.into_iter().map(head).collect()
    }
}

/// More than any note of ours is long.
const TAIL: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn note(size: u32) -> String {
        format!("node\n{size}\nroot\n\n\u{2014} node c2ln\n")
    }

    #[test]
    fn a_torn_tail_is_cut_off_wherever_it_tore() {
        let dir = tempfile::tempdir().unwrap();
        let file = CheckpointFile::in_folder(dir.path());
        assert!(file.heads().unwrap().is_empty());
        file.append(&note(1)).unwrap();
        let good = std::fs::read(file.path()).unwrap();
        let third = format!("{}\n", note(3));
        for torn in 0..third.len() {
            let mut bytes = good.clone();
            bytes.extend_from_slice(&third.as_bytes()[..torn]);
            std::fs::write(file.path(), &bytes).unwrap();
            assert_eq!(file.heads().unwrap().len(), 1, "{torn}");
            file.append(&note(2)).unwrap();
            let notes: Vec<String> = file.heads().unwrap().into_iter().map(|head| head.note).collect();
            assert_eq!(notes, [note(1), note(2)], "{torn}");
        }
    }
}
