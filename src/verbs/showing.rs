//! A recording that may be shown, shown: in a terminal in its own time, drawn by a virtual terminal of ours, with keys that steer it; without
//! one, or as JSON, written out at once.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use thiserror::Error;

use super::parse::ReplayWords;
use super::playing::{self, Played};
use super::sink::Sink;
use crate::access::mask::Mask;
use crate::access::names::ChannelId;
use crate::recording::cast::CastEvent;
use crate::recording::replay::Recording;
use crate::recording::transcript::Transcript;
use crate::recording::{Deck, Pace, RecordError};

/// Events or lines that are read ahead of the reader; then the disk waits.
const AHEAD: usize = 16;
/// Text that is written without a pause to look whether the reader is still there.
const CHUNK: usize = 16 * 1024;

/// How it is shown.
pub struct How {
    /// How fast, where it is played.
    pub pace: Pace,
    /// From this time of the recording on.
    pub at: Duration,
    /// Covers what this masks; none shows it.
    pub mask: Option<Arc<Mask>>,
    /// Columns and rows of the terminal that it is played in, if there is one.
    pub window: Option<(u16, u16)>,
    /// As one array of events.
    pub json: bool,
}

impl How {
    /// As the words say, for a terminal of this size.
    pub fn new(words: &ReplayWords, mask: Option<Arc<Mask>>, window: Option<(u16, u16)>, json: bool) -> Self {
        let pace = Pace { speed: words.speed, idle_limit: words.idle_limit };
        Self { pace, at: words.at.unwrap_or_default(), mask, window, json }
    }
}

/// A recording that cannot be shown to its end.
#[derive(Debug, Error)]
pub enum Broken {
    /// The file is not what it was sealed as, or cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordError),
    /// The thread that played it is gone.
    #[error("the player broke: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Opens a recording on a thread that may block, and shows it on `sink` until its end, or until nobody reads it any more.
pub async fn show(
    open: impl FnOnce() -> Result<Recording, RecordError> + Send + 'static,
    channel: &ChannelId,
    how: How,
    sink: &mut dyn Sink,
) -> Result<(), Broken> {
    let How { pace, at, mask, window, json } = how;
    let Some((columns, rows)) = window.filter(|_| !json) else {
        return at_once(open, at, mask, json, sink).await;
    };
    let opening = tokio::task::spawn_blocking(move || {
        let deck = Deck::new(open()?.rewindable()?, columns.into(), rows.into(), pace, at.as_secs_f64());
        deck.map(|deck| deck.masked(mask))
    });
    match playing::steer(opening.await??, sink).await {
        Played::Left(at) => {
            // Whoever has left reads no last line.
            let _ = sink.out(format!("{channel}: left at {at}\n").as_bytes()).await;
            Ok(())
        }
        Played::Bad(bad) => Err(bad.into()),
        Played::Lost(lost) => Err(lost.into()),
    }
}

/// Written out as fast as it is read.
async fn at_once(
    open: impl FnOnce() -> Result<Recording, RecordError> + Send + 'static,
    at: Duration,
    mask: Option<Arc<Mask>>,
    json: bool,
    sink: &mut dyn Sink,
) -> Result<(), Broken> {
    let (pieces, mut ready) = tokio::sync::mpsc::channel(AHEAD);
    // Reading, checking and drawing are work for a thread of their own; the queue's bound keeps it at the reader's pace.
    let reading = tokio::task::spawn_blocking(move || written(open()?, at, mask, json, &pieces));
    'all: while let Some(bytes) = ready.recv().await {
        for piece in bytes.chunks(CHUNK) {
            if sink.out(piece).await.is_err() {
                break 'all;
            }
        }
    }
    drop(ready);
    Ok(reading.await??)
}

/// Writes out one recording; runs on a thread that may block. Ends well when nobody takes the pieces any more.
fn written(
    recording: Recording,
    at: Duration,
    mask: Option<Arc<Mask>>,
    json: bool,
    pieces: &tokio::sync::mpsc::Sender<Vec<u8>>,
) -> Result<(), RecordError> {
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
