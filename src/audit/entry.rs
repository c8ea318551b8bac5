//! One line of the log, and its one form in bytes.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::canonical::{self, CanonicalError};
use super::event::Event;
use crate::access::names::Actor;
use crate::access::time::Timestamp;

/// The longest entry in bytes: names are short and free text is a commitment, so a longer one is not ours.
pub const LONGEST: usize = 64 * 1024;

/// One line of the log: who, when, what. Its canonical bytes are a leaf of the node's tree, and `seq` is that leaf's index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Dense from 0; the leaf's index in the tree.
    pub seq: u64,
    /// Wall time when it was logged. Never before that of the entry before it: the writer takes the later of the two.
    #[serde(rename = "time_us")]
    pub time: Timestamp,
    /// The log's origin: the node that wrote it.
    pub node: String,
    /// Who did it.
    pub actor: Actor,
    /// What was done: the members `event` (its name) and `data`.
    #[serde(flatten)]
    pub event: Event,
}

/// An entry that cannot be read or written.
#[derive(Debug, Error)]
pub enum EntryError {
    /// No canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// Canonical, but not an entry that this version knows.
    #[error("not an entry: {0}")]
    Shape(#[from] serde_json::Error),
    /// Longer than [`LONGEST`].
    #[error("an entry of {0} bytes is longer than {LONGEST}")]
    Long(usize),
}

impl Entry {
    /// The bytes that are stored verbatim and hashed: RFC 8785.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EntryError> {
        let bytes = canonical::encode(self)?;
        if bytes.len() > LONGEST { Err(EntryError::Long(bytes.len())) } else { Ok(bytes) }
    }

    /// Reads an entry of this version back. Refuses everything that is not in canonical form.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > LONGEST {
            return Err(EntryError::Long(bytes.len()));
        }
        Ok(serde_json::from_value(canonical::parse(bytes)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::names::{GrantId, RequestId};
    use crate::audit::commitment::Commitment;
    use crate::audit::event::Cause;

    fn entry(event: Event) -> Entry {
        Entry { seq: 7, time: Timestamp::from_micros(1_795_298_820_000_000), node: "bastion-1".into(), actor: Actor::System, event }
    }

    #[test]
    fn the_form_on_disk_is_fixed() {
        let event = Event::RequestDenied { request: RequestId::parse("r-7k2m9q").unwrap(), note: Commitment::make("no", &[0; 16]) };
        let bytes = entry(event).to_bytes().unwrap();
        let note = Commitment::make("no", &[0; 16]);
        let expected = format!(
            "{{\"actor\":\"system:bastion\",\"data\":{{\"note\":\"{note}\",\"request\":\"r-7k2m9q\"}},\
             \"event\":\"request-denied\",\"node\":\"bastion-1\",\"seq\":7,\"time_us\":1795298820000000}}"
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn entries_round_trip_and_refuse_what_they_do_not_know() {
        for event in [
            Event::ClockConfirmed {},
            Event::ClockAlarm { jump_ms: -400_000 },
            Event::GrantRevoked { grant: GrantId::parse("g-7k2m9q").unwrap(), cause: Cause::Policy, note: None },
        ] {
            let entry = entry(event);
            assert_eq!(Entry::parse(&entry.to_bytes().unwrap()).unwrap(), entry);
        }
        let unknown = br#"{"actor":"bob","data":{},"event":"tea-made","node":"n","seq":0,"time_us":0}"#;
        assert!(matches!(Entry::parse(unknown), Err(EntryError::Shape(_))));
        let extra = br#"{"actor":"bob","data":{"x":1},"event":"clock-confirmed","node":"n","seq":0,"time_us":0}"#;
        assert!(Entry::parse(extra).is_err());
        assert!(matches!(Entry::parse(&vec![b' '; LONGEST + 1]), Err(EntryError::Long(_))));
    }
}
