//! What approvers are told: by whom and of what the acts say; here it is read and marked.

use super::{Broker, Fault};
use crate::access::names::User;
use crate::access::time::Timestamp;
use crate::store::{Notice, SHOWN};

impl Broker {
    /// What `user` was told in the last seven days, the newest first.
    pub async fn notices(&self, user: &User) -> Result<Vec<Notice>, Fault> {
        self.reader().notices(user, self.now().minus(SHOWN)).await.map_err(|e| self.store_fault(&e))
    }

    /// `user` was shown what they were told up to `until`.
    pub async fn shown_notices(&self, user: &User, until: Timestamp) -> Result<(), Fault> {
        self.store.seen(user, until, self.now()).await.map_err(|e| self.store_fault(&e))
    }
}
