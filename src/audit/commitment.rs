//! Free text enters the log as a salted commitment: the text and its salt lie in a table of their own and can be erased (a patient's
//! name typed into a reason), and the tree still verifies. Without the salt nobody can find the text by trying likely ones.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::digest::Digest;

/// SHA-256 of 16 bytes of salt and then the text in UTF-8. As text 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(Digest);

/// The random bytes before a text; kept beside the text, erased with it.
pub type Salt = [u8; 16];

impl Commitment {
    /// Commits to `text`. A salt is drawn fresh for each text.
    pub fn make(text: &str, salt: &Salt) -> Self {
        Self(Digest::of_parts(&[salt, text.as_bytes()]))
    }

    /// Whether this is the commitment to `text` with `salt`.
    pub fn verify(&self, text: &str, salt: &Salt) -> bool {
        let again = Self::make(text, salt);
        self.0.as_bytes().ct_eq(again.0.as_bytes()).into()
    }

    /// The hash, as it is looked up in the table of texts.
    pub const fn digest(&self) -> Digest {
        self.0
    }
}

impl From<Digest> for Commitment {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_binds_text_and_salt() {
        let made = Commitment::make("ticket 4711", &[7; 16]);
        assert!(made.verify("ticket 4711", &[7; 16]));
        assert!(!made.verify("ticket 4712", &[7; 16]));
        assert!(!made.verify("ticket 4711", &[8; 16]));
        assert_eq!(Commitment::from(made.digest()), made);
    }
}
