//! What a log says of sessions, and where it contradicts itself about one.

use std::path::Path;

use crate::access::names::SessionId;
use crate::audit::digest::Digest;
use crate::audit::entry::Entry;
use crate::audit::event::Event;
use crate::audit::verify::Row;
use crate::recording::Logged;

/// The most contradictions that are told one by one.
const MOST_WRONG: usize = 100;

/// What was learned from the entries so far.
#[derive(Default)]
pub(super) struct Learned {
    /// Those that were opened, and the manifest of each that is over and left recordings.
    pub sessions: Logged,
    /// What does not fit, each a sentence.
    pub wrong: Vec<String>,
}

impl Learned {
    /// The next entry. One that cannot be read is a finding of the log's own check.
    pub fn row(&mut self, row: &Row) {
        let Ok(entry) = Entry::parse(&row.bytes) else { return };
        match entry.event {
            Event::SessionOpened { session, .. } | Event::HostAuditBegun { session, .. } => {
                let folder = Path::new(&entry.time.date_path()).join(session.as_str());
                if !self.sessions.opened(session.clone(), folder) {
                    self.found(format!("entry {} opens {session} once more", row.seq));
                }
            }
            event => {
                if let Some((session, manifest)) = ended(&event)
                    && !self.sessions.closed(session, manifest.map(|manifest| *manifest.as_bytes()))
                {
                    self.found(format!("entry {} ends {session} once more, with other recordings", row.seq));
                }
            }
        }
    }

    fn found(&mut self, wrong: String) {
        match self.wrong.len() {
            n if n < MOST_WRONG => self.wrong.push(wrong),
            MOST_WRONG => self.wrong.push("and more entries that contradict earlier ones".to_owned()),
            _ => {}
        }
    }
}

/// The session that an event ends, and the digest of its manifest where it left one.
pub(super) fn ended(event: &Event) -> Option<(&SessionId, Option<Digest>)> {
    match event {
        Event::SessionClosed { session, manifest, .. }
        | Event::HostAudited { session, manifest, .. }
        | Event::SessionRecovered { session, manifest, .. } => Some((session, *manifest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::names::Actor;
    use crate::access::time::Timestamp;
    use crate::recording::Fate;

    fn learned(events: impl IntoIterator<Item = Event>) -> Learned {
        let mut learned = Learned::default();
        for (seq, event) in (0..).zip(events) {
            let entry = Entry { seq, time: Timestamp::from_micros(0), node: "n".into(), actor: Actor::System, event };
            learned.row(&Row { seq, bytes: entry.to_bytes().unwrap(), leaf: None });
        }
        learned
    }

    fn id() -> SessionId {
        SessionId::parse("s-000001").unwrap()
    }

    fn begun() -> Event {
        let (host, login) = ("phi-db".parse().unwrap(), "root".parse().unwrap());
        Event::HostAuditBegun { session: id(), host, login, serial: "1".into(), key_id: "k".into(), note: None }
    }

    fn over(manifest: Option<&str>) -> Event {
        Event::SessionRecovered { session: id(), manifest: manifest.map(|m| Digest::of(m.as_bytes())), recordings: 1, bytes: 9 }
    }

    #[test]
    fn later_entries_take_nothing_back() {
        let honest = learned([begun(), over(None), over(Some("a"))]);
        assert!(honest.wrong.is_empty(), "what a later start has sealed: {:?}", honest.wrong);
        let sealed = Fate::Sealed { folder: "1970/01/01/s-000001".into(), manifest: *Digest::of(b"a").as_bytes() };
        for (more, told) in [
            (begun(), "entry 2 opens s-000001 once more"),
            (over(Some("b")), "entry 2 ends s-000001 once more, with other recordings"),
            (over(None), "entry 2 ends s-000001 once more, with other recordings"),
        ] {
            let found = learned([begun(), over(Some("a")), more]);
            assert_eq!((found.wrong, found.sessions.of(&id())), (vec![told.to_owned()], Some(&sealed)));
        }
        assert_eq!(learned([begun(), begun()]).wrong, ["entry 1 opens s-000001 once more"]);
        assert_eq!(learned((0..500).map(|_| begun())).wrong.len(), MOST_WRONG + 1);
    }
}
