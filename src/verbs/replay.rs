//! `replay ID`: plays a recording. Opening it is an event with its reader; the seal is checked before the first byte is shown.
//!
//! In a terminal it plays in its own time, drawn by a virtual terminal of ours. Without one, or as JSON, it is written out at once.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::parse::Playable;
use super::sink::Sink;
use super::{Answer, Caller, read};
use crate::access::names::ChannelId;
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error};
use crate::recording::replay::{self, Recording};
use crate::recording::transcript::Transcript;
use crate::recording::{Pace, Player, RecordError};

/// Frames or lines that are read ahead of the reader; then the disk waits.
const AHEAD: usize = 16;
/// Text that is written without a pause to look whether the reader is still there.
const CHUNK: usize = 16 * 1024;

/// What to do next: wait, then write.
struct Step {
    delay: Duration,
    bytes: Vec<u8>,
}

/// `replay ID [--speed N] [--idle-limit S]`
pub(super) async fn play(
    broker: &Broker,
    caller: &Caller,
    id: &Playable,
    pace: Pace,
    json: bool,
    sink: &mut dyn Sink,
) -> Result<Answer, Error> {
    caller.human("replay", "ID")?;
    let channel = chosen(broker, id).await?;
    let session = broker.open_recording(&caller.actor, &channel, None).await?;
    let Some((folder, _)) = session.sealed else { return Err(Refusal::no_such("recording", &channel).into()) };
    let (place, key) = (broker.settings().recordings.join(folder), broker.manifest_key()?);
    let screen = match (caller.look.columns, caller.rows) {
        (Some(columns), Some(rows)) if !json => Some((u32::from(columns), u32::from(rows))),
        _ => None,
    };
    let number = channel.number;
    let (steps, mut ready) = tokio::sync::mpsc::channel(AHEAD);
    // Reading, checking and drawing are work for a thread of their own; the queue's bound keeps it at the reader's pace.
    let reading = tokio::task::spawn_blocking(move || written(place, number, &key, screen, pace, json, &steps));
    let shown = show(&mut ready, sink).await;
    drop(ready);
    let read_to = reading.await;
    match (shown, read_to) {
        (_, Err(gone)) => read(broker, Err(gone)),
        (_, Ok(Err(bad))) => read(broker, Err(bad)),
        // What was written is the answer.
        (_, Ok(Ok(()))) => Ok(Answer { human: String::new(), json: Value::Null, status: 0 }),
    }
}

/// The channel itself, or the first recording of a session.
async fn chosen(broker: &Broker, id: &Playable) -> Result<ChannelId, Error> {
    let number = match id.number {
        Some(number) => number,
        None => {
            let row = read(broker, broker.reader().session(&id.session).await)?;
            // A session that is not there has no first recording either; the broker's answer is the same for both.
            row.and_then(|row| row.channels.iter().map(|channel| channel.number).min()).unwrap_or(1)
        }
    };
    Ok(ChannelId { session: id.session.clone(), number })
}

/// Writes each step when it is due. Ends early when the reader goes.
async fn show(ready: &mut tokio::sync::mpsc::Receiver<Step>, sink: &mut dyn Sink) {
    let mut due = tokio::time::Instant::now();
    while let Some(step) = ready.recv().await {
        due += step.delay;
        if !step.delay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = sink.closed() => return,
            }
        }
        for piece in step.bytes.chunks(CHUNK) {
            if sink.out(piece).await.is_err() {
                return;
            }
        }
    }
}

type Steps = tokio::sync::mpsc::Sender<Step>;

/// Opens, checks and writes out one recording; runs on a thread that may block. Ends well when nobody takes the steps any more.
fn written(
    folder: PathBuf,
    number: u32,
    key: &str,
    screen: Option<(u32, u32)>,
    pace: Pace,
    json: bool,
    steps: &Steps,
) -> Result<(), RecordError> {
    let recording = replay::open(&folder, number, key)?;
    let header = recording.header().clone();
    let send = |delay, bytes| steps.blocking_send(Step { delay, bytes }).is_ok();
    if json {
        return as_json(recording, |bytes| send(Duration::ZERO, bytes));
    }
    if let Some((columns, rows)) = screen {
        for frame in Player::new(&header, recording, columns, rows, pace) {
            let frame = frame?;
            if !send(frame.delay, frame.bytes) {
                break;
            }
        }
        return Ok(());
    }
    for line in Transcript::new(&header, recording) {
        if !send(Duration::ZERO, (line?.text + "\n").into_bytes()) {
            break;
        }
    }
    Ok(())
}

/// One array of events. What was typed is masked: it may hold passwords, and nobody may unmask it yet.
fn as_json(recording: Recording, send: impl Fn(Vec<u8>) -> bool) -> Result<(), RecordError> {
    let mut before = "[";
    for event in recording {
        let event = event?;
        let (code, text) = event.parts();
        let shown = if code == 'i' { Value::Null } else { Value::String(text.to_owned()) };
        let value = json!({ "at": event.time(), "kind": code.to_string(), "data": shown, "masked": code == 'i' });
        let line = format!("{before}{}", super::json::print(&value));
        before = ",";
        if !send(line.into_bytes()) {
            return Ok(());
        }
    }
    send(if before == "[" { b"[]\n".to_vec() } else { b"]\n".to_vec() });
    Ok(())
}
