//! `explain HOST ..`

use crate::access::channels::Channels;
use crate::access::names::{Login, User};
use crate::access::time::Span;

/// `explain HOST ..`
#[derive(Debug, Clone, clap::Args)]
pub struct ExplainWords {
    /// The host, by its name or an alias
    #[arg(value_name = "HOST")]
    pub host: String,
    /// The account on the host; left out: the one that I may ask for
    #[arg(long, value_name = "L")]
    pub login: Option<Login>,
    /// As if I asked for so long
    #[arg(long = "for", value_name = "D")]
    pub length: Option<Span>,
    /// As if I asked for these channel kinds
    #[arg(long, value_name = "K,..")]
    pub channels: Option<Channels>,
    /// On the bastion's own command line: for this user
    #[arg(long, value_name = "USER")]
    pub user: Option<User>,
}
