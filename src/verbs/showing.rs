//! A recording that may be shown, shown: in a terminal in its own time, drawn by a virtual terminal of ours, with keys that steer it; without
//! one, or as JSON, written out at once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;

use super::parse::ReplayWords;
use super::playing::{self, Played};
use super::sink::Sink;
use crate::access::mask::Mask;
use crate::access::names::ChannelId;
use crate::recording::cast::CastEvent;
use crate::recording::replay::Recording;
use crate::recording::transcript::{Told, Transcript};
use crate::recording::{Deck, Pace, RecordError};

/// Events or lines that are read ahead of the reader; then the disk waits.
const AHEAD: usize = 16;

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
        return at_once(move |pieces| written(open()?, at, mask, json, pieces), sink).await;
    };
    let opening = tokio::task::spawn_blocking(move || {
        let recording = open()?;
        let beside = recording.beside();
        let deck = Deck::new(recording.rewindable()?, columns.into(), rows.into(), pace, at.as_secs_f64());
        deck.map(|deck| deck.masked(mask).beside(beside))
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

/// Writes out what a thread of its own makes: reading, checking and drawing may take long. It makes no more than is read.
pub(super) async fn at_once<T: Send + 'static>(
    make: impl FnOnce(&Pieces) -> Result<T, RecordError> + Send + 'static,
    sink: &mut dyn Sink,
) -> Result<T, Broken> {
    let (pieces, mut ready) = tokio::sync::mpsc::channel(AHEAD);
    let making = tokio::task::spawn_blocking(move || make(&Pieces(pieces)));
    while let Some(bytes) = ready.recv().await {
        if !playing::written(sink, &bytes).await {
            break;
        }
    }
    drop(ready);
    Ok(making.await??)
}

/// Takes what is to be written out.
pub(super) struct Pieces(tokio::sync::mpsc::Sender<Vec<u8>>);

impl Pieces {
    /// Waits until it is taken; false when nobody takes anything any more.
    pub(super) fn put(&self, bytes: Vec<u8>) -> bool {
        self.0.blocking_send(bytes).is_ok()
    }
}

/// Writes out one recording; runs on a thread that may block. Ends well when nobody takes the pieces any more.
fn written(recording: Recording, from: Duration, mask: Option<Arc<Mask>>, json: bool, pieces: &Pieces) -> Result<(), RecordError> {
    if json {
        return events(recording, from, mask, pieces);
    }
    let header = recording.header().clone();
    for line in Transcript::new(&header, recording).masked(mask).lines() {
        let line = line?;
        if line.at >= from && !pieces.put((line.text + "\n").into_bytes()) {
            break;
        }
    }
    Ok(())
}

/// One array of events. What is masked cannot be found in pieces between which a program moves the cursor: so the output is told in lines,
/// as they stood on the screen, unless all of it may be seen.
fn events(recording: Recording, from: Duration, mask: Option<Arc<Mask>>, pieces: &Pieces) -> Result<(), RecordError> {
    let mut array = Array::new(pieces);
    let mut put = |at: Duration, kind: char, data: Option<&str>, masked: bool| {
        let value = || json!({ "at": at.as_secs_f64(), "kind": kind.to_string(), "data": data, "masked": masked });
        at < from || array.put(&value())
    };
    let Some(mask) = mask else {
        for event in recording {
            let event = event?;
            let (code, text) = event.parts();
            if !put(since(&event), code, Some(text), false) {
                return Ok(());
            }
        }
        array.end();
        return Ok(());
    };
    let header = recording.header().clone();
    for told in Transcript::new(&header, recording).masked(Some(Arc::clone(&mask))) {
        let taken = match told? {
            Told::Line(line) => put(line.at, 'o', Some(&(line.text + "\r\n")), line.masked),
            Told::Event(event) => match event.parts() {
                ('i', _) => put(since(&event), 'i', None, true),
                (code @ ('r' | 'm' | 'f'), text) => {
                    let shown = mask.text(text);
                    put(since(&event), code, Some(&shown), shown != text)
                }
                _ => true,
            },
        };
        if !taken {
            return Ok(());
        }
    }
    array.end();
    Ok(())
}

fn since(event: &CastEvent) -> Duration {
    Duration::try_from_secs_f64(event.time()).unwrap_or_default()
}

/// A JSON array that is written as it comes.
pub(super) struct Array<'p> {
    pieces: &'p Pieces,
    begun: bool,
}

impl<'p> Array<'p> {
    /// Without an element yet.
    pub(super) fn new(pieces: &'p Pieces) -> Self {
        Self { pieces, begun: false }
    }

    /// One more. False when nobody takes anything any more.
    pub(super) fn put(&mut self, value: &Value) -> bool {
        let before = if std::mem::replace(&mut self.begun, true) { "," } else { "[" };
        self.pieces.put(format!("{before}{}", super::json::print(value)).into_bytes())
    }

    /// That was all.
    pub(super) fn end(self) {
        self.pieces.put(if self.begun { b"]\n".to_vec() } else { b"[]\n".to_vec() });
    }
}
