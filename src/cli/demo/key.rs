//! Key pairs of the demo, as files that OpenSSH reads.

use std::path::Path;

use anyhow::Context;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::cli::place;

/// Makes an Ed25519 key in `file` and its public half in `file.pub`, unless they are there.
pub(super) fn make(file: &Path, comment: &str) -> anyhow::Result<()> {
    let public = file.with_extension("pub");
    if file.exists() && public.exists() {
        return Ok(());
    }
    // Half a pair is what a run left behind that was killed here.
    let _ = std::fs::remove_file(file);
    let _ = std::fs::remove_file(&public);
    let mut key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).context("cannot make a key")?;
    key.set_comment(comment);
    place::new_file(file, 0o600, &key.to_openssh(LineEnding::LF)?)?;
    place::new_file(&public, 0o644, &format!("{}\n", key.public_key().to_openssh()?))
}

/// The line of the public key beside `file`.
pub(super) fn public(file: &Path) -> anyhow::Result<String> {
    let public = file.with_extension("pub");
    std::fs::read_to_string(&public).with_context(|| format!("cannot read {}", public.display()))
}
