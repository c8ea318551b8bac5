//! `recordings --text`: finds recordings by what stood on their screens.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sessions::Places;
use super::{Answer, Caller, read};
use crate::access::names::{Note, SessionId, escaped};
use crate::access::policy::{Act, Policy};
use crate::access::refusal::Refusal;
use crate::broker::{Broker, Error, SessionFilter, SessionRow, may_search};
use crate::recording::text::{LONGEST, Needle, SHORTEST};

/// So many lines are shown..
const MOST_HITS: usize = 100;
/// ..and so many of one recording.
const MOST_OF_ONE: usize = 5;
/// Pieces of the index that are looked at at first, and at a time where many are.
const PAGES: (u32, u32) = (48, 768);
/// Pieces that are looked at for one search: a text whose every part is everywhere and that is nowhere.
const MOST_PIECES: usize = 200_000;
/// So much of a line is shown where the reader's width is not known.
const WIDTH: usize = 160;

/// A line that was found.
struct Hit {
    session: SessionId,
    channel: u32,
    /// Microseconds since the recording's beginning.
    at: u64,
    text: String,
}

/// What a search came to.
#[derive(Default)]
struct Found {
    hits: Vec<Hit>,
    rows: BTreeMap<SessionId, SessionRow>,
    /// There is more than is shown.
    more: bool,
}

/// What the caller finds of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finds {
    /// They may not play it.
    Nothing,
    /// What is not covered.
    Uncovered,
    /// All of it.
    All,
}

impl Finds {
    fn of(caller: &Caller, policy: &Policy, row: &SessionRow, places: &Places) -> Self {
        let host = places.get(&row.host);
        let may = |act| caller.person.as_ref().is_none_or(|person| policy.may(person, act, &host));
        match may(Act::Recordings) && may(Act::Replay) && caller.sees(&row.grant) {
            true if may(Act::Unmask) => Self::All,
            true => Self::Uncovered,
            false => Self::Nothing,
        }
    }
}

/// Finds `text` in the recordings that fit `filter` and that the caller may play. The search is an event, before a
/// line of it is shown. What is covered is shown to nobody;
/// and whoever may not unmask there does not find by it: hit or no hit would tell it digit by digit.
pub(super) async fn find(
    broker: &Broker,
    caller: &Caller,
    text: &str,
    filter: &SessionFilter,
    purpose: Option<&Note>,
) -> Result<Answer, Error> {
    let needle = Needle::parse(text).ok_or_else(|| {
        let refusal = Refusal::new("text", format!("a text that is sought has {SHORTEST} to {LONGEST} characters"));
        refusal.hint("name more of the line as it stood on the screen")
    })?;
    // Who may not is not sought for.
    caller.person.as_ref().map_or(Ok(()), |person| may_search(&broker.policy(), person))?;
    let found = hits(broker, caller, &needle, filter).await?;
    broker.search_recordings(&caller.actor, text, filter, found.hits.len() as u64, purpose.cloned()).await?;
    let human = told(&found, &needle, caller.look.columns.map_or(WIDTH, usize::from));
    let json = found.hits.iter().filter_map(|hit| Some(one(hit, found.rows.get(&hit.session)?))).collect::<Value>();
    Ok(Answer::done(human, json))
}

async fn hits(broker: &Broker, caller: &Caller, needle: &Needle, filter: &SessionFilter) -> Result<Found, Error> {
    let (policy, places) = (broker.policy(), Places::load(broker).await?);
    let mask = policy.mask();
    let (mut found, mut before, mut looked, mut page) = (Found::default(), None, 0, PAGES.0);
    let mut known: BTreeMap<SessionId, Finds> = BTreeMap::new();
    let mut of_one: BTreeMap<(SessionId, u32), usize> = BTreeMap::new();
    loop {
        let pieces = read(broker, broker.reader().text_pieces(needle, filter, before, page).await)?;
        page = PAGES.1.min(page * 4);
        looked += pieces.len();
        before = pieces.last().map(|piece| piece.id);
        for piece in pieces {
            let mut lines = piece.lines.into_iter().filter(|line| needle.is_in(&line.text)).peekable();
            if lines.peek().is_none() {
                continue;
            }
            if !known.contains_key(&piece.session) {
                let row = read(broker, broker.reader().session(&piece.session).await)?;
                let finds = row.as_ref().map_or(Finds::Nothing, |row| Finds::of(caller, &policy, row, &places));
                found.rows.extend(row.filter(|_| finds != Finds::Nothing).map(|row| (row.id.clone(), row)));
                known.insert(piece.session.clone(), finds);
            }
            let finds = known.get(&piece.session).copied().unwrap_or(Finds::Nothing);
            for line in lines.take_while(|_| finds != Finds::Nothing) {
                let text = mask.unfinished(&line.text);
                if finds == Finds::Uncovered && !needle.is_in(&text) {
                    continue;
                }
                let shown = of_one.entry((piece.session.clone(), piece.channel)).or_default();
                *shown += 1;
                if *shown > MOST_OF_ONE || found.hits.len() >= MOST_HITS {
                    found.more = true;
                    break;
                }
                found.hits.push(Hit { session: piece.session.clone(), channel: piece.channel, at: line.at, text: text.into_owned() });
            }
        }
        if before.is_none() || found.hits.len() >= MOST_HITS || looked >= MOST_PIECES {
            found.more |= before.is_some();
            sort(&mut found);
            return Ok(found);
        }
    }
}

