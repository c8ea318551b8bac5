//! `watch SESSION`: look over the shoulder of somebody who is inside, from the screen as it is now.
//!
//! It is an event, with its purpose. The session neither waits for a viewer nor knows of one. Whoever may no longer watch sees nothing more.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::keys::{Keys, Pressed};
use super::parse::WatchWords;
use super::playing::written;
use super::purpose::{Asked, purpose};
use super::replay::showing;
use super::sink::{Happening, Sink};
use super::still::Still;
use super::{Answer, Caller, Waiting, read};
use crate::access::names::ChannelId;
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error, SessionRow};
use crate::recording::deck::{ENTER, LEAVE};
use crate::recording::onlooker::{Onlooker, OpenChannel, Over, open_channels};

/// The journal is looked at so often.
const PACE: Duration = Duration::from_millis(60);
/// After its channel was closed, so long until the session's own end is no longer waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// `watch SESSION [--unmask] [--because TEXT]`
pub(super) fn watch<'a>(
    broker: &'a Broker,
    caller: &'a Caller,
    words: &'a WatchWords,
    json: bool,
    sink: &'a mut dyn Sink,
) -> Waiting<'a, Result<Answer, Error>> {
    // It is large, and nobody else's answer needs room for it.
    Box::pin(watching(broker, caller, words, json, sink))
}

async fn watching(broker: &Broker, caller: &Caller, words: &WatchWords, json: bool, sink: &mut dyn Sink) -> Result<Answer, Error> {
    caller.human("watch", "SESSION")?;
    let id = &words.id.session;
    let no_terminal = || {
        let refusal = Refusal::new("no-terminal", "a session is watched at a terminal");
        refusal.hint(format!("ssh -t jit-bastion watch {id} --because WHY"))
    };
    if json || caller.look.columns.zip(caller.rows).is_none() {
        return Err(no_terminal().into());
    }
    let Asked { purpose, window } = purpose(broker, caller, words.because.as_ref(), &format!("watch {id}"), json, sink).await?;
    let (columns, rows) = window.ok_or_else(no_terminal)?;
    let journal = broker.settings().state.join("journal").join(format!("{id}.journal"));
    let channel = there(broker, caller, words, &journal).await?;
    let (row, number) = broker.watch_session(&caller.actor, id, channel, purpose, showing(words.unmask)).await?;
    let mut still = Still::watches(broker, caller, &row, words.unmask);
    let mask = (!words.unmask).then(|| broker.policy().mask());
    let channel = ChannelId { session: id.clone(), number };
    let title = format!("{channel}: {} as {} on {}", row.user, row.login, row.host);
    let opening = tokio::task::spawn_blocking(move || Onlooker::new(&journal, number, columns.into(), rows.into(), mask, title));
    let onlooker = read(broker, read(broker, opening.await)?)?;
    let looking = async { if sink.out(ENTER).await.is_ok() { looked(broker, &row, onlooker, sink).await } else { Ok(Left::Gone) } };
    let left = still.during(Box::pin(looking)).await;
    // Whoever has left needs no screen, and reads no last line.
    let _ = sink.out(LEAVE).await;
    let told = match left?? {
        Left::Enough | Left::Gone => format!("{channel}: left; it goes on\n"),
        Left::Over(Over::Channel) => format!("{channel}: closed\n"),
        Left::Over(Over::Session(ending)) => format!("{channel}: ended: {ending}\n"),
    };
    let _ = sink.out(told.as_bytes()).await;
    Ok(Answer { human: String::new(), json: Value::Null, status: 0 })
}

/// What there is to watch, or the refusal if there is nothing: for whoever may, so that the event follows what is really looked at. Of
/// whom the broker refuses anyway nobody reads a journal.
async fn there(broker: &Broker, caller: &Caller, words: &WatchWords, journal: &Path) -> Result<Result<u32, Refusal>, Error> {
    let nothing = || Err(nothing_there(words, &[]));
    let Some(row) = read(broker, broker.reader().session(&words.id.session).await)? else { return Ok(nothing()) };
    if !Still::watches(broker, caller, &row, words.unmask).may().await? {
        return Ok(nothing());
    }
    chosen(broker, words, journal).await
}

