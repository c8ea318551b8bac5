//! `replay ID`: plays a recording. Opening it is an event with its reader and their purpose; the seal is checked before the first byte is shown.
//!
//! In a terminal it plays in its own time, drawn by a virtual terminal of ours, and keys steer it. Without one, or as JSON, it is written
//! out at once.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::parse::{Playable, ReplayWords};
use super::playing::{self, Played};
use super::purpose::purpose;
use super::sink::Sink;
use super::{Answer, Caller, files, read};
use crate::access::mask::Mask;
use crate::access::names::ChannelId;
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error, Recorded, Showing};
use crate::recording::cast::CastEvent;
use crate::recording::replay::{self, Recording};
use crate::recording::transcript::Transcript;
use crate::recording::{Deck, Pace, RecordError};

/// Events or lines that are read ahead of the reader; then the disk waits.
const AHEAD: usize = 16;
/// Text that is written without a pause to look whether the reader is still there.
const CHUNK: usize = 16 * 1024;

/// `replay ID [--speed N] [--idle-limit S] [--at TIME] [--unmask] [--because TEXT]`, or `replay ID --files`
pub(super) async fn play(broker: &Broker, caller: &Caller, words: &ReplayWords, json: bool, sink: &mut dyn Sink) -> Result<Answer, Error> {
    caller.human("replay", "ID")?;
    if words.files {
        return files::list(broker, caller, words, json, sink).await;
    }
    let channel = chosen(broker, &words.id).await?;
    let purpose = purpose(broker, caller, words.because.as_ref(), &format!("replay {channel}"), json, sink).await?;
    let session = broker.open_recording(&caller.actor, &channel, purpose, showing(words.unmask)).await?;
    let mask = (!words.unmask).then(|| broker.policy().mask());
    let sealed = SealedPlace::of(broker, &session, &channel)?;
    let at = words.at.unwrap_or_default();
    match (caller.look.columns, caller.rows) {
        (Some(columns), Some(rows)) if !json => {
            let pace = Pace { speed: words.speed, idle_limit: words.idle_limit };
            let opening = tokio::task::spawn_blocking(move || {
                let events = sealed.open()?.rewindable()?;
                let deck = Deck::new(events, columns.into(), rows.into(), pace, at.as_secs_f64());
                deck.map(|deck| deck.masked(mask))
            });
            let deck = read(broker, read(broker, opening.await)?)?;
            steered(broker, deck, &channel, sink).await?;
        }
        _ => at_once(broker, sealed, at, mask, json, sink).await?,
    }
    // What was written is the answer.
    Ok(Answer { human: String::new(), json: Value::Null, status: 0 })
}

/// A recording's place, and what its manifest must be signed with.
pub(super) struct SealedPlace {
    folder: PathBuf,
    number: u32,
    key: String,
}

impl SealedPlace {
    /// Where what was opened lies.
    pub(super) fn of(broker: &Broker, recorded: &Recorded, channel: &ChannelId) -> Result<Self, Error> {
        let (folder, _) = recorded.sealed.as_ref().ok_or_else(|| Refusal::no_such("recording", channel))?;
        Ok(Self { folder: broker.settings().recordings.join(folder), number: channel.number, key: broker.manifest_key()? })
    }

    /// Checks it, and opens it.
    pub(super) fn open(&self) -> Result<Recording, RecordError> {
        replay::open(&self.folder, self.number, &self.key)
    }
}

/// How it is shown.
pub(super) fn showing(unmask: bool) -> Showing {
    if unmask { Showing::Unmasked } else { Showing::Masked }
}

/// Played in a terminal, with keys.
async fn steered(broker: &Broker, deck: Deck, channel: &ChannelId, sink: &mut dyn Sink) -> Result<(), Error> {
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
async fn at_once(
    broker: &Broker,
    sealed: SealedPlace,
    at: Duration,
    mask: Option<Arc<Mask>>,
    json: bool,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let (pieces, mut ready) = tokio::sync::mpsc::channel(AHEAD);
    // Reading, checking and drawing are work for a thread of their own; the queue's bound keeps it at the reader's pace.
    let reading = tokio::task::spawn_blocking(move || written(&sealed, at, mask, json, &pieces));
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
fn written(
    sealed: &SealedPlace,
    at: Duration,
    mask: Option<Arc<Mask>>,
    json: bool,
    pieces: &tokio::sync::mpsc::Sender<Vec<u8>>,
) -> Result<(), RecordError> {
    let recording = sealed.open()?;
    let header = recording.header().clone();
    let send = |bytes| pieces.blocking_send(bytes).is_ok();
    if json {
        return events(recording, at, mask, send);
    }
    for line in Transcript::new(&header, recording).masked(mask) {
        let line = line?;
        if line.at >= at && !send((line.text + "\n").into_bytes()) {
            break;
        }
    }
    Ok(())
}

/// One array of events. What is masked cannot be found in pieces between which a program moves the cursor: so the output is told in lines,
/// as they stood on the screen, unless all of it may be seen.
fn events(recording: Recording, from: Duration, mask: Option<Arc<Mask>>, send: impl Fn(Vec<u8>) -> bool) -> Result<(), RecordError> {
    let array = Array { begun: Cell::new(false), taken: Cell::new(true), from, send };
    let header = recording.header().clone();
    let Some(mask) = mask else {
        for event in recording {
            let event = event?;
            let (code, text) = event.parts();
            array.put(since(&event), code, Some(text), false);
            if !array.taken.get() {
                break;
            }
        }
        array.end();
        return Ok(());
    };
    let others = recording.take_while(|_| array.taken.get()).inspect(|event| {
        let Ok(event) = event else { return };
        match event.parts() {
            ('i', _) => array.put(since(event), 'i', None, true),
            (code @ ('r' | 'm' | 'f'), text) => {
                let shown = mask.text(text);
                array.put(since(event), code, Some(&shown), shown != text);
            }
            _ => {}
        }
    });
    for line in Transcript::new(&header, others).masked(Some(Arc::clone(&mask))) {
        let line = line?;
        array.put(line.at, 'o', Some(&(line.text + "\r\n")), line.masked);
    }
    array.end();
    Ok(())
}

fn since(event: &CastEvent) -> Duration {
    Duration::try_from_secs_f64(event.time()).unwrap_or_default()
}

/// A JSON array that is written as it comes.
struct Array<S> {
    begun: Cell<bool>,
    /// Somebody still takes it.
    taken: Cell<bool>,
    from: Duration,
    send: S,
}

impl<S: Fn(Vec<u8>) -> bool> Array<S> {
    fn put(&self, at: Duration, kind: char, data: Option<&str>, masked: bool) {
        if at < self.from || !self.taken.get() {
            return;
        }
        let value = json!({ "at": at.as_secs_f64(), "kind": kind.to_string(), "data": data, "masked": masked });
        let before = if self.begun.replace(true) { "," } else { "[" };
        self.taken.set((self.send)(format!("{before}{}", super::json::print(&value)).into_bytes()));
    }

    fn end(&self) {
        (self.send)(if self.begun.get() { b"]\n".to_vec() } else { b"[]\n".to_vec() });
    }
}
