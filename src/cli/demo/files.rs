//! What the demo writes for people: config, policy, `ssh_config`, `known_hosts`, and the words on the screen.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::access::names::Login;

/// The bastion's name in the demo.
pub(super) const BASTION: &str = "jit-bastion";

/// Writes the config, or moves the one that is there to `port`; everything else in it may have been changed by hand.
pub(super) fn config(file: &Path, port: u16) -> anyhow::Result<()> {
    let line = format!("listen = \"127.0.0.1:{port}\"");
    let text = match fs::read_to_string(file) {
        Ok(text) => {
            let moved = |l: &str| if l.starts_with("listen ") || l.starts_with("listen=") { line.clone() } else { l.to_owned() };
            text.lines().map(moved).map(|l| l + "\n").collect()
        }
        Err(_) => include_str!("first/jit-bastion.toml").replace("LISTEN", &line),
    };
    replace(file, &text)
}

/// The port in the config that is there.
pub(super) fn last_port(file: &Path) -> Option<u16> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("listen = \"127.0.0.1:"))?;
    line.trim_end_matches('"').parse().ok()
}

/// Writes the policy, with tests for the hosts' `login`, unless one is there.
pub(super) fn policy(file: &Path, login: &Login) -> anyhow::Result<()> {
    if file.exists() { Ok(()) } else { replace(file, &include_str!("first/policy.toml").replace("LOGIN", login.as_str())) }
}

/// Writes `DIR/ssh_config`. Paths are absolute: ssh has no way to say "beside this file".
pub(super) fn ssh_config(dir: &Path, port: u16) -> anyhow::Result<()> {
    // In ssh_config % begins a token and " ends a word.
    let dir = dir.display().to_string().replace('%', "%%");
    let text = format!(
        "# Written by `jit-bastion demo` at each start. Use: ssh -F THIS-FILE ..\n\
         Host {BASTION}\n    HostName 127.0.0.1\n    Port {port}\n    HostKeyAlias {BASTION}\n    User alice\n    IdentityFile \"{dir}/keys/%r\"\n\n\
         # The bastion asks for the user's key once more in the host's place.\n\
         Host phi-*\n    ProxyJump {BASTION}\n    IdentityFile \"{dir}/keys/alice\"\n\n\
         Host *\n    IdentitiesOnly yes\n    IdentityAgent none\n    UserKnownHostsFile \"{dir}/known_hosts\"\n    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n"
    );
    replace(&in_dir(&dir, "ssh_config"), &text)
}

fn in_dir(dir: &str, name: &str) -> std::path::PathBuf {
    Path::new(&dir.replace("%%", "%")).join(name)
}

/// Writes `DIR/known_hosts`: for each authority one line for the bastion and every host behind it.
pub(super) fn known_hosts(dir: &Path, pattern: &str, host_cas: &[String]) -> anyhow::Result<()> {
    replace(
        &dir.join("known_hosts"),
        &host_cas.iter().map(|ca| format!("@cert-authority {pattern} {}\n", ca.trim_end())).collect::<String>(),
    )
}

/// The handful of commands to try.
pub(super) fn words(dir: &Path, program: &Path) -> String {
    let ssh = format!("ssh -F {}", quoted(&dir.join("ssh_config")));
    let config = quoted(&dir.join("jit-bastion.toml"));
    let program = quoted(program);
    format!(
        "\
alice is an engineer, bob approves, carol audits, dave administers, vera (of acme) has no rights yet; the hosts are phi-db and phi-app.

ask       {ssh} alice@{BASTION} request phi-db --for 10m --reason the nightly import is slow
approve   {ssh} bob@{BASTION} requests
          {ssh} bob@{BASTION} approve ID
go in     {ssh} -J {BASTION} phi-db
cut       {ssh} dave@{BASTION} grants
          {ssh} dave@{BASTION} revoke ID --note enough for today
replay    {ssh} carol@{BASTION} recordings
          {ssh} -t carol@{BASTION} replay ID
watch     {ssh} -t carol@{BASTION} watch SESSION
verify    {program} verify --config {config}

"
    )
}

/// As a shell would read it back.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Writes `file` whole or not at all.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let beside = file.with_extension("new");
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, file)).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::policy::Policy;
    use crate::config::Config;

    #[test]
    fn the_config_is_moved_and_else_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jit-bastion.toml");
        assert_eq!(last_port(&file), None);
        config(&file, 2222).unwrap();
        assert_eq!(last_port(&file), Some(2222));
        let text = fs::read_to_string(&file).unwrap().replace("[keys]", "#mine\n[keys]");
        fs::write(&file, text).unwrap();
        config(&file, 2300).unwrap();
        assert_eq!(last_port(&file), Some(2300));
        assert!(fs::read_to_string(&file).unwrap().contains("#mine"));
        assert_eq!(Config::load(&file).unwrap().listen[0].port(), 2300);
    }

    #[test]
    fn the_policy_passes_its_own_tests() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        policy(&file, &"postgres".parse().unwrap()).unwrap();
        let policy = Policy::parse(&fs::read_to_string(&file).unwrap(), "policy.toml").unwrap();
        assert!(policy.test_count() > 2);
        assert_eq!(policy.run_tests(|_| None), []);
    }
}