/// The channel that was named, or the first terminal, or the first channel at all.
async fn chosen(broker: &Broker, words: &WatchWords, journal: &Path) -> Result<Result<u32, Refusal>, Error> {
    let path = journal.to_owned();
    let looking = tokio::task::spawn_blocking(move || open_channels(&path));
    // A journal that is gone belongs to a session that has just ended.
    let open = read(broker, looking.await)?.unwrap_or_default();
    let found = match words.id.number {
        Some(number) => open.iter().find(|channel| channel.number == number),
        None => open.iter().find(|channel| channel.terminal).or_else(|| open.first()),
    };
    Ok(found.map(|channel| channel.number).ok_or_else(|| nothing_there(words, &open)))
}

fn nothing_there(words: &WatchWords, open: &[OpenChannel]) -> Refusal {
    let id = &words.id.session;
    let numbers: Vec<String> = open.iter().map(|channel| format!("{id}.{} ({})", channel.number, channel.kind.as_str())).collect();
    let refusal = Refusal::new("nothing-to-watch", format!("nothing is open there now that can be watched in {id}"));
    if numbers.is_empty() { refusal.hint("try again in a moment") } else { refusal.hint(format!("open are: {}", numbers.join(", "))) }
}

/// Why somebody watches no more.
enum Left {
    /// They have seen enough.
    Enough,
    /// They are not there any more.
    Gone,
    /// There is nothing more to see.
    Over(Over),
}

async fn looked(broker: &Broker, row: &SessionRow, mut onlooker: Onlooker, sink: &mut dyn Sink) -> Result<Left, Error> {
    let (mut keys, mut typing, mut closed) = (Keys::default(), true, None);
    loop {
        let since = broker.now().micros().saturating_sub(row.started_at.micros());
        #[expect(clippy::cast_precision_loss, reason = "seconds are told")]
        let since = since.max(0) as f64 / 1e6;
        // Reading and drawing are work for a thread of their own, a bounded piece at a time.
        let piece = tokio::task::spawn_blocking(move || {
            let more = onlooker.look();
            let bytes = onlooker.draw(since);
            (onlooker, more, bytes)
        });
        let (back, more, bytes) = read(broker, piece.await)?;
        onlooker = back;
        let more = read(broker, more)?;
        if !written(sink, &bytes).await {
            return Ok(Left::Gone);
        }
        match onlooker.over() {
            Some(over @ Over::Session(_)) => return Ok(Left::Over(over.clone())),
            Some(over) if closed.get_or_insert_with(Instant::now).elapsed() > LAST_WORDS => return Ok(Left::Over(over.clone())),
            // The journal does not tell the end of a session whose recorder failed.
            None if !more && broker.live().get(&row.id).is_none() => return ended(broker, row).await,
            _ => {}
        }
        match next(sink, typing, if more { Duration::ZERO } else { PACE }).await {
            None => return Ok(Left::Gone),
            Some(None) => {}
            Some(Some(Happening::Ended)) => typing = false,
            Some(Some(Happening::Resized { columns, rows })) => onlooker.resize(columns.into(), rows.into()),
            Some(Some(Happening::Typed(bytes))) => {
                for pressed in keys.read(&bytes) {
                    match pressed {
                        Pressed::Quit => return Ok(Left::Enough),
                        Pressed::Key(key) => onlooker.press(key),
                    }
                }
            }
        }
    }
}

/// What happens within a time, if something does; nothing at all when nobody is there any more.
async fn next(sink: &mut dyn Sink, typing: bool, within: Duration) -> Option<Option<Happening>> {
    if typing {
        return Some(tokio::time::timeout(within, sink.happening()).await.ok());
    }
    match tokio::time::timeout(within, sink.closed()).await {
        Ok(()) => None,
        Err(_) => Some(None),
    }
}

/// As the store tells it; it may be a moment late.
async fn ended(broker: &Broker, row: &SessionRow) -> Result<Left, Error> {
    let now = read(broker, broker.reader().session(&row.id).await)?;
    let ending = now.and_then(|row| row.ended).map_or_else(|| "it is over".to_owned(), |(_, ending)| ending.to_string());
    Ok(Left::Over(Over::Session(ending)))
}
