//! `index ..`.

use clap::Subcommand;

use crate::access::names::{Note, SessionId};

/// The index of what stood on the screens of sessions, in which `recordings --text` looks.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum IndexCommand {
    /// Make it from the sealed recordings: of one session, or of all that have none, whose rule lets it be made and that were not erased
    Build {
        /// This session, also if it has one already or was erased
        #[arg(long, value_name = "ID")]
        session: Option<SessionId>,
    },
    /// Take a session's text out, so that nobody finds it; its recordings stay
    Erase {
        /// Whose
        #[arg(long, value_name = "ID")]
        session: SessionId,
        /// Why; is kept with the event
        #[arg(long, value_name = "TEXT")]
        note: Note,
    },
}
