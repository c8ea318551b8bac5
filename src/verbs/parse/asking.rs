//! The words of asking and deciding: `request`, `extend`, `show`, `approve`.

use super::Shown;
use crate::access::channels::Channels;
use crate::access::names::{GrantId, Login, Note, Reason, RequestId, Ticket};
use crate::access::time::Span;
use crate::access::zone::Typed;

/// `request HOST ..`
#[derive(Debug, Clone, clap::Args)]
pub struct RequestWords {
    /// The host, by its name or an alias
    #[arg(value_name = "HOST")]
    pub host: String,
    /// The account on the host; left out: the only one that I may ask for
    #[arg(long, value_name = "L")]
    pub login: Option<Login>,
    /// How long, like 45m or 1h30m, from the approval on; left out: as the rule says
    #[arg(long = "for", value_name = "D", conflicts_with_all = ["from", "until"])]
    pub length: Option<Span>,
    /// Not before this time, like 2026-11-21T22:00 (the bastion's zone) or 2026-11-21T22:00Z
    #[arg(long, value_name = "T", requires = "until")]
    pub from: Option<Typed>,
    /// And until this time
    #[arg(long, value_name = "T", requires = "from")]
    pub until: Option<Typed>,
    /// shell, exec, sftp-read, sftp-write, forward:.., reverse:.., agent; left out: all that the rule gives
    #[arg(long, value_name = "K,..")]
    pub channels: Option<Channels>,
    /// Why; takes every word up to the next option
    #[arg(long, value_name = "TEXT", required = true)]
    pub reason: Reason,
    /// The ticket's id
    #[arg(long, value_name = "ID")]
    pub ticket: Option<Ticket>,
    /// Wait until it is decided; exit 0 when approved, 1 otherwise
    #[arg(long)]
    pub wait: bool,
}

/// `extend GRANT ..`
#[derive(Debug, Clone, clap::Args)]
pub struct ExtendWords {
    /// The grant
    #[arg(value_name = "GRANT")]
    pub id: GrantId,
    /// How much longer, like 30m
    #[arg(long = "for", value_name = "D", required = true)]
    pub length: Span,
    /// Why; takes every word up to the next option
    #[arg(long, value_name = "TEXT", required = true)]
    pub reason: Reason,
}

/// `show ID ..`
#[derive(Debug, Clone, clap::Args)]
pub struct ShowWords {
    /// The request, or a session (s-7k2m9q)
    #[arg(value_name = "ID")]
    pub id: Shown,
    /// Only the exact text that an approval says yes to, to be signed
    #[arg(long)]
    pub text: bool,
    /// With --text: as it is when the approval gives no longer than this
    #[arg(long = "for", value_name = "D", requires = "text")]
    pub length: Option<Span>,
    /// With --text: as it is when the approval gives only these channel kinds
    #[arg(long, value_name = "K,..", requires = "text")]
    pub channels: Option<Channels>,
}

/// `approve ID ..`
#[derive(Debug, Clone, clap::Args)]
pub struct ApproveWords {
    /// The request
    #[arg(value_name = "ID")]
    pub id: RequestId,
    /// What to say with it; takes every word up to the next option
    #[arg(long, value_name = "TEXT")]
    pub note: Option<Note>,
    /// No longer than this
    #[arg(long = "for", value_name = "D")]
    pub length: Option<Span>,
    /// Only these channel kinds
    #[arg(long, value_name = "K,..")]
    pub channels: Option<Channels>,
    /// The SHA-256 of the text that I have read: nothing else is approved
    #[arg(long, value_name = "SHA256")]
    pub digest: Option<String>,
    /// Signed: what `ssh-keygen -Y sign -n jit-bastion-approval` made of the text, in base64; - reads it from standard input
    #[arg(long, value_name = "BASE64", allow_hyphen_values = true)]
    pub signature: Option<String>,
}
