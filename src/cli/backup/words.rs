//! The page that lies in a backup: how to put it back, with the paths of this installation.

use std::fmt::Write;

use super::{DUMP, FILE, Taken};
use crate::access::time::Timestamp;
use crate::config::Config;

/// `RESTORE.txt`.
pub(super) fn restore(config: &Config, taken: &Taken, recordings: bool, now: Timestamp, node: &str) -> String {
    let (state, policy, own) = (config.state.display(), config.policy.display(), config.file.display());
    let mut out = format!(
        "A backup of the jit-bastion {node}, made {now}.\n\n\
         1. Is it whole?      sha256sum --quiet -c SHA256SUMS\n\
         2. No bastion runs:  systemctl stop jit-bastion\n\
         3. Move what is left of the old one aside, all of it; never mix two: {state}\n\
         4. As the account that runs the bastion, in this folder:\n\n"
    );
    let mut line = |text: String| {
        let _ = writeln!(out, "     {text}");
    };
    line(format!("install -D -m 644 jit-bastion.toml {own}"));
    line(format!("install -D -m 644 policy.toml {policy}"));
    line(format!("install -d -m 700 {state} && cp -r state/. {state}/"));
    match config.store.file() {
        Some(file) => line(format!("install -D -m 600 {FILE} {}", file.display())),
        None => line(format!("pg_restore --no-owner --exit-on-error --dbname=NEW-AND-EMPTY-DATABASE {DUMP}")),
    }
    let kept = config.recordings.display();
    if recordings {
        line(format!("install -d -m 700 {kept} && cp -rn recordings/. {kept}/"));
    }
    let _ = write!(
        out,
        "\n\
         5. The passphrase of the keys is not in this backup. Put it where [keys] in jit-bastion.toml says.\n\
         6. jit-bastion check && jit-bastion verify\n\
         7. Before anybody comes in: what happened after {now} is not known here. Grants that were revoked and users, keys and hosts\n\
         \x20  that were taken away since are back. Look at `jit-bastion grants` and `jit-bastion user list`, and take them away again.\n\
         8. systemctl start jit-bastion\n\n\
         The log goes on from the {} of this copy. Keep the old file of checkpoints ({state}/checkpoints, or the copy that you have of it\n\
         elsewhere): `jit-bastion verify --checkpoints FILE` then says that the log was cut off there, and that is true.\n",
        taken.entries.map_or_else(|| "events".to_owned(), |n| format!("{n} events"))
    );
    if !recordings {
        let _ = writeln!(out, "\nThe recordings are not in this backup: put your copy of them back into {kept}.");
    }
    out
}
