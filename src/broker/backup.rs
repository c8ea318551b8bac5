//! A backup was made: everything was read out, and the log says so.

use super::{Broker, Error};
use crate::access::names::Actor;
use crate::audit::digest::Digest;
use crate::audit::event::Event;

impl Broker {
    /// `by` has made a backup whose list of digests has the digest `sums`.
    pub async fn backed_up(&self, by: &Actor, sums: Digest) -> Result<(), Error> {
        self.tell(by, Event::BackupMade { sums }).await
    }
}
