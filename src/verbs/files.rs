//! `replay ID --files`: the files that were moved, as a table. It is the same reading of a recording as to play it: the same right, the
//! same purpose, the same event, the same mask.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::parse::{Playable, ReplayWords};
use super::purpose::{Asked, purpose};
use super::replay::{SealedPlace, showing};
use super::showing::{Array, Broken, Pieces, at_once};
use super::sink::Sink;
use super::still::Still;
use super::table::Table;
use super::text::Look;
use super::{Answer, Caller, read};
use crate::access::mask::Mask;
use crate::access::names::ChannelId;
use crate::access::time::{Span, Timestamp};
use crate::broker::{Broker, ChannelRow, Error, Recorded};
use crate::recording::RecordError;
use crate::recording::files::scp::Scp;
use crate::recording::files::{FileAct, Moved};
use crate::recording::replay::Recording;

/// A table has no more rows: its columns are as wide as what stands in them, so it is made whole. As JSON all are told.
const MOST: usize = 20_000;
/// Nor more text, in bytes: the names were chosen by whoever was recorded.
const MOST_TEXT: usize = 8 << 20;

/// The files of one channel, or of each channel of a session that moves files.
pub(super) async fn list(
    broker: &Broker,
    caller: &Caller,
    words: &ReplayWords,
    id: &Playable,
    json: bool,
    sink: &mut dyn Sink,
) -> Result<Answer, Error> {
    let Asked { purpose, .. } = purpose(broker, caller, words.because.as_ref(), &format!("replay {id} --files"), json, sink).await?;
    let opened = broker.open_recording(&caller.actor, &id.session, id.number, purpose, showing(words.unmask)).await?;
    let mut still = Still::replays(broker, caller, opened.host.clone(), words.unmask);
    let place = |number| SealedPlace::of(broker, &opened, &ChannelId { session: id.session.clone(), number });
    let places = movers(broker, id, &opened).await?.into_iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let listing = Listing { mask: (!words.unmask).then(|| broker.policy().mask()), look: caller.look, json };
    let told = still.during(Box::pin(listing.tell(places.into_iter().map(|place| place.open()), sink))).await?;
    read(broker, told)?;
    // What was written is the answer.
    Ok(Answer::done("", Value::Null))
}

/// The channel itself, or all of a session that can move files.
async fn movers(broker: &Broker, id: &Playable, opened: &Recorded) -> Result<Vec<u32>, Error> {
    if let Some(number) = id.number {
        return Ok(vec![number]);
    }
    let Some(row) = read(broker, broker.reader().session(&id.session).await)? else {
        return Ok(opened.numbers.iter().copied().collect());
    };
    let moves = |row: &ChannelRow| match row.kind.as_str() {
        "sftp" => true,
        "exec" => row.command.as_ref().is_some_and(|command| Scp::of(command.as_bytes()).is_some()),
        _ => false,
    };
    Ok(row.channels.iter().filter(|row| moves(row)).map(|row| row.number).collect())
}

/// What was done to files, with its time and its channel.
pub struct Listing {
    /// Covers what this masks; none shows it.
    pub mask: Option<Arc<Mask>>,
    /// How a table is read.
    pub look: Look,
    /// As one array, and no table.
    pub json: bool,
}

impl Listing {
    /// Reads all of these recordings and writes what they tell of. That a table does not show all is said on standard error.
    pub async fn tell(
        self,
        recordings: impl Iterator<Item = Result<Recording, RecordError>> + Send + 'static,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        let cut =
            at_once(move |pieces| if self.json { self.array(recordings, pieces) } else { self.table(recordings, pieces) }, sink).await?;
        if cut {
            // Whoever has left reads nothing more.
            let _ = sink.err(b"there are more; `--json` tells all, and so does `replay` of one channel\n").await;
        }
        Ok(())
    }

    /// Element by element: it needs the memory of one.
    fn array(&self, recordings: impl Iterator<Item = Result<Recording, RecordError>>, pieces: &Pieces) -> Result<bool, RecordError> {
        let mut array = Array::new(pieces);
        for recording in recordings {
            for act in acts(recording?) {
                let (channel, at, act) = act?;
                if !array.put(&self.one(&channel, at, &act)) {
                    return Ok(false);
                }
            }
        }
        array.end();
        Ok(false)
    }

