//! The policies that were in force, and who may decide a request under the one of now.

use super::sql::sql;
use super::{Reader, StoreError, Tx, name};
use crate::access::names::RequestId;
use crate::access::policy::Who;

impl Reader {
    /// The text of the policy that this node had in force last.
    pub async fn last_policy(&self) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = sql("SELECT body FROM policies WHERE node = $1 ORDER BY loaded_at DESC, digest LIMIT 1")
            .bind(self.node.as_str())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(body,)| body))
    }

    /// The text of a policy that any node had in force, by the digest that the log names.
    pub async fn policy(&self, digest: &str) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> =
            sql("SELECT body FROM policies WHERE digest = $1 LIMIT 1").bind(digest).fetch_optional(&self.pool).await?;
        Ok(row.map(|(body,)| body))
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

    /// Every request that is still to be decided.
    pub async fn pending(&mut self) -> Result<Vec<RequestId>, StoreError> {
        let ids: Vec<(String,)> =
            sql("SELECT id FROM requests WHERE state = 'pending' ORDER BY filed_at LIMIT 10000").fetch_all(self.conn()).await?;
        ids.iter().map(|(id,)| name("requests", id, id)).collect()
    }

    /// These may decide the request too.
    pub async fn name_deciders(&mut self, id: &RequestId, whos: &[&Who]) -> Result<(), StoreError> {
        for who in whos {
            sql("INSERT INTO request_deciders (request, who) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(id.as_str())
                .bind(who.to_string())
                .execute(self.conn())
                .await?;
        }
        Ok(())
    }
}
