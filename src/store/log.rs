//! The audit log in the store: append inside a change, read back, roots.

use std::collections::BTreeMap;

use super::sql::sql;
use super::{Conn, Reader, StoreError, Tx, count, stored};
use crate::access::names::Actor;
use crate::access::time::Timestamp;
use crate::audit::digest::Digest;
use crate::audit::entry::Entry;
use crate::audit::event::Event;
use crate::audit::tree::{Frontier, NodeId, leaf_hash, root_nodes};
use crate::audit::verify::Row;

/// How far a node's log has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The log's node.
    pub node: String,
    /// Entries in it.
    pub size: u64,
    /// The newest entry's time; none is later.
    pub time: Timestamp,
    /// RFC 6962 root.
    pub root: Digest,
}

/// The head as its row holds it: size, time, edge.
type HeadRow = (i64, i64, String);

/// The end of a node's log inside a transaction: as it was found, and what was appended since.
#[derive(Debug, Clone)]
pub(super) struct End {
    edge: Frontier,
    /// The newest entry's time.
    time: Timestamp,
    /// Entries in it when the transaction began.
    before: u64,
}

impl End {
    /// As the store has it.
    pub(super) async fn read(conn: &mut Conn, node: &str) -> Result<Self, StoreError> {
        let (size, last, edge) = head(conn, node).await?.unwrap_or((0, i64::MIN, String::new()));
        let edge = frontier(node, size, &edge)?;
        Ok(Self { before: edge.size(), edge, time: Timestamp::from_micros(last) })
    }

    /// Appends one entry; must run in the transaction of the change that it tells of. An `End` that gave an error is worth nothing more.
    pub(super) async fn append(
        &mut self,
        conn: &mut Conn,
        node: &str,
        actor: Actor,
        event: Event,
        now: Timestamp,
    ) -> Result<Entry, StoreError> {
        // The log's times never go back, whatever the clock does.
        self.time = now.max(self.time);
        let entry = Entry { seq: self.edge.size(), time: self.time, node: node.to_owned(), actor, event };
        let body = entry.to_bytes()?;
        sql("INSERT INTO events (node, seq, time, name, body) VALUES ($1, $2, $3, $4, $5)")
            .bind(node)
            .bind(stored(entry.seq))
            .bind(entry.time.micros())
            .bind(entry.event.name())
            .bind(body.as_slice())
            .execute(&mut *conn)
            .await?;
        for (id, hash) in self.edge.append(leaf_hash(&body)) {
            sql("INSERT INTO tree (node, level, idx, hash) VALUES ($1, $2, $3, $4)")
                .bind(node)
                .bind(i64::from(id.level))
                .bind(stored(id.index))
                .bind(hash.to_string())
                .execute(&mut *conn)
                .await?;
        }
        Ok(entry)
    }

    /// Keeps the head, once for all that was appended.
    pub(super) async fn keep(self, conn: &mut Conn, node: &str) -> Result<(), StoreError> {
        let peaks: Vec<String> = self.edge.peaks().iter().map(ToString::to_string).collect();
        let done = sql("INSERT INTO heads (node, size, time, edge) VALUES ($1, $2, $3, $4)
             ON CONFLICT (node) DO UPDATE SET size = $2, time = $3, edge = $4 WHERE heads.size = $5")
        .bind(node)
        .bind(stored(self.edge.size()))
        .bind(self.time.micros())
        .bind(peaks.join(","))
        .bind(stored(self.before))
        .execute(conn)
        .await?;
        super::one(done, "the log's head")
    }
}

async fn head(conn: &mut Conn, node: &str) -> Result<Option<HeadRow>, StoreError> {
    sql("SELECT size, time, edge FROM heads WHERE node = $1").bind(node).fetch_optional(conn).await
}

fn frontier(node: &str, size: i64, edge: &str) -> Result<Frontier, StoreError> {
    let size = count("heads", node, size)?;
    let hashes = edge.split(',').filter(|text| !text.is_empty()).map(str::parse);
    let hashes = hashes.collect::<Result<Vec<Digest>, _>>().map_err(|e| StoreError::row("heads", node, e))?;
    let nodes: BTreeMap<NodeId, Digest> = root_nodes(size).into_iter().zip(hashes).collect();
    Ok(Frontier::restore(size, &nodes)?)
}

impl Tx {
    /// The entries of one name in the log of `node` that are not older than `from`, the oldest first.
    pub async fn told(&mut self, node: &str, event: &str, from: Timestamp) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<(Vec<u8>,)> = sql("SELECT body FROM events WHERE node = $1 AND name = $2 AND time >= $3 ORDER BY seq")
            .bind(node)
            .bind(event)
            .bind(from.micros())
            .fetch_all(self.conn())
            .await?;
        rows.iter().map(|(body,)| Entry::parse(body).map_err(|e| StoreError::row("events", event, e))).collect()
    }
}

impl Reader {
    /// The head of this node's log; none while it is empty.
    pub async fn head(&self) -> Result<Option<Head>, StoreError> {
        let mut conn = self.moment().await?;
        let Some((size, time, edge)) = head(&mut conn, &self.node).await? else { return Ok(None) };
        let edge = frontier(&self.node, size, &edge)?;
        Ok(Some(Head { node: self.node.clone(), size: edge.size(), time: Timestamp::from_micros(time), root: edge.root() }))
    }

    /// How many entries each node's log has, by node: what a watcher compares.
    pub async fn sizes(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let rows: Vec<(String, i64)> = sql("SELECT node, size FROM heads").fetch_all(&self.pool).await?;
        rows.into_iter().map(|(node, size)| Ok((node.clone(), count("heads", &node, size)?))).collect()
    }

    /// The time of the newest entry of all logs: the clock may not stand before it.
    pub async fn newest(&self) -> Result<Option<Timestamp>, StoreError> {
        let (time,): (Option<i64>,) = sql("SELECT MAX(time) FROM heads").fetch_one(&self.pool).await?;
        Ok(time.map(Timestamp::from_micros))
    }

    /// Up to `most` entries of this node's log from number `from` on, verbatim, with the stored hash of each leaf.
    pub async fn events(&self, from: u64, most: u32) -> Result<Vec<Row>, StoreError> {
        let rows: Vec<(i64, Vec<u8>, Option<String>)> =
            sql("SELECT e.seq, e.body, t.hash FROM events e LEFT JOIN tree t ON t.node = e.node AND t.level = 0 AND t.idx = e.seq
             WHERE e.node = $1 AND e.seq >= $2 ORDER BY e.seq LIMIT $3")
            .bind(&self.node)
            .bind(stored(from))
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        let row = |(seq, bytes, leaf): (i64, _, Option<String>)| {
            let leaf = leaf.and_then(|hash| hash.parse().ok());
            Ok(Row { seq: count("events", &self.node, seq)?, bytes, leaf })
        };
        rows.into_iter().map(row).collect()
    }
}
