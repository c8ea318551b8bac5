//! What the script of `host audit` answers, taken apart. Lines: `@` begins a section, `|` holds what was read, `!` what could not be.
//!
//! The host may be in an attacker's hands: every number has a bound, no line is believed to be what it looks like, and all text is for
//! showing escaped. It can hide keys from us, but not do us harm.

use std::collections::BTreeMap;

use ssh_key::{Algorithm, HashAlg, PublicKey};
use thiserror::Error;

/// An answer that is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadReport {
    /// Its first line is not ours: something else ran.
    #[error("it does not begin as the script does")]
    Head,
    /// More lines than the script can write.
    #[error("it has more than {0} lines")]
    Lines(usize),
    /// A line longer than the longest key.
    #[error("line {0} is longer than {1} bytes")]
    Long(usize, usize),
    /// A line without a sign, or a section that we do not know.
    #[error("line {0} is not one of the script's")]
    Line(usize),
}

/// What stands on a host without the bastion.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// As whom the script ran, in the words of `id`.
    pub ran_as: String,
    /// The accounts.
    pub accounts: Vec<Account>,
    /// Files of standing keys, of accounts that may come without the bastion.
    pub files: Vec<KeyFile>,
    /// What sshd says is in force, for the accounts to which it says the same.
    pub settings: Vec<Settings>,
    /// Lines of configuration files where sshd could not be asked: the file, and its lines without comments.
    pub config: Vec<(String, Vec<String>)>,
    /// Accounts that have a password. None: it could not be read.
    pub passwords: Option<Vec<String>>,
    /// Groups that give more, and who is in them.
    pub groups: Vec<(String, Vec<String>)>,
    /// Sudo's files, and their lines without comments.
    pub sudoers: Vec<(String, Vec<String>)>,
    /// Last logins, as `last` prints them.
    pub logins: Vec<String>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

/// An account on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its home.
    pub home: String,
    /// Its shell.
    pub shell: String,
}

/// An authorized_keys file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// Whose.
    pub account: String,
    /// Where.
    pub path: String,
    /// Its keys.
    pub keys: Vec<StandingKey>,
    /// Lines that are no key that we can read; sshd may read them otherwise.
    pub odd: Vec<String>,
}

/// A key that opens an account without the bastion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingKey {
    /// `ED25519`, `RSA`..
    pub kind: String,
    /// `SHA256:..`.
    pub fingerprint: String,
    /// What stands before it: `command="..",from=".."`; may be empty.
    pub options: String,
    /// What stands after it.
    pub comment: String,
}

impl StandingKey {
    /// A forced command: a robot's key, or one that wants to look like it.
    pub fn forced(&self) -> bool {
        self.options.to_ascii_lowercase().contains("command=")
    }
}

/// What sshd says is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For whom.
    pub accounts: Vec<String>,
    /// Keyword, in lower case, and value.
    pub values: BTreeMap<String, String>,
}

impl Report {
    /// How many keys stand in all files.
    pub fn standing(&self) -> u64 {
        self.files.iter().map(|file| (file.keys.len() + file.odd.len()) as u64).sum()
    }
}

enum Section {
    Id,
    Accounts,
    Keys(KeyFile),
    Sshd(String, BTreeMap<String, String>),
    Config(String, Vec<String>),
    Passwords(Vec<String>),
    Groups,
    Sudoers(String, Vec<String>),
    Logins,
    End,
}

/// Takes an answer apart. One that was cut short is read as far as it goes, and says so.
pub fn parse(answer: &[u8]) -> Result<Report, BadReport> {
    let mut report = Report::default();
    let mut section: Option<Section> = None;
    for (at, line) in answer.split(|byte| *byte == b'\n').enumerate() {
        let number = at + 1;
        if number > MOST_LINES {
            return Err(BadReport::Lines(MOST_LINES));
        }
        if line.len() > LONGEST {
            return Err(BadReport::Long(number, LONGEST));
        }
        let line = String::from_utf8_lossy(line);
        match (at, line.split_at_checked(2)) {
            (0, _) if line == HEAD => {}
            (0, _) => return Err(BadReport::Head),
            _ if line.is_empty() || line == "|" => {}
            (_, Some(("@ ", title))) => {
                report.end(section.take());
                section = Some(begun(title).ok_or(BadReport::Line(number))?);
            }
            (_, Some(("! ", why))) => report.unread.push(why.to_owned()),
            (_, Some(("| ", text))) => report.read(section.as_mut(), text).ok_or(BadReport::Line(number))?,
            _ => return Err(BadReport::Line(number)),
        }
    }
    if !matches!(section, Some(Section::End)) {
        report.unread.push("the rest: the answer is cut short".into());
    }
    report.end(section);
    Ok(report)
}

