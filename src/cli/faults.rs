//! Where a fault of a local command is told of besides the terminal: `faults.log` in the state folder, because `serve` writes its own log to
//! whoever started it and nobody keeps what a command said an hour ago. Made when there is something to tell; without a state folder it is
//! standard error.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::failure::Failure;
use super::place;
use crate::broker::Fault;

/// From here on, what breaks in this process is told of there.
pub(super) fn log(named: Option<&Path>) {
    let place = place::config(named).ok().map(|config| config.state.join(FILE));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    // Another one is set already where a command runs inside of something bigger.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_ansi(false).with_writer(Faults(place)).try_init();
}

/// Gives a fault an id that is in the log too, unless it has one.
pub(super) fn identified(failure: Failure) -> Failure {
    let Failure::Fault(error) = failure else { return failure };
    if error.chain().any(|cause| cause.is::<Fault>()) {
        return Failure::Fault(error);
    }
    let id = format!("f-{:08x}", rand::random::<u32>());
    let text = format!("{error:#}");
    tracing::error!(fault = %id, "{text}");
    let (message, next) = text.split_once("\nhint: ").unwrap_or((&text, "tell an administrator this id, it is in the log"));
    Failure::Fault(anyhow::anyhow!("{message} (fault {id})\nhint: {next}"))
}

struct Faults(Option<PathBuf>);

impl<'w> MakeWriter<'w> for Faults {
    type Writer = Box<dyn Write>;

    fn make_writer(&'w self) -> Self::Writer {
        match self.0.as_deref().map(opened) {
            Some(Ok(file)) => Box::new(file),
            _ => Box::new(io::stderr()),
        }
    }
}

/// The file, begun anew where it has grown long; the one before is kept.
fn opened(path: &Path) -> io::Result<std::fs::File> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() > LONGEST) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

const FILE: &str = "faults.log";
const LONGEST: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_fault_has_an_id_in_the_log_and_keeps_its_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(Faults(Some(file.clone()))).finish();
        let failure = tracing::subscriber::with_default(lines, || identified(Failure::Fault(anyhow!("it broke\nhint: mend it"))));
        let text = failure.text();
        let id = text.split("(fault ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
        assert_eq!(text, format!("error: it broke (fault {id})\nhint: mend it"));
        assert!(std::fs::read_to_string(&file).unwrap().contains(id));
        let again = identified(Failure::Usage("wrong".into()));
        assert_eq!(again.text(), "error: wrong");
    }
}
