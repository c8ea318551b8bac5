//! What an act that did not happen tells: a refusal to the asker, a fault to the log.

use std::fmt;

use rand::Rng as _;
use thiserror::Error;

use super::Broker;
use crate::access::refusal::Refusal;
use crate::store::{Failing, StoreError};

/// Why an act did not happen. Nothing of it has.
#[derive(Debug, Error)]
pub enum Error {
    /// The asker may not, or not so.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// We broke.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Something of ours broke: the asker gets the id, the log has the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    id: String,
    /// It is the store that does not answer, and that passes.
    store_lost: bool,
}

impl Fault {
    /// What the log line carries too: `f-1a2b3c4d`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is the store that does not answer.
    pub fn is_store_lost(&self) -> bool {
        self.store_lost
    }

    /// What the asker reads, with the id.
    pub fn message(&self) -> String {
        if self.store_lost {
            format!("the bastion's store does not answer: until it does, nobody comes in and nothing can be changed (fault {})", self.id)
        } else {
            format!("the bastion failed (fault {})", self.id)
        }
    }

    /// And what to do next.
    pub fn next(&self) -> &'static str {
        if self.store_lost {
            "try again in a minute; if it stays so, tell an administrator this id, it is in the log"
        } else {
            "tell an administrator this id, it is in the log"
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nhint: {}", self.message(), self.next())
    }
}

impl std::error::Error for Fault {}

/// What ends a transaction early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The asker may not.
    Refused(Refusal),
    /// The store failed.
    Store(StoreError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failing for Stop {
    fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Refused(_) => None,
        }
    }
}

impl Broker {
    /// Logs what broke under a new id, and gives the id.
    pub fn fault(&self, what: &(impl fmt::Display + ?Sized)) -> Fault {
        let id = format!("f-{:08x}", self.chance.rng().next_u32());
        tracing::error!(fault = %id, "{what}");
        Fault { id, store_lost: false }
    }

    /// The same for a question that the store did not answer.
    pub(super) fn store_fault(&self, error: &StoreError) -> Fault {
        if error.is_loss() { self.lost_fault(error) } else { self.fault(error) }
    }

    /// The same for nobody's eyes, where the log has said so before.
    pub(super) fn quiet_lost_fault(&self, why: &dyn fmt::Display) -> Fault {
        let id = format!("f-{:08x}", self.chance.rng().next_u32());
        tracing::debug!(fault = %id, "{why}");
        Fault { id, store_lost: true }
    }

    /// The same where it is known that the store is lost.
    pub(super) fn lost_fault(&self, why: &dyn fmt::Display) -> Fault {
        Fault { store_lost: true, ..self.fault(why) }
    }
}

impl Broker {
    /// Where nobody asked, a refusal is a fault of ours.
    pub(super) fn as_fault(&self, error: Error) -> Fault {
        match error {
            Error::Fault(fault) => fault,
            Error::Refused(refusal) => self.fault(&refusal),
        }
    }
}

/// Somebody else's change came between reading and writing.
pub(super) fn overtaken(what: &str) -> Refusal {
    Refusal::new(OVERTAKEN, format!("{what} was changed by somebody else at this moment")).hint("look again, then try again")
}

/// The code of a refusal that another try may undo.
pub(super) const OVERTAKEN: &str = "overtaken";
