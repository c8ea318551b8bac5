//! `replay --export FILE`: plays what was handed out, on any machine. The file is verified first, as `verify --export` does it.
//!
//! Nobody is asked for a right: whoever holds the file holds all that is in it. That it was handed out, to whom and what for, is an event
//! where it was made. What is masked over SSH is covered here too, for the sake of whoever looks over a shoulder, unless all is asked for;
//! a policy's own patterns are not in the file.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::evidence::{self, Exported};
use super::failure::Failure;
use super::open;
use super::said::{Outcome, Said};
use super::terminal::Terminal;
use super::verb::Here;
use crate::access::mask::Mask;
use crate::access::names::ChannelId;
use crate::recording::{ChannelKind, Manifest};
use crate::verbs::parse::ReplayWords;
use crate::verbs::{How, Listing, Look, show};

/// Verifies the file, then plays one of its recordings, or lists the files that they tell of.
pub(super) fn play(file: &Path, words: &ReplayWords, look: Look, json: bool) -> Outcome {
    let (exported, summary) = evidence::exported(file, words.exported.key.as_deref())?;
    eprintln!("verified  {summary}");
    let manifest = exported.manifest().context("a file that was verified has a manifest")?;
    let mask = (!words.unmask).then(|| Arc::new(Mask::built_in()));
    let wanted = wanted(manifest, words)?;
    open::block_on(async {
        match words.files {
            true => list(exported, wanted, Listing { mask, look, json }).await?,
            false => shown(exported, &wanted, How::new(words, mask, None, json)).await?,
        }
        Ok(Said::nothing(0))
    })
}

/// The recordings that are meant: the one that is named, the first, or of a list those that can move files.
fn wanted(manifest: &Manifest, words: &ReplayWords) -> Result<Vec<ChannelId>, Failure> {
    let session = &manifest.session.session;
    let all = || manifest.channels.iter().map(|channel| (channel.number, channel.kind));
    let numbers: Vec<u32> = match (words.exported.channel, words.files) {
        (Some(number), _) => all().map(|(number, _)| number).filter(|found| *found == number).collect(),
        (None, true) => all().filter(|(_, kind)| matches!(kind, ChannelKind::Sftp | ChannelKind::Exec)).map(|(number, _)| number).collect(),
        (None, false) => all().map(|(number, _)| number).min().into_iter().collect(),
    };
    if numbers.is_empty() && !words.files {
        let has: Vec<String> = manifest.channels.iter().map(|channel| format!("{} ({})", channel.number, channel.kind.as_str())).collect();
        let next = if has.is_empty() { "it holds none at all".to_owned() } else { format!("it holds: {}", has.join(", ")) };
        return Err(Failure::refused("no-such", format!("{session} has no such recording"), next));
    }
    Ok(numbers.into_iter().map(|number| ChannelId { session: session.clone(), number }).collect())
}

async fn list(exported: Exported, wanted: Vec<ChannelId>, listing: Listing) -> anyhow::Result<()> {
    let recordings = wanted.into_iter().map(move |channel| exported.open(channel.number));
    Ok(listing.tell(recordings, &mut Here).await?)
}

async fn shown(exported: Exported, wanted: &[ChannelId], how: How) -> anyhow::Result<()> {
    let Some(channel) = wanted.first() else { return Ok(()) };
    let number = channel.number;
    let open = move || exported.open(number);
    if how.json || !std::io::stdout().is_terminal() {
        return Ok(show(open, channel, how, &mut Here).await?);
    }
    let mut terminal = Terminal::enter().context("cannot play in this terminal")?;
    let window = terminal.size();
    Ok(show(open, channel, How { window, ..how }, &mut terminal).await?)
}
