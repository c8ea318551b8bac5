//! Alarms: what an administrator must hear of at once is handed to a program of theirs, one event at a time, as JSON on its standard input.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::audit::entry::Entry;
use crate::audit::event::Event;
use crate::store::Store;

/// Events that are alarms by their name.
const NAMES: [&str; 7] =
    ["clock-alarm", "host-key-changed", "policy-refused", "store-lost", "store-back", "key-stolen", "checkpoint-key-changed"];

/// Endings of sessions that are.
const ENDINGS: [&str; 2] = ["recorder-failed", "store-lost"];

/// Runs `command` for each alarm that this process logs, for ever. A program that fails or hangs is logged, and the next alarm has its turn.
pub(super) async fn watch(store: &Store, command: Vec<String>) {
    let (queue, mut waiting) = mpsc::channel::<Arc<Entry>>(WAITING);
    let mut entries = store.entries();
    let collect = async {
        loop {
            match entries.recv().await {
                Ok(entry) if is_alarm(&entry.event) => {
                    if queue.try_send(entry).is_err() {
                        tracing::error!("an alarm was dropped: {WAITING} wait already");
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => tracing::error!(missed, "events were missed by the alarm"),
                Err(RecvError::Closed) => return std::future::pending::<()>().await,
            }
        }
    };
    let sound = async {
        while let Some(entry) = waiting.recv().await {
            if let Err(error) = tell(&command, &entry).await {
                tracing::error!(event = entry.event.name(), seq = entry.seq, %error, "an alarm could not be told");
            }
        }
    };
    tokio::select! {
        () = collect => {}
        () = sound => {}
    }
}

fn is_alarm(event: &Event) -> bool {
    match event {
        Event::SessionClosed { ending, .. } => ENDINGS.contains(&ending.as_str()),
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

/// Alarms that wait for their turn.
const WAITING: usize = 64;
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
