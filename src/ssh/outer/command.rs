//! A verb over SSH: the words after `ssh jit-bastion`, run on the channel they came in.

use std::sync::Arc;

use super::super::Wing;
use super::door::Waiting;
use crate::access::person::Person;

/// Runs `command` (or shows the personal page without one) and closes the channel with its exit status.
pub(super) async fn run(wing: Arc<Wing>, person: Person, waiting: Waiting, command: Option<Vec<u8>>) {
    let _ = (wing, person, waiting, command);
}
