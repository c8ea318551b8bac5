//! Somebody who came with the code of an invitation: their key is proven and opens nothing yet. They are told what happens next.

use std::net::SocketAddr;

use russh::keys::ssh_key::PublicKey;

use super::super::Wing;
use crate::access::invite::InviteCode;
use crate::broker::Offered;

/// Uses the code up for this key, if it counts. A wrong one is answered like no code at all; why is in the log.
pub(super) async fn redeem(wing: &Wing, code: InviteCode, key: &PublicKey, peer: SocketAddr) -> Option<Offered> {
    match wing.broker.redeem(code, key, peer).await {
        Ok(offered) => offered,
        Err(fault) => {
            tracing::error!(%fault, "the code of an invitation could not be looked at");
            None
        }
    }
}

/// What they read.
pub(super) fn text(offered: &Offered) -> String {
    let Offered { user, fingerprint, sponsor, until } = offered;
    let who = match sponsor {
        Some(sponsor) => format!("{sponsor} or to an administrator"),
        None => "an administrator".to_owned(),
    };
    format!(
        "{user}: this key was registered, and waits to be confirmed until {until}\n\n    {fingerprint}\n\nread this fingerprint to {who}; when it is confirmed, `ssh jit-bastion` opens with this key\nthe code is used up\n"
    )
}
