//! `replay ID`: plays a recording. Opening it is an event with its reader and their purpose; the seal is checked before the first byte is shown.

use serde_json::Value;

use super::parse::{Playable, ReplayWords};
use super::purpose::{Asked, purpose};
use super::showing::{How, show};
use super::sink::Sink;
use super::still::Still;
use super::{Answer, Caller, Waiting, files, read};
use crate::access::names::ChannelId;
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error, Recorded, Showing};
use crate::recording::RecordError;
use crate::recording::deck::LEAVE;
use crate::recording::replay::{self, Recording, Vouched};

/// `replay ID [--speed N] [--idle-limit S] [--at TIME] [--unmask] [--because TEXT]`, or `replay ID --files`
pub(super) fn play<'a>(
    broker: &'a Broker,
    caller: &'a Caller,
    words: &'a ReplayWords,
    json: bool,
    sink: &'a mut dyn Sink,
) -> Waiting<'a, Result<Answer, Error>> {
    // It is large, and nobody else's answer needs room for it.
    Box::pin(playing(broker, caller, words, json, sink))
}

async fn playing(broker: &Broker, caller: &Caller, words: &ReplayWords, json: bool, sink: &mut dyn Sink) -> Result<Answer, Error> {
    let Some(id) = words.id.as_ref().filter(|_| words.exported.export.is_none()) else {
        let refusal = Refusal::new("local-only", "a file is played on the machine where it lies");
        return Err(refusal.hint("there: jit-bastion replay --export FILE").into());
    };
    if caller.person.is_none() {
        return Err(only_by_key(id).into());
    }
    if words.files {
        return files::list(broker, caller, words, id, json, sink).await;
    }
    let channel = chosen(broker, id).await?;
    let Asked { purpose, window } = purpose(broker, caller, words.because.as_ref(), &format!("replay {channel}"), json, sink).await?;
    let opened = broker.open_recording(&caller.actor, &channel.session, Some(channel.number), purpose, showing(words.unmask)).await?;
    let mut still = Still::replays(broker, caller, opened.host.clone(), words.unmask);
    let mask = (!words.unmask).then(|| broker.policy().mask());
    let sealed = SealedPlace::of(broker, &opened, &channel)?;
    let how = How::new(words, mask, window, json);
    let in_window = how.window.is_some() && !json;
    let shown = still.during(Box::pin(show(move || sealed.open(), &channel, how, sink))).await;
    if shown.is_err() && in_window {
        // It was given up in the middle: their own screen is still away.
        let _ = sink.out(LEAVE).await;
    }
    read(broker, shown?)?;
    // What was written is the answer.
    Ok(Answer { human: String::new(), json: Value::Null, status: 0 })
}

/// On the bastion's own command line no key has proven who looks: where `id` is played instead.
pub fn only_by_key(id: &Playable) -> Refusal {
    let (session, channel) = (&id.session, id.number.map_or_else(String::new, |number| format!(" --channel {number}")));
    let file = format!("jit-bastion export --session {session}, then on any machine jit-bastion replay --export {session}.tar{channel}");
    Refusal::new("ssh-only", "replay exists only over SSH, where a key proves who")
        .hint(format!("ssh -t jit-bastion replay {id}; or hand it out as a file: {file}"))
}

/// A recording's place, what the log says of it, and what its manifest must be signed with.
pub(super) struct SealedPlace {
    vouched: Vouched,
    number: u32,
    key: String,
}

impl SealedPlace {
    /// Where what was opened lies.
    pub(super) fn of(broker: &Broker, recorded: &Recorded, channel: &ChannelId) -> Result<Self, Error> {
        let (folder, manifest) = recorded.sealed.as_ref().ok_or_else(|| Refusal::no_such("recording", channel))?;
        let folder = broker.settings().recordings.join(folder);
        let vouched = Vouched { folder, session: channel.session.clone(), manifest: *manifest.as_bytes() };
        Ok(Self { vouched, number: channel.number, key: broker.manifest_key()? })
    }

    /// Checks it, and opens it.
    pub(super) fn open(&self) -> Result<Recording, RecordError> {
        replay::open(&self.vouched, self.number, &self.key)
    }
}

/// How it is shown.
pub(super) fn showing(unmask: bool) -> Showing {
    if unmask { Showing::Unmasked } else { Showing::Masked }
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
