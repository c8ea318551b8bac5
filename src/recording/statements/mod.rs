//! What was asked of a database over a forward, where it was asked in the clear. A look at bytes that go on whatever is seen in them:
//! nothing here can fail, wait or change anything, and what is not understood ends the look and says so.

mod mask;
pub mod postgres;

use crate::access::names::escaped;

pub use mask::masked;

/// What of a statement is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Telling {
    /// Its words; every literal and comment is a question mark.
    #[default]
    Masked,
    /// All of it.
    Whole,
}

impl Telling {
    /// A statement as a line for people. `whole` says that `text` is not cut.
    fn line(self, text: &[u8], whole: bool) -> String {
        let text = String::from_utf8_lossy(text);
        let told = match self {
            Self::Masked => masked(&text),
            Self::Whole => text.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        let cut = if whole { "" } else { " [shortened]" };
        format!("{}{cut}", escaped(&told))
    }
}
