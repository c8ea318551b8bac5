//! Whether somebody is at work: what keeps a session from being logged off as idle.

use super::table::Table;
use crate::session::Cutoff;

/// What is told to a session's cutoff about work in it. Idle is: no input from the client on a terminal, no byte either way on any
/// other channel. Keepalives and changes of a window's size are none of it.
#[derive(Clone, Copy)]
pub(crate) struct Pulse<'a> {
    cutoff: Option<&'a Cutoff>,
    /// A running command is no excuse.
    commands_too: bool,
}

impl<'a> Pulse<'a> {
    /// Of a session that is logged off when it is idle; `commands_too` where the rule says that a running command is no excuse.
    pub(crate) fn of(cutoff: &'a Cutoff, commands_too: bool) -> Self {
        Self { cutoff: Some(cutoff), commands_too }
    }

    /// Of a session that may be idle for as long as its grant lasts.
    pub(crate) fn none() -> Self {
        Self { cutoff: None, commands_too: false }
    }

    /// Bytes from the client.
    pub(super) fn typed(self) {
        if let Some(cutoff) = self.cutoff {
            cutoff.touch();
        }
    }

    /// Bytes towards the client.
    pub(super) fn shown(self, on_terminal: bool) {
        if !on_terminal {
            self.typed();
        }
    }

    /// A channel was put to use, or its host is done with it.
    pub(super) fn turned(self, table: &Table) {
        if let Some(cutoff) = self.cutoff.filter(|_| !self.commands_too) {
            cutoff.busy(table.runs_a_command());
        }
    }
}
