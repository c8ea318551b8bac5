//! What a host's sshd must be told, so that it lets the bastion's certificates in, and then nothing else.
//!
//! Only keywords that every sshd since 8.2 knows are written; newer ones stand in the notes.

use std::fmt::Write;

use serde_json::json;

use super::args::Stage;
use crate::access::host::Host;
use crate::access::names::Login;

const CA_FILE: &str = "/etc/ssh/jit-bastion-ca.pub";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/10-jit-bastion.conf";

/// Two files and some advice.
pub(super) struct Setup {
    host: String,
    stage: Stage,
    /// Path and content.
    files: [(&'static str, String); 2],
    notes: Vec<String>,
}

impl Setup {
    /// For `host`, that shall trust `session_ca` (a line of OpenSSH's public key format). `sources`: where hosts see the bastion come
    /// from; empty when nobody has said.
    pub fn new(host: &Host, stage: Stage, session_ca: &str, sources: &[String]) -> Self {
        let drop_in = match stage {
            Stage::Trust => trust(host),
            Stage::Enforce => format!("{}{}", trust(host), enforce(&host.logins, sources)),
        };
        Self {
            host: host.name.to_string(),
            stage,
            files: [(CA_FILE, format!("{}\n", session_ca.trim_end())), (DROP_IN, drop_in)],
            notes: notes(stage, sources),
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

fn trust(host: &Host) -> String {
    let mut out = format!(
        "# jit-bastion: certificates for one session, signed by the bastion, open the login that they name.\nTrustedUserCAKeys {CA_FILE}\n"
    );
    if host.logins.iter().any(|login| login.as_str() == "root") {
        out.push_str("PermitRootLogin prohibit-password\n");
    }
    out
}

fn enforce(logins: &[Login], sources: &[String]) -> String {
    let names: Vec<&str> = logins.iter().map(Login::as_str).collect();
    let logins = names.join(",");
    let mut out = String::new();
    if !sources.is_empty() {
        let not: Vec<String> = sources.iter().map(|source| format!("!{source}")).collect();
        let _ = write!(
            out,
            "\n# These logins come from the bastion's addresses or not at all.\nMatch User {logins} Address *,{}\n    PubkeyAuthentication no\n    PasswordAuthentication no\n    KbdInteractiveAuthentication no\n",
            not.join(",")
        );
    }
    let _ = write!(
        out,
        "\n# These logins open by the bastion's certificates alone: no standing keys, no passwords.\nMatch User {logins}\n    AuthorizedKeysFile none\n    AuthorizedKeysCommand none\n    PasswordAuthentication no\n    KbdInteractiveAuthentication no\n    AuthenticationMethods publickey\n\nMatch all\n"
    );
    out
}

fn notes(stage: Stage, sources: &[String]) -> Vec<String> {
    let addresses = if sources.is_empty() { "ADDRESS-OF-THE-BASTION".to_owned() } else { sources.join(",") };
    let mut notes = vec![
        format!("{DROP_IN} is read because sshd_config says `Include /etc/ssh/sshd_config.d/*.conf` near its top, as Debian, Ubuntu\nand RHEL ship it. Where it does not, put the lines at the top of sshd_config."),
        format!("sshd 9.8 and newer: failed handshakes of one user would lock out the bastion's address for all. There, add\nPerSourcePenaltyExemptList {addresses}"),
        "Many sessions that begin at once: a line `MaxStartups 100:30:300` (and no PerSourceMaxStartups for the bastion).".to_owned(),
    ];
    match stage {
        Stage::Trust => notes.push("Standing keys and passwords still open this host. When sessions through the bastion work: --stage enforce".to_owned()),
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
