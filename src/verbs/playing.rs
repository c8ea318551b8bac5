//! A recording at somebody's terminal: time passes, keys are pressed, the window changes its size.

use std::time::Duration;

use tokio::time::Instant;

use super::keys::{Keys, Pressed};
use super::sink::{Happening, Sink};
use crate::recording::deck::{ENTER, LEAVE};
use crate::recording::{Deck, RecordError};

/// Text that is written without a pause to look whether the reader is still there.
const CHUNK: usize = 16 * 1024;

/// How it ended.
pub(super) enum Played {
    /// By a key, at the end, or because nobody was there any more. Where the recording stood.
    Left(String),
    /// The file is not what it was sealed as, or cannot be read.
    Bad(RecordError),
    /// The thread that played it is gone.
    Lost(tokio::task::JoinError),
}

/// Plays until somebody has had enough. The viewer's own screen is back afterwards.
pub(super) async fn steer(deck: Deck, sink: &mut dyn Sink) -> Played {
    if sink.out(ENTER).await.is_err() {
        return Played::Left(deck.clock());
    }
    let played = watched(deck, sink).await;
    // Whoever has left needs no screen.
    let _ = sink.out(LEAVE).await;
    played
}

async fn watched(mut deck: Deck, sink: &mut dyn Sink) -> Played {
    let (mut keys, mut typing, mut last) = (Keys::default(), true, Instant::now());
    loop {
        let now = Instant::now();
        let passed = now.duration_since(std::mem::replace(&mut last, now));
        // Reading and drawing are work for a thread of their own, a bounded piece at a time.
        let piece = tokio::task::spawn_blocking(move || {
            let bytes = deck.advance(passed);
            (deck, bytes)
        });
        let bytes = match piece.await {
            Ok((back, bytes)) => {
                deck = back;
                bytes
            }
            Err(lost) => return Played::Lost(lost),
        };
        match bytes {
            Ok(bytes) if written(sink, &bytes).await => {}
            Ok(_) => return Played::Left(deck.clock()),
            Err(bad) => return Played::Bad(bad),
        }
        // What stands still goes on only by a key.
        if deck.over() || (!typing && deck.due().is_none()) {
            return Played::Left(deck.clock());
        }
        match next(&deck, sink, typing).await {
            Next::Due => {}
            Next::Gone => return Played::Left(deck.clock()),
            Next::Happened(Happening::Ended) => typing = false,
            Next::Happened(Happening::Resized { columns, rows }) => deck.resize(columns.into(), rows.into()),
            Next::Happened(Happening::Typed(bytes)) => {
                for pressed in keys.read(&bytes) {
                    match pressed {
                        Pressed::Quit => return Played::Left(deck.clock()),
                        Pressed::Key(key) => {
                            if let Err(bad) = deck.press(key) {
                                return Played::Bad(bad);
                            }
                        }
                    }
                }
            }
        }
    }
}

enum Next {
    Due,
    Happened(Happening),
    Gone,
}

/// Waits for whatever comes first.
async fn next(deck: &Deck, sink: &mut dyn Sink, typing: bool) -> Next {
    let due = deck.due();
    if typing {
        return tokio::select! {
            biased;
            happening = sink.happening() => Next::Happened(happening),
            () = sleep(due) => Next::Due,
        };
    }
    tokio::select! {
        biased;
        () = sink.closed() => Next::Gone,
        () = sleep(due) => Next::Due,
    }
}

async fn sleep(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => std::future::pending().await,
    }
}

/// Whether the viewer is still there.
pub(super) async fn written(sink: &mut dyn Sink, bytes: &[u8]) -> bool {
    for piece in bytes.chunks(CHUNK) {
        if sink.out(piece).await.is_err() {
            return false;
        }
    }
    true
}