fn begun(title: &str) -> Option<Section> {
    let (word, rest) = title.split_once(' ').unwrap_or((title, ""));
    let named = (!rest.is_empty()).then(|| rest.to_owned());
    Some(match word {
        "id" => Section::Id,
        "accounts" => Section::Accounts,
        "keys" => {
            let (account, path) = rest.split_once(' ')?;
            Section::Keys(KeyFile { account: account.to_owned(), path: path.to_owned(), keys: vec![], odd: vec![] })
        }
        "sshd" => Section::Sshd(named?, BTreeMap::new()),
        "config" => Section::Config(named?, vec![]),
        "passwords" => Section::Passwords(vec![]),
        "groups" => Section::Groups,
        "sudoers" => Section::Sudoers(named?, vec![]),
        "logins" => Section::Logins,
        "end" => Section::End,
        _ => return None,
    })
}

impl Report {
    /// One line of a section; none where nothing may stand.
    fn read(&mut self, section: Option<&mut Section>, text: &str) -> Option<()> {
        let text = text.trim();
        if text.is_empty() {
            return Some(());
        }
        match section? {
            Section::Id => self.ran_as = text.to_owned(),
            Section::Accounts => self.accounts.extend(account(text)),
            Section::Keys(file) => file.read(text),
            Section::Sshd(_, values) => {
                let (key, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
                values.insert(key.to_ascii_lowercase(), value.trim().to_owned());
            }
            Section::Config(_, lines) | Section::Sudoers(_, lines) => {
                if !text.starts_with('#') {
                    lines.push(text.to_owned());
                }
            }
            Section::Passwords(names) => names.push(text.to_owned()),
            Section::Groups => {
                let (name, members) = text.split_once(':')?;
                let members = members.split(',').filter(|member| !member.is_empty()).map(str::to_owned);
                self.groups.push((name.to_owned(), members.collect()));
            }
            Section::Logins => self.logins.push(text.to_owned()),
            Section::End => return None,
        }
        Some(())
    }

    fn end(&mut self, section: Option<Section>) {
        match section {
            Some(Section::Keys(file)) => self.files.push(file),
            Some(Section::Config(path, lines)) => self.config.push((path, lines)),
            Some(Section::Sudoers(path, lines)) => self.sudoers.push((path, lines)),
            Some(Section::Passwords(names)) => self.passwords = Some(names),
            Some(Section::Sshd(account, values)) if values.is_empty() => {
                self.unread.push(format!("sshd -T for {account}: it gave no answer"));
            }
            Some(Section::Sshd(account, values)) => match self.settings.iter_mut().find(|known| known.values == values) {
                Some(known) => known.accounts.push(account),
                None => self.settings.push(Settings { accounts: vec![account], values }),
            },
            _ => {}
        }
    }
}

impl KeyFile {
    fn read(&mut self, line: &str) {
        if line.starts_with('#') {
            return;
        }
        let (options, key) = split(line);
        match PublicKey::from_openssh(key) {
            Ok(key) => self.keys.push(StandingKey {
                kind: kind(&key),
                fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
                options: options.to_owned(),
                comment: key.comment().to_string(),
            }),
            Err(_) => self.odd.push(line.chars().take(200).collect()),
        }
    }
}

/// The options of a line of authorized_keys, and the rest: they end at the first blank outside of quotes (sshd(8), AUTHORIZED_KEYS).
fn split(line: &str) -> (&str, &str) {
    if ["ssh-", "ecdsa-", "sk-"].iter().any(|start| line.starts_with(start)) {
        return ("", line);
    }
    let (mut quoted, mut escaped) = (false, false);
    let end = line.find(|c: char| {
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        c.is_whitespace() && !quoted
    });
    let (options, key) = line.split_at(end.unwrap_or(line.len()));
    (options, key.trim_start())
}

fn kind(key: &PublicKey) -> String {
    match key.algorithm() {
        Algorithm::Ed25519 => "ED25519".into(),
        Algorithm::Ecdsa { .. } => "ECDSA".into(),
        Algorithm::Rsa { .. } => "RSA".into(),
        Algorithm::Dsa => "DSA".into(),
        Algorithm::SkEd25519 => "ED25519-SK".into(),
        Algorithm::SkEcdsaSha2NistP256 => "ECDSA-SK".into(),
        other => other.to_string(),
    }
}

/// `name:uid:home:shell`, of which the home may hold a colon no more than the name may.
fn account(text: &str) -> Option<Account> {
    let mut fields = text.splitn(4, ':');
    let (name, uid, home) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?);
    Some(Account { name: name.to_owned(), uid, home: home.to_owned(), shell: fields.next().unwrap_or_default().to_owned() })
}

