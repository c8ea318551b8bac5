//! The container of an export: POSIX ustar (IEEE 1003.1 pax(1), "ustar Interchange Format") with plain files only, so that any `tar`
//! unpacks it. The same content always makes the same bytes, and the reader takes no others: who changed a byte of a header, of the
//! padding or of the end is found as well as who changed a file.

use std::io::{self, Read, Write};

use thiserror::Error;

/// Everything comes in pieces of this.
const BLOCK: usize = 512;
/// The longest name.
pub const LONGEST_NAME: usize = 100;
/// A size from here on does not fit into eleven octal digits and is written as GNU tar writes it.
const OCTAL_SIZES: u64 = 1 << 33;

/// A container that is not one of ours, or cannot be read.
#[derive(Debug, Error)]
pub enum TarError {
    /// The disk said no, or the file ends early.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not what a writer of ours writes.
    #[error("not as it was written: {0}")]
    Form(&'static str),
}

/// Writes files one after another.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
    mtime: u64,
}

impl<W: Write> TarWriter<W> {
    /// Every file gets the time `mtime`, in seconds since 1970.
    pub fn new(out: W, mtime: u64) -> Self {
        Self { out, mtime }
    }

    /// One file of exactly `size` bytes.
    pub fn file(&mut self, name: &str, size: u64, content: impl Read) -> io::Result<()> {
        let header = header(name, size, self.mtime).ok_or_else(|| io::Error::other("a name that cannot stand in an export"))?;
        self.out.write_all(&header)?;
        let copied = io::copy(&mut content.take(size), &mut self.out)?;
        if copied != size {
            return Err(io::Error::other("a file became shorter while it was read"));
        }
        self.out.write_all(ZEROS.get(..padding_of(size)).unwrap_or_default())
    }

    /// The end: two empty blocks.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&ZEROS)?;
        self.out.write_all(&ZEROS)?;
        Ok(self.out)
    }
}

/// Reads what [`TarWriter`] wrote, file by file.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    /// Where the content of the file that was named last begins, and where the header after it does.
    places: (u64, u64),
    /// Content of the file before that is not read yet, and its padding.
    left: u64,
    padding: usize,
    mtime: Option<u64>,
}

impl<R: Read> TarReader<R> {
    /// Of an open file.
    pub fn new(input: R) -> Self {
        Self { input, places: (0, 0), left: 0, padding: 0, mtime: None }
    }

    /// The next file's name and size; none at the end, which must be the end of everything.
    pub fn next_file(&mut self) -> Result<Option<(String, u64)>, TarError> {
        io::copy(&mut (&mut *self).take(u64::MAX), &mut io::sink())?;
        let mut padding = [0; BLOCK];
        let padding = padding.get_mut(..self.padding).unwrap_or_default();
        self.input.read_exact(padding)?;
        if padding.iter().any(|b| *b != 0) {
            return Err(TarError::Form("something stands after a file's end"));
        }
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block)?;
        if block == ZEROS {
            return self.end().map(|()| None);
        }
        let (name, size, mtime) = fields(&block).ok_or(TarError::Form("a header that cannot be read"))?;
        if header(&name, size, mtime) != Some(block) || *self.mtime.get_or_insert(mtime) != mtime {
            return Err(TarError::Form("a header"));
        }
        (self.left, self.padding) = (size, padding_of(size));
        let begins = self.places.1.saturating_add(BLOCK as u64);
        self.places = (begins, begins.saturating_add(size).saturating_add(self.padding as u64));
        Ok(Some((name, size)))
    }

    /// Where in the container the content of the file begins that [`TarReader::next_file`] named.
    pub fn place(&self) -> u64 {
        self.places.0
    }

    /// The time that all files have, in seconds since 1970; none before the first file.
    pub fn mtime(&self) -> Option<u64> {
        self.mtime
    }

    fn end(&mut self) -> Result<(), TarError> {
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block)?;
        let more = self.input.read(&mut [0])?;
        if block == ZEROS && more == 0 { Ok(()) } else { Err(TarError::Form("its end")) }
    }
}

/// The content of the file that [`TarReader::next_file`] named.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.input.read(buffer.get_mut(..most).unwrap_or_default())?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

const ZEROS: [u8; BLOCK] = [0; BLOCK];

fn padding_of(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}

