//! `replay ID`: plays a recording. Opening it is an event with its reader; the seal is checked before the first byte is shown.
//!
//! In a terminal it plays in its own time, drawn by a virtual terminal of ours, and keys steer it. Without one, or as JSON, it is written
//! out at once.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::parse::{Playable, ReplayWords};
use super::playing::{self, Played};
use super::sink::Sink;
use super::{Answer, Caller, read};
use crate::access::names::ChannelId;
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error};
use crate::recording::replay::{self, Recording};
use crate::recording::transcript::Transcript;
use crate::recording::{Deck, Pace, RecordError};

/// Events or lines that are read ahead of the reader; then the disk waits.
const AHEAD: usize = 16;
/// Text that is written without a pause to look whether the reader is still there.
const CHUNK: usize = 16 * 1024;

/// `replay ID [--speed N] [--idle-limit S] [--at TIME]`
pub(super) async fn play(broker: &Broker, caller: &Caller, words: &ReplayWords, json: bool, sink: &mut dyn Sink) -> Result<Answer, Error> {
    caller.human("replay", "ID")?;
    let channel = chosen(broker, &words.id).await?;
    let session = broker.open_recording(&caller.actor, &channel, None).await?;
    let Some((folder, _)) = session.sealed else { return Err(Refusal::no_such("recording", &channel).into()) };
    let sealed = Sealed { folder: broker.settings().recordings.join(folder), number: channel.number, key: broker.manifest_key()? };
    let at = words.at.unwrap_or_default();
    match (caller.look.columns, caller.rows) {
        (Some(columns), Some(rows)) if !json => {
            let pace = Pace { speed: words.speed, idle_limit: words.idle_limit };
            steered(broker, sealed, (columns, rows), pace, at, &channel, sink).await?;
        }
        _ => at_once(broker, sealed, at, json, sink).await?,
    }
    // What was written is the answer.
    Ok(Answer { human: String::new(), json: Value::Null, status: 0 })
}

/// A recording's place, and what its manifest must be signed with.
struct Sealed {
    folder: PathBuf,
    number: u32,
    key: String,
}

/// Played in a terminal, with keys.
async fn steered(
    broker: &Broker,
    sealed: Sealed,
    (columns, rows): (u16, u16),
    pace: Pace,
    at: Duration,
    channel: &ChannelId,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let opening = tokio::task::spawn_blocking(move || {
        let events = replay::open(&sealed.folder, sealed.number, &sealed.key)?.rewindable()?;
        Deck::new(events, columns.into(), rows.into(), pace, at.as_secs_f64())
    });
    let deck = read(broker, read(broker, opening.await)?)?;
    match playing::steer(deck, sink).await {
        Played::Left(at) => {
            // Whoever has left reads no last line.
            let _ = sink.out(format!("{channel}: left at {at}\n").as_bytes()).await;
            Ok(())
        }
        Played::Bad(bad) => read(broker, Err(bad)),
        Played::Lost(lost) => read(broker, Err(lost)),
    }
}

/// Written out as fast as it is read.
async fn at_once(broker: &Broker, sealed: Sealed, at: Duration, json: bool, sink: &mut dyn Sink) -> Result<(), Error> {
    let (pieces, mut ready) = tokio::sync::mpsc::channel(AHEAD);
    // Reading, checking and drawing are work for a thread of their own; the queue's bound keeps it at the reader's pace.
    let reading = tokio::task::spawn_blocking(move || written(&sealed, at, json, &pieces));
    'all: while let Some(bytes) = ready.recv().await {
        for piece in bytes.chunks(CHUNK) {
            if sink.out(piece).await.is_err() {
                break 'all;
            }
        }
    }
    drop(ready);
    read(broker, read(broker, reading.await)?)
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

/// Opens, checks and writes out one recording; runs on a thread that may block. Ends well when nobody takes the pieces any more.
fn written(sealed: &Sealed, at: Duration, json: bool, pieces: &tokio::sync::mpsc::Sender<Vec<u8>>) -> Result<(), RecordError> {
    let recording = replay::open(&sealed.folder, sealed.number, &sealed.key)?;
    let header = recording.header().clone();
    let send = |bytes| pieces.blocking_send(bytes).is_ok();
    if json {
        return as_json(recording, at.as_secs_f64(), send);
    }
    for line in Transcript::new(&header, recording) {
        let line = line?;
        if line.at >= at && !send((line.text + "\n").into_bytes()) {
            break;
        }
    }
    Ok(())
}

/// One array of events. What was typed is masked: it may hold passwords, and nobody may unmask it yet.
fn as_json(recording: Recording, from: f64, send: impl Fn(Vec<u8>) -> bool) -> Result<(), RecordError> {
    let mut before = "[";
    for event in recording {
        let event = event?;
        if event.time() < from {
            continue;
        }
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
