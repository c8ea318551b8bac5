//! The policies that were in force, and who may decide a request under the one of now.

use std::collections::BTreeSet;

use super::sql::{On, sql};
use super::{Reader, Store, StoreError, Tx};
use crate::access::names::RequestId;
use crate::access::time::Timestamp;

impl Reader {
    /// The text of the policy that this node had in force last.
    pub async fn last_policy(&self) -> Result<Option<String>, StoreError> {
        last_policy(&self.pool, &self.node).await
    }

    /// The text of a policy that any node had in force, by the digest that the log names.
    pub async fn policy(&self, digest: &str) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> =
            sql("SELECT body FROM policies WHERE digest = $1 LIMIT 1").bind(digest).fetch_optional(&self.pool).await?;
        Ok(row.map(|(body,)| body))
    }

    /// Requests that are still to be decided, the oldest first, as far as their ids can be read.
    pub async fn pending(&self) -> Result<Vec<RequestId>, StoreError> {
        let ids: Vec<(String,)> =
            sql("SELECT id FROM requests WHERE state = 'pending' ORDER BY filed_at LIMIT 10000").fetch_all(&self.pool).await?;
        Ok(ids.iter().filter_map(|(id,)| RequestId::parse(id).ok()).collect())
    }

    /// Who finds this request in their list.
    pub async fn deciders(&self, id: &RequestId) -> Result<BTreeSet<String>, StoreError> {
        let rows: Vec<(String,)> =
            sql("SELECT who FROM request_deciders WHERE request = $1").bind(id.as_str()).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(who,)| who).collect())
    }
}

impl Store {
    /// These may decide these requests too. Bookkeeping for their lists: whoever decides is judged by the rule.
    pub async fn name_deciders(&self, names: Vec<(RequestId, String)>, now: Timestamp) -> Result<(), StoreError> {
        self.note(now, move |tx| {
            Box::pin(async move {
                for (id, who) in names {
                    sql("INSERT INTO request_deciders (request, who) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                        .bind(id.as_str())
                        .bind(who)
                        .execute(tx.conn())
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }
}

impl Tx {
    /// This policy is in force on `node` from now on.
    pub async fn keep_policy(&mut self, node: &str, digest: &str, body: &str) -> Result<(), StoreError> {
        let now = self.now.micros();
        sql("INSERT INTO policies (node, digest, body, loaded_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (node, digest) DO UPDATE SET loaded_at = excluded.loaded_at")
        .bind(node)
        .bind(digest)
        .bind(body)
        .bind(now)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// As [`Reader::last_policy`], of `node`.
    pub async fn last_policy(&mut self, node: &str) -> Result<Option<String>, StoreError> {
        last_policy(self.conn(), node).await
    }
}

async fn last_policy<'c>(on: impl Into<On<'c>>, node: &str) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> =
        sql("SELECT body FROM policies WHERE node = $1 ORDER BY loaded_at DESC, digest LIMIT 1").bind(node).fetch_optional(on).await?;
    Ok(row.map(|(body,)| body))
}
