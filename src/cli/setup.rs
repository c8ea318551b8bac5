//! What a host's sshd must be told, so that it lets the bastion's certificates in, and then nothing else.
//!
//! Only keywords that every sshd since 8.2 knows are written; newer ones stand in the notes.

use std::fmt::Write;

use anyhow::Context;
use serde_json::json;

use super::args::Stage;
use super::failure::Failure;
use super::open;
use super::said::{Outcome, Said};
use crate::access::host::Host;
use crate::access::names::Login;
use crate::access::time::{Clock, SystemClock};
use crate::ca::turning::KeyRole;
use crate::config::Config;
use crate::store::Reader;

const CA_FILE: &str = "/etc/ssh/jit-bastion-ca.pub";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/10-jit-bastion.conf";

/// `host setup`.
pub(super) async fn print(config: &Config, reader: &Reader, host: &Host, stage: Stage) -> Outcome {
    let ring = open::keyring(config, reader).await?;
    let line = |key: &ssh_key::PublicKey| key.to_openssh().context("the session CA cannot be written").map_err(Failure::from);
    // Several while the session CA is replaced: a host trusts the next one before it signs.
    let trusted = ring.trusted(KeyRole::Session, SystemClock.now());
    let authorities = trusted.iter().map(line).collect::<Result<Vec<_>, _>>()?;
    let sources: Vec<String> = config.source_addresses.iter().map(ToString::to_string).collect();
    let setup = Setup::new(host, stage, &authorities, &sources);
    Ok(Said::done(setup.text(), setup.json()))
}

