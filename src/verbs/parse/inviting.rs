//! The words about keys that invited users have offered.

use crate::access::names::{Note, User};

/// `confirm [NAME [FINGERPRINT]]`
#[derive(Debug, Clone, clap::Args)]
pub struct ConfirmWords {
    /// Whose key; left out: those that wait for me are listed
    #[arg(value_name = "NAME")]
    pub user: Option<User>,
    /// The key's fingerprint, as its owner read it to me
    #[arg(value_name = "FINGERPRINT", requires = "user")]
    pub fingerprint: Option<String>,
}

/// `refuse NAME ..`
#[derive(Debug, Clone, clap::Args)]
pub struct RefuseWords {
    /// Whose key
    #[arg(value_name = "NAME")]
    pub user: User,
    /// Why; takes every word up to the next option
    #[arg(long, value_name = "TEXT")]
    pub note: Option<Note>,
}