/// The newest session first, each recording from its beginning on.
fn sort(found: &mut Found) {
    let began = |hit: &Hit| found.rows.get(&hit.session).map(|row| row.started_at);
    let mut keyed: Vec<_> = std::mem::take(&mut found.hits).into_iter().map(|hit| (began(&hit), hit)).collect();
    keyed.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| (&a.session, a.channel, a.at).cmp(&(&b.session, b.channel, b.at))));
    found.hits = keyed.into_iter().map(|(_, hit)| hit).collect();
}

fn told(found: &Found, needle: &Needle, width: usize) -> String {
    if found.hits.is_empty() {
        return "no recordings\n".to_owned();
    }
    let (mut human, mut last) = (String::new(), None);
    for hit in &found.hits {
        let Some(row) = found.rows.get(&hit.session) else { continue };
        if last != Some((&hit.session, hit.channel)) {
            last = Some((&hit.session, hit.channel));
            human.push_str(&format!("{}.{}  {} on {} as {}, {}\n", row.id, hit.channel, row.user, row.host, row.login, row.started_at));
        }
        let at = clock(hit.at);
        human.push_str(&format!("  {at:>9}  {}\n", around(&hit.text, needle, width.saturating_sub(13).max(20))));
        human.push_str(&format!("             {}\n", command(hit)));
    }
    if found.more {
        human.push_str("there is more: narrow it with --user --host --login --since --until, or name more of the line\n");
    }
    human
}

fn command(hit: &Hit) -> String {
    format!("ssh -t jit-bastion replay {}.{} --at {}", hit.session, hit.channel, clock(hit.at))
}

fn one(hit: &Hit, row: &SessionRow) -> Value {
    json!({
        "channel": format!("{}.{}", hit.session, hit.channel),
        "session": hit.session.as_str(),
        "user": row.user.as_str(),
        "host": row.host.as_str(),
        "login": row.login.as_str(),
        "grant": row.grant.as_str(),
        "started": row.started_at.to_string(),
        "at": clock(hit.at),
        "line": hit.text,
        "replay": command(hit),
    })
}

/// `1:02:03.5`, as `replay --at` reads it; never before the moment itself.
fn clock(micros: u64) -> String {
    let tenths = micros.div_ceil(100_000);
    let (hours, minutes, seconds, tenth) = (tenths / 36_000, tenths / 600 % 60, tenths / 10 % 60, tenths % 10);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}.{tenth}") } else { format!("{minutes}:{seconds:02}.{tenth}") }
}

/// As much of the line as fits, with the text in it.
fn around(line: &str, needle: &Needle, width: usize) -> String {
    let shown = escaped(line.trim());
    let chars: Vec<char> = shown.chars().collect();
    if chars.len() <= width {
        return shown;
    }
    // Where it stands in the folded line is near to where it stands in this one.
    let folded = crate::recording::text::folded(&shown);
    let at = folded.find(needle.as_str()).map_or(0, |at| folded.get(..at).map_or(0, |before| before.chars().count()));
    let from = at.saturating_sub(width / 3).min(chars.len() - width);
    let (left, right) = (if from > 0 { "…" } else { "" }, if from + width < chars.len() { "…" } else { "" });
    let inside = chars.iter().skip(from + left.chars().count()).take(width - left.chars().count() - right.chars().count());
    format!("{left}{}{right}", inside.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_replay_reads_it() {
        for (micros, text) in [(0, "0:00.0"), (1, "0:00.1"), (12_250_000, "0:12.3"), (3_723_400_000, "1:02:03.4"), (599_999_999, "10:00.0")]
        {
            assert_eq!(clock(micros), text);
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_text() {
        let needle = Needle::parse("PATIENT").unwrap();
        let line = format!("{} the patient is here {}", "x".repeat(300), "y".repeat(300));
        let shown = around(&line, &needle, 60);
        assert!(shown.chars().count() == 60 && shown.contains("the patient is here"), "{shown}");
        assert!(shown.starts_with('…') && shown.ends_with('…'));
        assert_eq!(around("a patient\u{1b}[2J", &needle, 60), "a patient\\u{1b}[2J");
        assert!(around(&format!("patient {}", "z".repeat(99)), &needle, 30).starts_with("patient zz"));
    }
}