const HEAD: &str = "jit-bastion-audit 1";
/// The script writes a few hundred; files of keys may have many short lines.
const MOST_LINES: usize = 50_000;
/// An RSA key of 16384 bits has 2800 characters, its options some more.
const LONGEST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2CgMHhvYgVdTkQd3RhyfhuHFKeGTbrNzLCbGbGiCTu";

    fn answer() -> String {
        format!(
            "jit-bastion-audit 1\n@ id\n| uid=0(root) gid=0(root)\n\n@ accounts\n| root:0:/root:/bin/bash\n| backup:34:/var/backups:/bin/sh\n\n\
             @ sshd root\n| permitrootlogin yes\n| passwordauthentication yes\n\n@ sshd backup\n| permitrootlogin yes\n| passwordauthentication yes\n\n\
             @ sshd none\n\n@ keys backup /var/backups/.ssh/authorized_keys\n| # the nas\n| \n| command=\"rsync --server\",from=\"10.0.0.9\" {KEY} backup@nas\n\
             | {KEY} a person\n| ssh-nonsense AAAA x\n\n! /home/a b/.ssh: no right to look for the keys of a\n@ passwords\n| root\n\n@ groups\n\
             | sudo:alice,bob\n| root:\n\n@ sudoers /etc/sudoers\n| # comment\n| root ALL=(ALL:ALL) ALL\n\n@ logins\n| root pts/0 192.0.2.1\n\n@ end\n"
        )
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let report = parse(answer().as_bytes()).unwrap();
        assert_eq!((report.ran_as.as_str(), report.accounts.len(), report.accounts[1].uid), ("uid=0(root) gid=0(root)", 2, 34));
        let file = &report.files[0];
        assert_eq!((file.account.as_str(), file.path.as_str()), ("backup", "/var/backups/.ssh/authorized_keys"));
        assert_eq!((file.keys.len(), file.odd.len(), report.standing()), (2, 1, 3));
        assert!(file.keys[0].forced() && !file.keys[1].forced());
        assert_eq!((file.keys[0].comment.as_str(), file.keys[0].kind.as_str()), ("backup@nas", "ED25519"));
        assert!(file.keys[0].options.contains("from=\"10.0.0.9\""));
        assert_eq!(report.settings.len(), 1, "the same for both");
        assert_eq!(report.settings[0].accounts, ["root", "backup"]);
        assert_eq!(report.groups[0], ("sudo".into(), vec!["alice".into(), "bob".into()]));
        assert_eq!(report.sudoers[0].1, ["root ALL=(ALL:ALL) ALL"]);
        assert_eq!(report.passwords.as_deref(), Some(&["root".to_owned()][..]));
        let unread = ["/home/a b/.ssh: no right to look for the keys of a", "sshd -T for none: it gave no answer"];
        assert_eq!(report.unread.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), unread.into());
    }

    #[test]
    fn what_the_script_says_here_is_read() {
        let line: String = include_str!("../../broker/admit/look.sh").lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join(" ");
        let run = std::process::Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
        let report = parse(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&run.stdout)));
        assert!(report.ran_as.contains("uid=") && report.accounts.iter().any(|account| account.uid == 0), "{report:?}");
        assert!(!report.unread.iter().any(|why| why.contains("cut short")), "{report:?}");
    }

    #[test]
    fn an_answer_that_is_cut_short_says_so() {
        let whole = answer();
        for cut in HEAD.len()..whole.len() - 6 {
            match parse(&whole.as_bytes()[..cut]) {
                Ok(report) => assert!(report.unread.iter().any(|why| why.contains("cut short")), "{cut}"),
                Err(BadReport::Line(_)) => {}
                Err(other) => panic!("{cut}: {other}"),
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let after = |more: &str| format!("{HEAD}\n{more}");
        let table = [
            (String::new(), BadReport::Head),
            ("This account is currently not available.\n".into(), BadReport::Head),
            (after("| lost\n"), BadReport::Line(2)),
            (after("@ secrets\n"), BadReport::Line(2)),
            (after("@ keys alice\n"), BadReport::Line(2)),
            (after("@ id\nuid=0\n"), BadReport::Line(3)),
            (after("@ end\n| more\n"), BadReport::Line(3)),
            (after("@ groups\n| nobody\n"), BadReport::Line(3)),
            (after(&"\n".repeat(MOST_LINES)), BadReport::Lines(MOST_LINES)),
            (after(&format!("@ id\n| {}\n", "x".repeat(LONGEST))), BadReport::Long(3, LONGEST)),
        ];
        for (text, wrong) in table {
            assert_eq!(parse(text.as_bytes()), Err(wrong));
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(pieces in prop::collection::vec(prop::sample::select(vec!["@ keys a /b\n", "| ", "! ", "@ sshd x\n", "\n", KEY, "command=\"\\\"", "\u{1b}[2J", "@ end\n", "é"]), 0..40)) {
            let text = format!("{HEAD}\n{}", pieces.concat());
            let _ = parse(text.as_bytes());
        }
    }
}
