//! `replay ID --files`: the files that were moved, as a table. It is the same reading of a recording as to play it: the same right, the
//! same purpose, the same event, the same mask.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::parse::{Playable, ReplayWords};
use super::purpose::purpose;
use super::replay::{SealedPlace, showing};
use super::sink::Sink;
use super::table::Table;
use super::text::Look;
use super::{Answer, Caller, read};
use crate::access::mask::Mask;
use crate::access::names::ChannelId;
use crate::access::time::{Span, Timestamp};
use crate::broker::{Broker, Error};
use crate::recording::RecordError;
use crate::recording::files::{FileAct, Moved};
use crate::recording::replay::Recording;

/// No more are shown: their recordings have them all.
const MOST: usize = 20_000;

/// The files of one channel, or of each channel of a session that moves files.
pub(super) async fn list(
    broker: &Broker,
    caller: &Caller,
    words: &ReplayWords,
    id: &Playable,
    json: bool,
    sink: &mut dyn Sink,
) -> Result<Answer, Error> {
    let purpose = purpose(broker, caller, words.because.as_ref(), &format!("replay {id} --files"), json, sink).await?;
    let mut listing = Listing::new((!words.unmask).then(|| broker.policy().mask()));
    for channel in channels(broker, id).await? {
        let session = broker.open_recording(&caller.actor, &channel, purpose.clone(), showing(words.unmask)).await?;
        let place = SealedPlace::of(broker, &session, &channel)?;
        let reading = tokio::task::spawn_blocking(move || listing.with(place.open()?));
        listing = read(broker, read(broker, reading.await)?)?;
        if listing.cut {
            break;
        }
    }
    listing.tell(caller.look, json, sink).await.map_err(|gone| broker.fault(&gone))?;
    // What was written is the answer.
    Ok(Answer::done("", Value::Null))
}

fn of(id: &Playable, number: u32) -> ChannelId {
    ChannelId { session: id.session.clone(), number }
}

/// The channel itself, or all of a session that can move files.
async fn channels(broker: &Broker, id: &Playable) -> Result<Vec<ChannelId>, Error> {
    if let Some(number) = id.number {
        return Ok(vec![of(id, number)]);
    }
    let rows = read(broker, broker.reader().session(&id.session).await)?.map(|row| row.channels).unwrap_or_default();
    let movers: Vec<ChannelId> =
        rows.iter().filter(|row| ["sftp", "exec"].contains(&row.kind.as_str())).map(|row| of(id, row.number)).collect();
    // One that is not there, or that nobody may see, is refused where it is opened.
    Ok(if movers.is_empty() { vec![of(id, rows.iter().map(|row| row.number).min().unwrap_or(1))] } else { movers })
}

/// What was done to files, with its time and its channel.
pub struct Listing {
    mask: Option<Arc<Mask>>,
    acts: Vec<(ChannelId, Timestamp, FileAct)>,
    cut: bool,
}

impl Listing {
    /// Covers what this masks; none shows it.
    pub fn new(mask: Option<Arc<Mask>>) -> Self {
        Self { mask, acts: Vec::new(), cut: false }
    }

    /// What one recording tells of. Reads all of it.
    pub fn with(mut self, recording: Recording) -> Result<Self, RecordError> {
        let session = &recording.manifest().session;
        let began = session.started.plus(Span::from_duration(Duration::from_micros(recording.channel().began_us)));
        let channel = ChannelId { session: session.session.clone(), number: recording.channel().number };
        for event in recording {
            let event = event?;
            let ('f', text) = event.parts() else { continue };
            let Ok(act) = serde_json::from_str(text) else { continue };
            self.cut = self.acts.len() >= MOST;
            if self.cut {
                break;
            }
            let at = Duration::try_from_secs_f64(event.time()).unwrap_or_default();
            self.acts.push((channel.clone(), began.plus(Span::from_duration(at)), act));
        }
        Ok(self)
    }

    /// Writes it as a table, or as one array. That there is more is said on standard error.
    pub async fn tell(&self, look: Look, json: bool, sink: &mut dyn Sink) -> std::io::Result<()> {
        let text = match json {
            true => super::json::print(&self.acts.iter().map(|(channel, at, act)| self.one(channel, *at, act)).collect()),
            false if self.acts.is_empty() => "no files\n".to_owned(),
            false => self.table().print(look),
        };
        sink.out(text.as_bytes()).await?;
        if self.cut {
            sink.err(format!("only the first {MOST}; `replay` of one channel shows all of its\n").as_bytes()).await?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new(["time", "act", "path", "size", "sha256", "outcome"]);
        for (_, at, act) in &self.acts {
            let (act, _) = self.covered(act);
            for (word, moved) in act.parts() {
                let (size, sha256) = moved.map_or_else(Default::default, |moved| (moved.bytes.to_string(), digest(moved)));
                table.row([at.to_string(), word.to_owned(), place(&act), size, sha256, act.outcome.clone()]);
            }
        }
        table
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
        for (mask, shown) in [(Some(Arc::new(Mask::built_in())), false), (None, true)] {
            let mut listing = Listing::new(mask);
            listing.acts.push((channel.clone(), Timestamp::from_micros(0), act.clone()));
            let table = listing.table().print(Look { columns: None, color: false });
            let told = listing.one(&channel, Timestamp::from_micros(0), &act);
            assert_eq!((told["masked"] == true, told["channel"] == "s-7k2m9q.2"), (!shown, true), "{told}");
            for text in [table, told.to_string()] {
                assert!(text.contains("/exports/MRN ") && text.contains("rename"), "{text}");
                assert_eq!((text.contains("4711123"), text.contains("6789")), (shown, shown), "{text}");
            }
        }
    }
}