    /// As far as it may be long. Whether there is more.
    fn table(&self, recordings: impl Iterator<Item = Result<Recording, RecordError>>, pieces: &Pieces) -> Result<bool, RecordError> {
        let mut table = Table::new(["time", "act", "path", "size", "sha256", "outcome"]);
        let (mut rows, mut text, mut cut) = (0, 0, false);
        'all: for recording in recordings {
            for act in acts(recording?) {
                let (_, at, act) = act?;
                cut = rows >= MOST || text >= MOST_TEXT;
                if cut {
                    break 'all;
                }
                for row in self.rows(at, &act) {
                    rows += 1;
                    text += row.iter().map(String::len).sum::<usize>();
                    table.row(row);
                }
            }
        }
        pieces.put(if rows == 0 { b"no files\n".to_vec() } else { table.print(self.look).into_bytes() });
        Ok(cut)
    }

    fn rows(&self, at: Timestamp, act: &FileAct) -> Vec<[String; 6]> {
        let (act, _) = self.covered(act);
        let row = |(word, moved): (&str, Option<&Moved>)| {
            let (size, sha256) = moved.map_or_else(Default::default, |moved| (moved.bytes.to_string(), digest(moved)));
            [at.to_string(), word.to_owned(), place(&act), size, sha256, act.outcome.clone()]
        };
        act.parts().into_iter().map(row).collect()
    }

    fn one(&self, channel: &ChannelId, at: Timestamp, act: &FileAct) -> Value {
        let (act, masked) = self.covered(act);
        json!({ "channel": channel.to_string(), "at": at.to_string(), "file": act, "masked": masked })
    }

    /// A name can be a patient's number.
    fn covered(&self, act: &FileAct) -> (FileAct, bool) {
        let mut shown = act.clone();
        if let Some(mask) = &self.mask {
            let texts = [Some(&mut shown.path), Some(&mut shown.outcome), shown.to.as_mut(), shown.place.as_mut(), shown.change.as_mut()];
            texts.into_iter().flatten().for_each(|text| *text = mask.text(text).into_owned());
        }
        let masked = shown != *act;
        (shown, masked)
    }
}

/// What one recording tells of, as it is read.
fn acts(recording: Recording) -> impl Iterator<Item = Result<(ChannelId, Timestamp, FileAct), RecordError>> {
    let session = &recording.manifest().session;
    let began = session.started.plus(Span::from_duration(Duration::from_micros(recording.channel().began_us)));
    let channel = ChannelId { session: session.session.clone(), number: recording.channel().number };
    recording.filter_map(move |event| {
        let event = match event {
            Ok(event) => event,
            Err(error) => return Some(Err(error)),
        };
        let ('f', text) = event.parts() else { return None };
        let act = serde_json::from_str(text).ok()?;
        let at = Duration::try_from_secs_f64(event.time()).unwrap_or_default();
        Some(Ok((channel.clone(), began.plus(Span::from_duration(at)), act)))
    })
}

fn digest(moved: &Moved) -> String {
    match (&moved.sha256, moved.ranges.len()) {
        (Some(sha256), _) => sha256.clone(),
        (None, 0) => String::new(),
        (None, n) => format!("of {n} ranges"),
    }
}

fn place(act: &FileAct) -> String {
    let mut path = act.path.clone();
    if let Some(to) = &act.to {
        path.push_str(&format!(" -> {to}"));
    }
    if let Some(place) = &act.place {
        path.push_str(&format!(", below {place}"));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::files::Act;

    #[test]
    fn a_number_in_a_name_is_covered_in_table_and_json() {
        let act = FileAct {
            act: Act::Rename,
            path: "/exports/MRN 4711123.csv".into(),
            place: None,
            to: Some("/exports/123-45-6789".into()),
            read: None,
            written: None,
            change: None,
            outcome: "ok".into(),
        };
        let channel = ChannelId { session: "s-7k2m9q".parse().unwrap(), number: 2 };
        let at = Timestamp::from_micros(0);
        for (mask, shown) in [(Some(Arc::new(Mask::built_in())), false), (None, true)] {
            let listing = Listing { mask, look: Look { columns: None, color: false }, json: false };
            let row = listing.rows(at, &act).concat().join(" ");
            let told = listing.one(&channel, at, &act);
            assert_eq!((told["masked"] == true, told["channel"] == "s-7k2m9q.2"), (!shown, true), "{told}");
            for text in [row, told.to_string()] {
                assert!(text.contains("/exports/MRN ") && text.contains("rename"), "{text}");
                assert_eq!((text.contains("4711123"), text.contains("6789")), (shown, shown), "{text}");
            }
        }
    }
}
