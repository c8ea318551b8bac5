//! Files into a new folder, each with its digest, each on the disk before it counts.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};

use crate::audit::digest::Digest;

/// Read at a time.
const CHUNK: usize = 256 * 1024;

/// A folder that is being filled.
pub(super) struct Copying {
    root: PathBuf,
    sums: BTreeMap<String, Digest>,
    bytes: u64,
}

impl Copying {
    /// Makes the folder, for us alone.
    pub fn into(root: &Path) -> anyhow::Result<Self> {
        DirBuilder::new().mode(0o700).create(root).with_context(|| format!("cannot make {}", root.display()))?;
        Ok(Self { root: root.to_owned(), sums: BTreeMap::new(), bytes: 0 })
    }

    /// Where `name` lies in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Copies a file to `to`, below the folder.
    pub fn file(&mut self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let source = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
        let target = self.new_file(to)?;
        self.pour(source, target, to).with_context(|| format!("cannot copy {}", from.display()))
    }

    /// Copies a file into the folder `into`, if there is one.
    pub fn file_if_there(&mut self, from: &Path, into: &Path) -> anyhow::Result<()> {
        match from.file_name() {
            Some(name) if from.exists() => self.file(from, &into.join(name)),
            _ => Ok(()),
        }
    }

    /// Copies the files of a folder that end with `.ENDING`, if there is one. What goes away meanwhile is left out.
    pub fn folder_if_there(&mut self, from: &Path, into: &str, ending: &str) -> anyhow::Result<()> {
        let Ok(entries) = std::fs::read_dir(from) else { return Ok(()) };
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", from.display()))?.path();
            if path.extension().is_some_and(|e| e == ending) {
                self.file_if_there(&path, Path::new(into))?;
            }
        }
        Ok(())
    }

    /// Copies the folder of a sealed session, which the store names.
    pub fn sealed(&mut self, root: &Path, folder: &str) -> anyhow::Result<()> {
        let below = Path::new(folder);
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            bail!("the store names {folder:?} as a folder of recordings, and that is none");
        }
        let from = root.join(below);
        let entries = std::fs::read_dir(&from).with_context(|| format!("cannot read the recordings in {}", from.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", from.display()))?.path();
            self.file_if_there(&path, &Path::new("recordings").join(below))?;
        }
        Ok(())
    }

    /// Writes a text.
    pub fn text(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let target = self.new_file(Path::new(name))?;
        self.pour(text.as_bytes(), target, Path::new(name)).with_context(|| format!("cannot write {name}"))
    }

    /// Makes an empty file for us alone, which somebody else will fill.
    pub fn reserve(&self, name: &str) -> anyhow::Result<()> {
        self.new_file(Path::new(name)).map(drop)
    }

    /// Somebody else has written the file `name`.
    pub fn made(&mut self, name: &str) -> anyhow::Result<()> {
        let file = File::open(self.at(name)).with_context(|| format!("{name} was not written"))?;
        file.sync_all()?;
        self.pour(file, io::sink(), Path::new(name)).with_context(|| format!("cannot read {name} again"))
    }

    /// Writes the list of digests, the last of all files: its digest, how many files there are, and their bytes.
    pub fn finish(mut self, list: &str) -> anyhow::Result<(Digest, usize, u64)> {
        let mut folders: Vec<PathBuf> = self.sums.keys().filter_map(|name| Some(self.root.join(Path::new(name).parent()?))).collect();
        folders.sort();
        folders.dedup();
        for folder in folders.iter().flat_map(|folder| folder.ancestors().take_while(|above| above.starts_with(&self.root))) {
            sync_folder(folder)?;
        }
        let lines: String = self.sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
        self.text(list, &lines)?;
        sync_folder(&self.root)?;
        Ok((Digest::of(lines.as_bytes()), self.sums.len(), self.bytes))
    }

    fn new_file(&self, to: &Path) -> anyhow::Result<File> {
        let path = self.root.join(to);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        opened.with_context(|| format!("cannot make {}", path.display()))
    }

    fn pour(&mut self, mut from: impl Read, to: impl Pour, name: &Path) -> anyhow::Result<()> {
        let name = name.to_str().filter(|name| !name.contains(['\n', '\\'])).context("its name cannot stand in a list of digests")?;
        let (mut to, mut hash, mut chunk) = (to, Sha256::new(), vec![0; CHUNK]);
        loop {
            let n = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            let bytes = chunk.get(..n).unwrap_or_default();
            hash.update(bytes);
            to.write_all(bytes)?;
            self.bytes += n as u64;
        }
        to.settle()?;
        self.sums.insert(name.to_owned(), Digest::from_bytes(hash.finalize().into()));
        Ok(())
    }
}

/// Where bytes go, and how it is known that they are there.
trait Pour: Write {
    fn settle(&mut self) -> io::Result<()>;
}

impl Pour for File {
    fn settle(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Pour for io::Sink {
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was named in the folder is on the disk.
pub(super) fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    File::open(folder).and_then(|opened| opened.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}