/// Two files and some advice.
pub(super) struct Setup {
    host: String,
    stage: Stage,
    /// Path and content.
    files: [(&'static str, String); 2],
    notes: Vec<String>,
}

impl Setup {
    /// For `host`, that shall trust the session CAs (lines of OpenSSH's public key format): the one in use, and during a rotation the
    /// other one too. `sources`: where hosts see the bastion come from; empty when nobody has said.
    pub fn new(host: &Host, stage: Stage, session_cas: &[String], sources: &[String]) -> Self {
        let drop_in = match stage {
            Stage::Trust => format!("{TRUST}TrustedUserCAKeys {CA_FILE}\n"),
            Stage::Enforce => format!("{TRUST}TrustedUserCAKeys {CA_FILE}\n{}", enforce(&host.logins, sources)),
        };
        Self {
            host: host.name.to_string(),
            stage,
            files: [(CA_FILE, session_cas.iter().map(|ca| format!("{}\n", ca.trim_end())).collect()), (DROP_IN, drop_in)],
            notes: notes(stage, &host.logins, session_cas.len(), sources),
        }
    }

    fn stage(&self) -> &'static str {
        match self.stage {
            Stage::Trust => "trust",
            Stage::Enforce => "enforce",
        }
    }

    /// A text to read, from which each file can be copied.
    pub fn text(&self) -> String {
        let mut out = format!("# {}, stage {}: put these two files on the host\n", self.host, self.stage());
        for (path, content) in &self.files {
            let _ = write!(out, "\n# ---- {path} (owner root, mode 644) ----\n{content}");
        }
        out.push_str("\n# ---- then, as root on the host ----\n# sshd -t && systemctl reload ssh || systemctl reload sshd\n");
        for note in &self.notes {
            out.push('\n');
            for line in note.lines() {
                let _ = writeln!(out, "# {line}");
            }
        }
        out
    }

    /// The same for a program.
    pub fn json(&self) -> serde_json::Value {
        let files: Vec<_> = self.files.iter().map(|(path, content)| json!({ "path": path, "content": content })).collect();
        json!({ "host": self.host, "stage": self.stage(), "files": files, "notes": self.notes })
    }
}

const TRUST: &str = "# jit-bastion: certificates for one session, signed by the bastion, open the login that they name.\n";

fn enforce(logins: &[Login], sources: &[String]) -> String {
    let names = logins.iter().map(Login::as_str).collect::<Vec<_>>().join(",");
    let mut out = String::new();
    if !sources.is_empty() {
        let not: Vec<String> = sources.iter().map(|source| format!("!{source}")).collect();
        let _ = write!(
            out,
            "\n# These logins come from the bastion's addresses or not at all.\nMatch User {names} Address *,{}\n    PubkeyAuthentication no\n    PasswordAuthentication no\n    KbdInteractiveAuthentication no\n",
            not.join(",")
        );
    }
    let _ = write!(
        out,
        "\n# These logins open by the bastion's certificates alone: no standing keys, no passwords.\nMatch User {names}\n    AuthorizedKeysFile none\n    AuthorizedKeysCommand none\n    PasswordAuthentication no\n    KbdInteractiveAuthentication no\n    AuthenticationMethods publickey\n"
    );
    if has_root(logins) {
        out.push_str("\nMatch User root\n    PermitRootLogin prohibit-password\n");
    }
    out.push_str("\nMatch all\n");
    out
}

fn has_root(logins: &[Login]) -> bool {
    logins.iter().any(|login| login.as_str() == "root")
}

fn notes(stage: Stage, logins: &[Login], authorities: usize, sources: &[String]) -> Vec<String> {
    let addresses = if sources.is_empty() { "ADDRESS-OF-THE-BASTION".to_owned() } else { sources.join(",") };
    let mut notes = vec![
        format!(
            "{DROP_IN} is read because sshd_config says `Include /etc/ssh/sshd_config.d/*.conf` near its top, as Debian, Ubuntu\nand RHEL ship it. Where it does not, put the lines at the top of sshd_config."
        ),
        format!(
            "sshd 9.8 and newer: failed handshakes of one user would lock out the bastion's address for all. There, add\nPerSourcePenaltyExemptList {addresses}"
        ),
        "sshd takes the first TrustedUserCAKeys that it reads. Where this host trusts another CA already, add our line to that CA's file\ninstead; and where it has an AuthorizedPrincipalsFile, each login's file must name the login.".to_owned(),
        "Many sessions that begin at once: a line `MaxStartups 100:30:300` (and no PerSourceMaxStartups for the bastion).".to_owned(),
    ];
    if authorities > 1 {
        notes.push(format!(
            "{CA_FILE} holds {authorities} CAs because one takes over from the other. When the rotation is over, print this again."
        ));
    }
    if has_root(logins) && stage == Stage::Trust {
        notes.push("root is a login here: `PermitRootLogin no` would refuse it. The default, prohibit-password, is right.".to_owned());
    }
    match stage {
        Stage::Trust => notes
            .push("Standing keys and passwords still open this host. When sessions through the bastion work: --stage enforce".to_owned()),
        Stage::Enforce => {
            notes.push("Keep a second root shell open on the host until a session through the bastion has worked.".to_owned());
            notes.push("What was started with nohup, tmux or cron outlives the cut. To end it with the session, in\n/etc/systemd/logind.conf.d/10-jit-bastion.conf:\n[Login]\nKillUserProcesses=yes\n(root is exempt unless KillExcludeUsers= is set empty)".to_owned());
            if sources.is_empty() {
                notes.push("`source-addresses` in the bastion's config would also tie these logins to the bastion's addresses.".to_owned());
            }
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu";

    fn host() -> Host {
        Host {
            name: "phi-db".parse().unwrap(),
            aliases: vec![],
            address: "10.0.0.5".parse().unwrap(),
            trust: vec![],
            labels: std::collections::BTreeMap::new(),
            logins: vec!["postgres".parse().unwrap(), "root".parse().unwrap()],
        }
    }

    /// What `sshd -T` says for `user` from `address` with this drop-in included as distributions do.
    fn effective(setup: &Setup, user: &str, address: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("ca.pub"), &setup.files[0].1).unwrap();
        std::fs::write(at("drop-in.conf"), setup.files[1].1.replace(CA_FILE, &at("ca.pub"))).unwrap();
        let key = ssh_key::PrivateKey::random(&mut rand::rng(), ssh_key::Algorithm::Ed25519).unwrap();
        super::super::place::new_file(&dir.path().join("key"), 0o600, &key.to_openssh(ssh_key::LineEnding::LF).unwrap()).unwrap();
        let main =
            format!("Include {}\nHostKey {}\nPasswordAuthentication yes\nPermitRootLogin no\nUsePAM yes\n", at("drop-in.conf"), at("key"));
        std::fs::write(at("sshd_config"), main).unwrap();
        let connection = format!("user={user},addr={address},host=client,laddr=10.0.0.5,lport=22");
        let _ = std::fs::create_dir("/run/sshd");
        let run = std::process::Command::new("/usr/sbin/sshd").args(["-T", "-f", &at("sshd_config"), "-C", &connection]).output().unwrap();
        assert!(run.status.success() && run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    }

    #[test]
    fn trust_changes_nothing_else() {
        let said = effective(&Setup::new(&host(), Stage::Trust, &[CA.into()], &[]), "postgres", "192.0.2.99");
        assert!(said.contains("\ntrustedusercakeys /") && said.contains("\npasswordauthentication yes"), "{said}");
        assert!(said.contains("\nauthorizedkeysfile .ssh/authorized_keys"), "{said}");
    }

    #[test]
    fn enforce_leaves_certificates_from_the_bastion_alone() {
        let setup = Setup::new(&host(), Stage::Enforce, &[CA.into()], &["192.0.2.7".into(), "2001:db8::/64".into()]);
        let from_bastion = effective(&setup, "postgres", "192.0.2.7");
        for line in ["pubkeyauthentication yes", "passwordauthentication no", "kbdinteractiveauthentication no", "authorizedkeysfile none"]
        {
            assert!(from_bastion.contains(&format!("\n{line}\n")), "{line} in\n{from_bastion}");
        }
        assert!(from_bastion.contains("\nauthenticationmethods publickey\n"));
        assert!(effective(&setup, "root", "2001:db8::9").contains("\npubkeyauthentication yes\n"));
        assert!(effective(&setup, "root", "192.0.2.99").contains("\npubkeyauthentication no\n"));
        assert!(effective(&setup, "root", "192.0.2.7").contains("\npermitrootlogin without-password\n"));
        let other = effective(&setup, "backup", "192.0.2.99");
        assert!(other.contains("\npubkeyauthentication yes\n") && other.contains("\npasswordauthentication yes\n"));
    }

    #[test]
    fn during_a_rotation_both_authorities_are_trusted() {
        let next = CA.replace("CTu", "CTw");
        let setup = Setup::new(&host(), Stage::Trust, &[CA.into(), next.clone()], &[]);
        assert_eq!(setup.files[0].1, format!("{CA}\n{next}\n"));
        assert!(setup.text().contains("holds 2 CAs"));
    }

    #[test]
    fn the_text_names_both_files_and_the_advice() {
        let setup = Setup::new(&host(), Stage::Enforce, &[CA.into()], &[]);
        let text = setup.text();
        for word in [CA_FILE, DROP_IN, CA, "PerSourcePenaltyExemptList", "KillUserProcesses", "MaxStartups", "sshd -t"] {
            assert!(text.contains(word), "{word}");
        }
        assert_eq!(setup.json()["files"][0]["path"], CA_FILE);
    }
}
