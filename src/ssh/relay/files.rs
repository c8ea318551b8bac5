//! The account of files: a channel of SFTP or scp is looked at in both directions, and what was done to each file is kept.

use tokio::io::AsyncWrite;

use super::table::Stage;
use super::{Judged, Relay, Rights, Side};
use crate::recording::files::Account;
use crate::recording::files::scp::Scp;
use crate::recording::files::sftp::{FileRights, Sftp};
use crate::ssh::tap::{Kept, Lands, Purpose};

impl Rights {
    /// The account of a channel that is put to use, if it is one of files.
    pub(super) fn account(self, purpose: Purpose, command: Option<&[u8]>) -> Option<Account> {
        let all = self.programs();
        let rights = FileRights { read: self.reads || all, write: self.writes || all };
        match purpose {
            Purpose::Sftp => Some(Account::Sftp(Box::new(Sftp::new(rights)))),
            Purpose::Exec => command.and_then(Scp::of).map(|scp| Account::Scp(Box::new(scp))),
            _ => None,
        }
    }
}

impl<C, H, K> Relay<'_, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    /// Looks at bytes of a channel from `side`, before they go on. Where its bytes are not kept, the first one that does not fit the
    /// protocol ends the session: nobody could tell what it carried. Where they are kept anyway, only the account ends.
    pub(super) fn account(&self, side: Side, number: u32, files: &mut Option<Account>, data: &[u8]) -> Result<(), Judged> {
        let Some(account) = files else { return Ok(()) };
        let seen = match side {
            Side::Client => account.client(data),
            Side::Host => account.host(data),
        };
        for act in account.told() {
            self.keep(Kept::File { channel: number, act: &act })?;
        }
        match seen {
            Ok(()) => Ok(()),
            Err(violation) if self.rights.programs() => {
                self.close_account(number, files.take())?;
                self.keep(Kept::Said(number, &format!("the account of files ends here: {violation}")))
            }
            Err(violation) => Err(Judged::Files(violation)),
        }
    }

    /// Tells what an account still holds: its channel is over.
    pub(super) fn close_account(&self, number: u32, files: Option<Account>) -> Result<(), Judged> {
        let Some(account) = files else { return Ok(()) };
        account.finish().iter().try_for_each(|act| self.keep(Kept::File { channel: number, act }))
    }

    /// The relay is over: tells what all accounts still hold, and which connections were cut. A recording that takes no more is known elsewhere.
    pub(crate) fn close_accounts(&self) {
        let mut table = self.table.borrow_mut();
        self.cut_joined(&mut table);
        for channel in &mut table.channels {
            if let Stage::Used { number, files, .. } = &mut channel.stage {
                let _ = self.close_account(*number, files.take());
            }
        }
    }
}
