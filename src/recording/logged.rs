//! What the audit log says of sessions: entry by entry, in its order. What was said first stands, whatever comes later.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::access::names::SessionId;

/// How far a session has come, by the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Open {
        /// Its folder below the recordings' root.
        folder: PathBuf,
    },
    /// It is over, and nothing of it could be sealed; a later start may still do so.
    Unsealed {
        /// Its folder below the recordings' root.
        folder: PathBuf,
    },
    /// It is over and left recordings.
    Sealed {
        /// Their folder below the recordings' root.
        folder: PathBuf,
        /// The SHA-256 of their manifest.
        manifest: [u8; 32],
    },
}

/// What the audit log says of all sessions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logged(BTreeMap<SessionId, Fate>);

impl Logged {
    /// A session begins, in this folder below the recordings' root. False if the log knows it already: an id is given once.
    #[must_use]
    pub fn opened(&mut self, session: SessionId, folder: PathBuf) -> bool {
        let known = self.0.contains_key(&session);
        if !known {
            self.0.insert(session, Fate::Open { folder });
        }
        !known
    }

    /// A session is over, with the SHA-256 of its manifest where it left one. False if it is sealed already and this says otherwise.
    #[must_use]
    pub fn closed(&mut self, session: &SessionId, manifest: Option<[u8; 32]>) -> bool {
        let folder = match self.0.get(session) {
            Some(Fate::Sealed { manifest: sealed, .. }) => return manifest == Some(*sealed),
            Some(Fate::Open { folder } | Fate::Unsealed { folder }) => folder.clone(),
            None => session.as_str().into(),
        };
        let fate = manifest.map_or(Fate::Unsealed { folder: folder.clone() }, |manifest| Fate::Sealed { folder, manifest });
        self.0.insert(session.clone(), fate);
        true
    }

    /// What the log says of a session; none if it does not know it.
    pub fn of(&self, session: &SessionId) -> Option<&Fate> {
        self.0.get(session)
    }

    /// Those that go on.
    pub fn open(&self) -> impl Iterator<Item = &SessionId> {
        self.0.iter().filter(|(_, fate)| matches!(fate, Fate::Open { .. })).map(|(id, _)| id)
    }

    /// Those that left recordings, and the folder of each below the root.
    pub fn sealed(&self) -> impl Iterator<Item = (&SessionId, &PathBuf)> {
        self.0.iter().filter_map(|(id, fate)| if let Fate::Sealed { folder, .. } = fate { Some((id, folder)) } else { None })
    }
}
