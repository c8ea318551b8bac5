//! The budget of a grant: so many bytes towards the client, over all of its sessions.

use super::fault::Stop;
use super::{Broker, Fault};
use crate::access::names::{GrantId, HostName, User};
use crate::access::refusal::Refusal;
use crate::access::size::Size;
use crate::access::time::Span;
use crate::store::Tx;

/// What a visit has of its grant's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The grant's whole.
    pub limit: Size,
    /// What is set aside for this visit and not spent. Put here what is left of it before the visit is closed: it goes back.
    pub left: u64,
}

impl Broker {
    /// Bytes of the recordings that sessions of `user` left that began within the last 24 hours.
    pub async fn recorded_today(&self, user: &User) -> Result<u64, Fault> {
        let since = self.now().minus(Span::minutes(24 * 60));
        self.reader().recorded(user, since).await.map_err(|error| self.store_fault(&error))
    }

    /// More bytes for a session under `grant`, of `limit` in all; 0: there are no more. What is given here is spent for everybody else,
    /// on every node, until [`Broker::close_session`] gives back what was left.
    pub async fn more_egress(&self, grant: &GrantId, limit: Size) -> Result<u64, Fault> {
        self.store_takes_writes()?;
        let taken = self.store.take_egress(grant, limit.as_bytes(), self.now()).await;
        taken.map_err(|error| self.store_fault(&error))
    }
}

/// The first bytes of a visit; refused where none are left.
pub(super) async fn first(tx: &mut Tx, grant: &GrantId, host: &HostName, limit: Option<Size>) -> Result<Option<Budget>, Stop> {
    let Some(limit) = limit else { return Ok(None) };
    match tx.take_egress(grant, limit.as_bytes()).await? {
        0 => {
            let refusal = Refusal::new("over-budget", format!("{grant} has let through the {limit} that its rule allows towards you"));
            Err(refusal.hint(format!("another request can ask for more: ssh jit-bastion request {host} --reason WHY")).into())
        }
        left => Ok(Some(Budget { limit, left })),
    }
}
