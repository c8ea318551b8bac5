//! The primitives of RFC 4251 section 5, read from a slice and written to a vector.

use thiserror::Error;

/// What a peer did that ends its connection, or why nothing can be sent now.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum WireError {
    /// A field is longer than the message, or a message longer than its limit.
    #[error("a message ends before its fields do")]
    Truncated,
    /// A field is present but not of its form.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A packet failed its authentication tag.
    #[error("a packet failed its integrity check")]
    Corrupt,
    /// A limit of ours was passed.
    #[error("{0} is beyond the limit")]
    TooLarge(&'static str),
    /// The peer sent what its state does not allow.
    #[error("message {0} is not allowed here")]
    Unexpected(u8),
    /// No algorithm in common.
    #[error("no common {0}: the peer offers {1}")]
    NoCommon(&'static str, String),
    /// A host key or host certificate is not the one we trust.
    #[error("host key refused: {0}")]
    HostKey(String),
    /// A signature does not verify.
    #[error("a signature does not verify")]
    Signature,
    /// Key exchange is running: nothing but its messages may be sent.
    #[error("a key exchange is running")]
    Busy,
    /// The peer said goodbye: RFC 4253 section 11.1.
    #[error("the peer disconnected: {text} (code {code})")]
    Disconnected {
        /// Reason code of RFC 4253 section 11.1.
        code: u32,
        /// The peer's words, at most 400 characters, control characters removed.
        text: String,
    },
    /// Our own cryptography refused to work.
    #[error("cryptographic operation failed: {0}")]
    Crypto(&'static str),
}

/// Reads RFC 4251 primitives from a message, front to back.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `n` raw bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(WireError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        let (&first, tail) = self.rest.split_first().ok_or(WireError::Truncated)?;
        self.rest = tail;
        Ok(first)
    }

    /// A boolean: every byte but 0 is true.
    pub fn bool(&mut self) -> Result<bool, WireError> {
        Ok(self.u8()? != 0)
    }

    /// A big-endian 32-bit number.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| WireError::Truncated)?))
    }

    /// A big-endian 64-bit number.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        let bytes = self.take(8)?;
        Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| WireError::Truncated)?))
    }

    /// A length-prefixed string of bytes.
    pub fn string(&mut self) -> Result<&'a [u8], WireError> {
        let n = self.u32()? as usize;
        self.take(n)
    }

    /// A length-prefixed string that must be UTF-8.
    pub fn text(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.string()?).map_err(|_| WireError::Malformed("text"))
    }

    /// A name of the protocol's, RFC 4250 section 4.6.1: 1 to 64 printable ASCII characters. Strict: peers that read names as C strings end
    /// them at a NUL, and would understand another name than we do.
    pub fn name(&mut self) -> Result<&'a str, WireError> {
        let name = self.text()?;
        let is_name = (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        if is_name { Ok(name) } else { Err(WireError::Malformed("name")) }
    }

    /// A comma-separated name-list.
    pub fn names(&mut self) -> Result<Vec<&'a str>, WireError> {
        let text = self.text()?;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(text.split(',').collect())
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may follow.
    pub fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Malformed("trailing bytes")) }
    }
}

/// Writes RFC 4251 primitives; each call returns the writer, so that messages read as sentences.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A message that begins with its number.
    pub fn message(number: u8) -> Self {
        Self { bytes: vec![number] }
    }

    /// Raw bytes, no length.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One byte.
    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.bytes.push(value);
        self
    }

    /// A boolean as one byte.
    #[must_use]
    pub fn bool(self, value: bool) -> Self {
        self.u8(u8::from(value))
    }

    /// A big-endian 32-bit number.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A big-endian 64-bit number.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A length-prefixed string. Its length is ours, so it always fits 32 bits.
    #[must_use]
    pub fn string(self, bytes: &[u8]) -> Self {
        let n = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.u32(n).raw(bytes)
    }

    /// A comma-separated name-list.
    #[must_use]
    pub fn names(self, names: &[&str]) -> Self {
        self.string(names.join(",").as_bytes())
    }

    /// A positive multiple-precision integer: leading zeroes dropped, one put back where the top bit is set.
    #[must_use]
    pub fn mpint(self, bytes: &[u8]) -> Self {
        let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
        let magnitude = bytes.get(start..).unwrap_or_default();
        if magnitude.first().is_some_and(|b| b & 0x80 != 0) {
            let mut padded = Vec::with_capacity(magnitude.len() + 1);
            padded.push(0);
            padded.extend_from_slice(magnitude);
            return self.string(&padded);
        }
        self.string(magnitude)
    }

    /// The finished message.
    #[must_use]
    pub fn done(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let bytes = Writer::message(80).string(b"abc").u32(7).bool(true).u64(9).names(&["a", "b"]).done();
        let mut r = Reader::new(&bytes);
        assert_eq!(r.u8(), Ok(80));
        assert_eq!(r.string(), Ok(&b"abc"[..]));
        assert_eq!(r.u32(), Ok(7));
        assert_eq!(r.bool(), Ok(true));
        assert_eq!(r.u64(), Ok(9));
        assert_eq!(r.names(), Ok(vec!["a", "b"]));
        assert_eq!(r.end(), Ok(()));
        assert_eq!(r.u8(), Err(WireError::Truncated));
    }

    #[test]
    fn mpint_as_in_rfc_4251() {
        assert_eq!(Writer::new().mpint(&[0]).done(), [0, 0, 0, 0]);
        assert_eq!(Writer::new().mpint(&[0x80]).done(), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(Writer::new().mpint(&[0, 9, 0xa3]).done(), [0, 0, 0, 2, 9, 0xa3]);
    }
}