/// A name of ours: words with dots and strokes, never up, never from the root.
fn is_name(name: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    name.len() <= LONGEST_NAME && name.split('/').all(part)
}

fn header(name: &str, size: u64, mtime: u64) -> Option<[u8; BLOCK]> {
    if !is_name(name) || mtime >= OCTAL_SIZES {
        return None;
    }
    let mut block = ZEROS;
    let size =
        if size < OCTAL_SIZES { format!("{size:011o}\0").into_bytes() } else { [&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat() };
    let mtime = format!("{mtime:011o}\0");
    let fields: [(usize, &[u8]); 11] = [
        (0, name.as_bytes()),
        (100, b"0000600\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, &size),
        (136, mtime.as_bytes()),
        (148, b"        "),
        (156, b"0"),
        (257, b"ustar\x0000"),
        (329, b"0000000\0"),
        (337, b"0000000\0"),
    ];
    for (from, bytes) in fields {
        put(&mut block, from, bytes);
    }
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

fn put(block: &mut [u8; BLOCK], from: usize, bytes: &[u8]) {
    block.iter_mut().skip(from).zip(bytes).for_each(|(to, b)| *to = *b);
}

/// What a header names; whether it is ours shows when it is made again.
fn fields(block: &[u8; BLOCK]) -> Option<(String, u64, u64)> {
    let text = |from: usize, to: usize| std::str::from_utf8(block.get(from..to)?).ok().map(|t| t.trim_end_matches('\0'));
    let size = match block.get(124..136)? {
        [0x80, 0, 0, 0, rest @ ..] => u64::from_be_bytes(rest.try_into().ok()?),
        _ => u64::from_str_radix(text(124, 136)?, 8).ok()?,
    };
    Some((text(0, 100)?.to_owned(), size, u64::from_str_radix(text(136, 148)?, 8).ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn made() -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new(), 1_795_298_820);
        writer.file("s-7k2m9q/README.txt", 5, &b"hello"[..]).unwrap();
        writer.file("s-7k2m9q/a/empty", 0, &b""[..]).unwrap();
        writer.file("s-7k2m9q/a/block", 512, &[b'x'; 512][..]).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, TarError> {
        let (mut reader, mut files) = (TarReader::new(bytes), Vec::new());
        while let Some((name, size)) = reader.next_file()? {
            let (from, mut content) = (reader.place() as usize, Vec::new());
            reader.read_to_end(&mut content)?;
            assert_eq!(bytes.get(from..from + size as usize), Some(&content[..]), "{name} stands where it is said to");
            files.push((name, content));
        }
        Ok(files)
    }

    #[test]
    fn what_is_written_is_read_and_a_stock_tar_reads_it() {
        let bytes = made();
        let names = ["s-7k2m9q/README.txt", "s-7k2m9q/a/empty", "s-7k2m9q/a/block"];
        let files = read(&bytes).unwrap();
        assert_eq!(files.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), names);
        assert_eq!((&files[0].1[..], files[2].1.len()), (&b"hello"[..], 512));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.tar");
        std::fs::write(&file, &bytes).unwrap();
        let listed = Command::new("tar").arg("-tf").arg(&file).output().unwrap();
        assert_eq!((String::from_utf8_lossy(&listed.stdout).lines().collect::<Vec<_>>(), listed.stderr.len()), (names.to_vec(), 0));
        assert!(Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(dir.path()).status().unwrap().success());
        assert_eq!(std::fs::read(dir.path().join(names[0])).unwrap(), b"hello");
    }

    #[test]
    fn any_other_byte_is_refused_or_read_as_another_content() {
        let good = made();
        let content = read(&good).unwrap();
        for at in 0..good.len() {
            for flip in [1, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                assert!(read(&bad).map_or(true, |files| files != content), "byte {at}");
            }
        }
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(&[&good[..], b"x"].concat()).is_err());
    }

    #[test]
    fn names_stay_inside_and_large_sizes_have_room() {
        for bad in ["/etc/passwd", "../x", "a/../b", "a//b", "", "a b", ".ssh/x", &"a".repeat(101)] {
            assert!(header(bad, 1, 0).is_none(), "{bad}");
        }
        for size in [0, 1, OCTAL_SIZES - 1, OCTAL_SIZES, u64::MAX] {
            let block = header("a", size, 7).unwrap();
            assert_eq!(fields(&block), Some(("a".into(), size, 7)));
        }
    }
}
