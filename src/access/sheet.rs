//! TOML files that administrators keep under version control beside the policy: users, hosts. Unknown keys are errors, and every error
//! names file, line and column, shows the line, and points at the place.

use std::ops::Range;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use toml::Spanned;

use super::names::BadName;

/// What is wrong with such a file, and where.
pub use super::policy::PolicyError as SheetError;

/// A file's name and its text.
#[derive(Debug, Clone, Copy)]
pub struct Sheet<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Sheet<'a> {
    /// The `text` of `file`, as the file was named.
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text }
    }

    /// Reads the whole file. `T` and what is in it deny unknown fields; their places are [`Spanned`].
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SheetError> {
        toml::from_str(self.text).map_err(|error| {
            let found = self.wrong(error.span().unwrap_or(0..0), error.message());
            if error.message().starts_with("unknown") {
                found.hint("a key that is not listed has no effect in this version, so it is refused")
            } else {
                found
            }
        })
    }

    /// Something is wrong at `span`, in bytes of the text.
    pub fn wrong(&self, span: Range<usize>, message: impl Into<String>) -> SheetError {
        SheetError::at(self.file, self.text, span, message)
    }

    /// A value that is read from its text.
    pub fn value<T: FromStr<Err = BadName>>(&self, raw: &Spanned<String>) -> Result<T, SheetError> {
        self.value_by(raw, str::parse)
    }

    /// The same with a reader of its own.
    pub fn value_by<T>(&self, raw: &Spanned<String>, read: impl Fn(&str) -> Result<T, BadName>) -> Result<T, SheetError> {
        read(raw.get_ref()).map_err(|bad| self.wrong(raw.span(), bad.to_string()))
    }

    /// A list of values, in its order.
    pub fn values<T: FromStr<Err = BadName>>(&self, raw: &[Spanned<String>]) -> Result<Vec<T>, SheetError> {
        raw.iter().map(|raw| self.value(raw)).collect()
    }
}
