//! What the tests recorded, for the stock players: `target/tmp/casts`. Each sealed file goes there once; of those that differ only in
//! their times and names one is enough, and of the very large ones a few.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256, digest};
use serde_json::Value;

use super::evidence::files;

/// Above this a file is large: a player takes seconds for it.
const LARGE: usize = 4 << 20;
/// So many large ones of a test are kept.
const FEW: usize = 1;
/// What a flood leaves takes a player minutes, and shows it nothing that the others do not.
const FLOOD: u64 = 32 << 20;

/// Keeps what was sealed below `home`. A file that a test has damaged since is no longer what was sealed.
pub fn collect(home: &Path) {
    let into = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("casts");
    fs::create_dir_all(&into).expect("a folder");
    for manifest in files(home, "json").into_iter().filter(|f| f.ends_with("manifest.json")) {
        let Some(said) = fs::read(&manifest).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok()) else { continue };
        for channel in said["channels"].as_array().into_iter().flatten() {
            let (Some(name), Some(sum)) = (channel["file"].as_str(), channel["sha256"].as_str()) else { continue };
            let file = manifest.with_file_name(name);
            if fs::metadata(&file).is_ok_and(|data| data.len() > FLOOD) {
                continue;
            }
            let Ok(bytes) = fs::read(&file) else { continue };
            if hex(digest(&SHA256, &bytes).as_ref()) == sum {
                keep(&file, &bytes, channel["kind"].as_str().unwrap_or("unknown"), &into);
            }
        }
    }
}

fn keep(file: &Path, bytes: &[u8], kind: &str, into: &Path) {
    let mut names = if bytes.len() > LARGE {
        let test = std::thread::current().name().unwrap_or("main").replace("::", "-");
        (0..FEW).map(|n| format!("{kind}-large-{test}-{n}.cast")).collect()
    } else {
        vec![format!("{kind}-{}.cast", gist(bytes))]
    };
    names.retain(|name| !into.join(name).exists());
    // another test may be as fast: then it keeps the same, or the next free name is taken
    let link = |to: PathBuf| {
        fs::hard_link(file, &to).or_else(|_| if to.exists() { Err(()) } else { fs::copy(file, &to).map(|_| ()).map_err(|_| ()) })
    };
    let _ = names.iter().any(|name| link(into.join(name)).is_ok());
}

/// What a file shows, without when: of its header the size, of each event the code and the text.
fn gist(bytes: &[u8]) -> String {
    let mut lines = bytes.split_inclusive(|b| *b == b'\n');
    let header: Value = lines.next().and_then(|l| serde_json::from_slice(l).ok()).unwrap_or_default();
    let mut sum = Context::new(&SHA256);
    sum.update(format!("{}x{} {}", header["width"], header["height"], header["env"]).as_bytes());
    for line in lines {
        let comma = line.iter().position(|b| *b == b',').unwrap_or(0);
        sum.update(&line[comma..]);
    }
    hex(&sum.finish().as_ref()[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
