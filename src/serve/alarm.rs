//! Alarms: what an administrator must hear of at once is handed to a program of theirs, one event at a time, as JSON on its standard input.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::audit::entry::Entry;
use crate::audit::event::Event;
use crate::broker::Broker;
use crate::store::{Reader, StoreError};

/// Events that are alarms by their name.
const NAMES: [&str; 6] = ["clock-alarm", "host-key-changed", "policy-refused", "store-back", "checkpoint-key-changed", "session-tunnelled"];

/// Endings of sessions that are.
const ENDINGS: [&str; 2] = ["recorder-failed", "store-lost"];

/// Runs `command` for each alarm in this node's log from here on, for ever; what other processes of the node write (an administrator's
/// command beside the bastion) counts as well. A program that fails or hangs is logged, and the next alarm has its turn.
pub(super) async fn watch(broker: &Broker, command: Vec<String>) {
    let reader = broker.reader();
    let mut changes = broker.changes();
    let mut next = None;
    loop {
        changes.mark_unchanged();
        next = match read(&reader, next, &command).await {
            Ok(next) => Some(next),
            Err(error) => {
                tracing::warn!(%error, "the alarm cannot read the log just now");
                next
            }
        };
        // The hint may be lost; the log is not.
        let _ = timeout(LOOK, changes.changed()).await;
    }
}

/// Tells the alarms among the entries from `next` on, and where to go on. The first look only finds the end of the log.
async fn read(reader: &Reader, next: Option<u64>, command: &[String]) -> Result<u64, StoreError> {
    let Some(mut next) = next else { return Ok(reader.head().await?.map_or(0, |head| head.size)) };
    loop {
        let rows = reader.events(next, ENTRIES).await?;
        let Some(last) = rows.last() else { return Ok(next) };
        next = last.seq + 1;
        for row in &rows {
            // A later version's entry is none of this one's alarms.
            let Ok(entry) = Entry::parse(&row.bytes) else { continue };
            if is_alarm(&entry.event)
                && let Err(error) = tell(command, &entry).await
            {
                tracing::error!(event = entry.event.name(), seq = entry.seq, %error, "an alarm could not be told");
            }
        }
    }
}

fn is_alarm(event: &Event) -> bool {
    match event {
        Event::SessionClosed { ending, .. } => ENDINGS.contains(&ending.as_str()),
        Event::KeyTurned { how, .. } => how == "emergency",
        other => NAMES.contains(&other.name()),
    }
}

async fn tell(command: &[String], entry: &Entry) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().ok_or_else(|| anyhow::anyhow!("no program"))?;
    let mut bytes = entry.to_bytes()?;
    bytes.push(b'\n');
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let told = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input may still have done its work.
            let _ = stdin.write_all(&bytes).await;
        }
        child.wait().await
    };
    let status = timeout(PATIENCE, told).await.map_err(|_| anyhow::anyhow!("{program} took longer than {PATIENCE:?}"))??;
    if status.success() { Ok(()) } else { Err(anyhow::anyhow!("{program} ended with {status}")) }
}

/// Entries in one reading.
const ENTRIES: u32 = 500;
/// Between two looks at the log where nothing rings.
const LOOK: Duration = Duration::from_secs(5);
/// For one run of the program.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_gets_the_event_and_its_failure_is_told() {
        let entry = Entry {
            seq: 3,
            time: crate::access::time::Timestamp::from_micros(5),
            node: "here".into(),
            actor: crate::access::names::Actor::System,
            event: Event::ClockAlarm { jump_ms: -400_000 },
        };
        assert!(NAMES.iter().all(|name| Event::NAMES.contains(name)), "an alarm that no event can be");
        assert!(is_alarm(&entry.event) && !is_alarm(&Event::ClockConfirmed {}));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("told");
        let words = |script: String| vec!["/bin/sh".to_owned(), "-c".to_owned(), script];
        tell(&words(format!("cat > {}", file.display())), &entry).await.unwrap();
        let told = std::fs::read_to_string(&file).unwrap();
        assert!(told.contains("\"event\":\"clock-alarm\"") && told.contains("-400000") && told.ends_with('\n'), "{told}");
        assert!(tell(&words("exit 3".into()), &entry).await.is_err());
        assert!(tell(&["/nowhere/at/all".into()], &entry).await.is_err());
    }
}
