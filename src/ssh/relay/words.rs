//! The bastion's own words, and the end of a relay.

use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::timeout;

use super::Relay;
use super::table::Stage;
use crate::ssh::tap::{Kept, Lands, Purpose};
use crate::wire::channel;

/// One line of the bastion's, as it stands on a terminal in raw mode too.
pub(super) fn line(words: &str) -> String {
    format!("\r\njit-bastion: {words}\r\n")
}

impl<C, H, K> Relay<'_, C, H, K>
where
    C: AsyncWrite + Unpin,
    H: AsyncWrite + Unpin,
    K: Lands,
{
    /// Tells the host to end what runs: TERM, then KILL to each shell's and command's process group. The host must take it within
    /// `patience`, or it does not get it: its socket falls anyway.
    pub(crate) async fn end_host(&self, patience: Duration) {
        let running: Vec<u32> = {
            let table = self.table.borrow();
            let used = table.channels.iter().filter(|c| matches!(c.stage, Stage::Used { purpose: Purpose::Shell | Purpose::Exec, .. }));
            used.filter(|c| !c.client_closed).filter_map(|c| c.host).collect()
        };
        for host in running {
            for name in ["TERM", "KILL"] {
                if self.host.with(|t| t.can_send() && t.send(&channel::signal(host, name)).is_ok()) {
                    continue;
                }
                return;
            }
        }
        self.host.with(|t| t.disconnect(BY_APPLICATION, "the session has ended"));
        // Whether it arrived in time changes nothing: the socket is shut next.
        let _ = timeout(patience, self.host.flush()).await;
    }

    /// Says `words` on every terminal that has not heard them. Not inside an escape sequence or a character that the host has begun, and
    /// not where the client gives no room: there it is tried again when `heard` comes back. Tells whether all have heard.
    pub(crate) fn say(&self, words: &str, heard: &mut Vec<u32>) -> Said {
        if self.unsealed.get() {
            return Said::NotAll;
        }
        let text = line(words);
        let mut said = Said::All;
        for channel in &mut self.table.borrow_mut().channels {
            let Stage::Used { number, terminal: true, .. } = channel.stage else { continue };
            if channel.host_ended || channel.host_closed || channel.client_closed || heard.contains(&number) {
                continue;
            }
            if !channel.may_say(text.len()) {
                said = Said::NotAll;
                continue;
            }
            // The words are ours: a recording that cannot take them does not silence them, and the next byte of the host ends the session.
            let _ = self.keep.borrow_mut().keep(Kept::Said(number, words));
            let _ = self.client.answer(channel::extended_data(channel.client, channel::STDERR, text.as_bytes()));
            heard.push(number);
        }
        // Under way is enough for words of ours.
        drop(self.keep.borrow_mut().commit());
        said
    }

    /// Sends what was said.
    pub(crate) async fn speak(&self) {
        // A client that is gone or stopped is the relay's to notice.
        let _ = self.client.flush().await;
    }

    /// Says why on each channel where that can be said, and closes the channels without an exit status, so that no client takes the
    /// end for success. What the client does not take within `patience` is not sent. Tells whether all was said: then a disconnect may
    /// wait, because OpenSSH drops what it has not written yet when it is disconnected.
    pub(crate) async fn end_channels(&self, reason: &str, patience: Duration) -> Said {
        let words = line(reason);
        let mut said = Said::All;
        let mut table = self.table.borrow_mut().channels.drain(..).collect::<Vec<_>>();
        for channel in &mut table {
            if channel.host.is_none() || channel.host_closed {
                continue;
            }
            if matches!(channel.stage, Stage::Joined(_)) {
                let _ = self.client.answer(channel::close(channel.client));
                continue;
            }
            if channel.may_say(words.len()) {
                if let Stage::Used { number, .. } = channel.stage {
                    // The words are ours: a recording that cannot take them does not silence them.
                    let _ = self.keep.borrow_mut().keep(Kept::Said(number, reason));
                }
                let _ = self.client.answer(channel::extended_data(channel.client, channel::STDERR, words.as_bytes()));
            } else {
                said = Said::NotAll;
            }
            let _ = self.client.answer(channel::close(channel.client));
        }
        match timeout(patience, self.client.flush()).await {
            Ok(Ok(())) if !table.is_empty() => said,
            _ => Said::NotAll,
        }
    }

    /// The last word to the client.
    pub(crate) async fn disconnect(&self, reason: &str, patience: Duration) {
        self.client.with(|t| t.disconnect(BY_APPLICATION, reason));
        let _ = timeout(patience, async {
            self.client.flush().await?;
            self.client.shutdown().await
        })
        .await;
    }

    /// Passes a goodbye to whoever is still there, when one side has left by itself.
    pub(crate) async fn part(&self, reason: &str) {
        self.close_accounts();
        self.host.with(|t| t.disconnect(BY_APPLICATION, "the client has left"));
        self.client.with(|t| t.disconnect(BY_APPLICATION, reason));
        let _ = timeout(PARTING, self.host.flush()).await;
        let _ = timeout(PARTING, async {
            self.client.flush().await?;
            self.client.shutdown().await
        })
        .await;
    }
}

/// Whether every open channel could be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    All,
    NotAll,
}

/// SSH_DISCONNECT_BY_APPLICATION, RFC 4253 section 11.1.
const BY_APPLICATION: u32 = 11;

/// For a goodbye that nobody may want to hear.
const PARTING: Duration = Duration::from_millis(500);
