//! A stretch of a file that is read like a file of its own: a recording in its folder, or one that lies inside of an export.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// Some bytes of an open file. It has a place of its own in it: who else reads the file moves nothing here.
#[derive(Debug)]
pub struct Stretch {
    file: File,
    from: u64,
    length: u64,
    at: u64,
}

impl Stretch {
    /// All of it, as long as it is now.
    pub fn whole(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self::of(file, 0, length))
    }

    /// `length` bytes from byte `from` on.
    pub fn of(file: File, from: u64, length: u64) -> Self {
        Self { file, from, length, at: 0 }
    }
}

impl Read for Stretch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let n = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.from.saturating_add(self.at))?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Stretch {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_before_and_after_it_is_read() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"before|inside|after").unwrap();
        let mut one = Stretch::of(file.try_clone().unwrap(), 7, 6);
        let mut other = Stretch::whole(file).unwrap();
        let (mut text, mut all) = (String::new(), String::new());
        one.read_to_string(&mut text).unwrap();
        other.read_to_string(&mut all).unwrap();
        assert_eq!((text.as_str(), all.as_str()), ("inside", "before|inside|after"));
        for (to, at, rest) in [
            (SeekFrom::Start(2), 2, "side"),
            (SeekFrom::End(-1), 5, "e"),
            (SeekFrom::Current(-4), 2, "side"),
            (SeekFrom::Start(99), 99, ""),
        ] {
            assert_eq!(one.seek(to).unwrap(), at);
            text.clear();
            one.read_to_string(&mut text).unwrap();
            assert_eq!(text, rest, "{to:?}");
        }
        assert!(one.seek(SeekFrom::End(-7)).is_err());
    }
}
