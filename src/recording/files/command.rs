//! The command line of scp's other end.

use super::path_text;

/// What `scp -t PLACE` or `scp -f PLACE` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScpCommand {
    /// `-t`: files come from the client.
    pub uploads: bool,
    /// `-d`: the place must be a directory.
    into_folder: bool,
    /// As it was written; the host's shell may make something else of it.
    place: Vec<u8>,
}

impl ScpCommand {
    /// Reads the command that OpenSSH's client sends; none where it is another. The shell that runs it may do more besides: the account
    /// ends where that shows.
    pub fn read(command: &[u8]) -> Option<Self> {
        let (program, mut rest) = word(command);
        if program.rsplit(|b| *b == b'/').next() != Some(b"scp") {
            return None;
        }
        let (mut to, mut from, mut into_folder) = (false, false, false);
        while let (option, after) = word(rest)
            && let Some(flags) = option.strip_prefix(b"-")
        {
            rest = after;
            if flags == b"-" {
                break;
            }
            if !flags.iter().all(|flag| FLAGS.contains(flag)) {
                return None;
            }
            to |= flags.contains(&b't');
            from |= flags.contains(&b'f');
            into_folder |= flags.contains(&b'd');
        }
        (to != from).then(|| Self { uploads: to, into_folder, place: rest.trim_ascii().to_vec() })
    }

    /// Where on the host `path` is, which the sender named below the command's place; where that cannot be known, `path` as it is, and
    /// the place beside it.
    pub fn located(&self, path: &[u8]) -> (String, Option<String>) {
        let plain = !self.place.iter().any(|b| SHELL.contains(b));
        let trimmed = self.place.strip_suffix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&self.place);
        if path.is_empty() {
            return (path_text(&self.place), None);
        }
        let (folder, last) = match trimmed.iter().rposition(|b| *b == b'/') {
            Some(at) => (trimmed.get(..=at).unwrap_or_default(), trimmed.get(at + 1..).unwrap_or_default()),
            None => (&[][..], trimmed),
        };
        let top = path.split(|b| *b == b'/').next().unwrap_or_default();
        let whole = if !plain {
            None
        } else if self.uploads {
            let is_folder = self.into_folder || self.place.ends_with(b"/") || self.place == b".";
            is_folder.then(|| if trimmed == b"/" { [trimmed, path].concat() } else { [trimmed, b"/", path].concat() })
        } else {
            // The sender names what it was asked for by its last part.
            (top == last).then(|| [folder, path].concat())
        };
        match whole {
            Some(whole) => (path_text(&whole), None),
            None => (path_text(path), Some(path_text(&self.place))),
        }
    }
}

/// The first word and what is behind it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    text.split_at(text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len()))
}

/// Options without a value that scp has for its other end, and those that it passes on.
const FLAGS: &[u8] = b"tfrpdvqCTB346";

/// What a shell may make something else of.
const SHELL: &[u8] = b" \t\n*?[]{}()$`'\"\\;|&<>~#!";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_other_end_of_scp_is_one() {
        for (text, found) in [
            ("scp -t /tmp/x", Some((true, false, "/tmp/x"))),
            ("/usr/bin/scp -v -r -p -d -t -- -x", Some((true, true, "-x"))),
            ("scp -rpf '/a b'", Some((false, false, "'/a b'"))),
            ("scp -f", Some((false, false, ""))),
            ("scp a b", None),
            ("scp -t -f x", None),
            ("scp -S prog -t x", None),
            ("scpx -t x", None),
            ("rsync --server -t x", None),
            ("", None),
        ] {
            let read = ScpCommand::read(text.as_bytes());
            assert_eq!(
                read.as_ref().map(|c| (c.uploads, c.into_folder, path_text(&c.place))),
                found.map(|(a, b, c)| (a, b, c.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn a_path_is_whole_where_it_is_certain() {
        for (command, path, whole, place) in [
            ("scp -f /etc/hosts", "hosts", "/etc/hosts", None),
            ("scp -f hosts", "hosts", "hosts", None),
            ("scp -r -f /etc/ssh/", "ssh/sshd_config", "/etc/ssh/sshd_config", None),
            ("scp -f /etc/*", "hosts", "hosts", Some("/etc/*")),
            ("scp -f /link", "other", "other", Some("/link")),
            ("scp -t /tmp/", "x", "/tmp/x", None),
            ("scp -d -t /tmp", "d/x", "/tmp/d/x", None),
            ("scp -t .", "x", "./x", None),
            ("scp -t /", "x", "/x", None),
            ("scp -t /tmp/x", "x", "x", Some("/tmp/x")),
            ("scp -d -t $HOME", "x", "x", Some("$HOME")),
        ] {
            let found = ScpCommand::read(command.as_bytes()).unwrap().located(path.as_bytes());
            assert_eq!(found, (whole.to_owned(), place.map(str::to_owned)), "{command}");
        }
    }
}
