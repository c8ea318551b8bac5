//! `manifest.json`: what a session's folder holds, signed.
//!
//! The file is one line of canonical JSON (RFC 8785; strings and integers only, members sorted) and a line end. Its member `signature`
//! signs the rest: Ed25519 over the bytes `jit-bastion manifest v1`, a line feed, and the canonical JSON without that member. Key and
//! signature are standard base64 of the raw 32 and 64 bytes. The SHA-256 of the whole file is what the audit log keeps.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::command::{CommandText, ExactCommand};
use super::files::Total;
use super::{ChannelKind, RecordError, SessionMeta};

/// The file's name in each session's folder.
pub const NAME: &str = "manifest.json";
/// The format, and the domain of the signature.
pub const FORMAT: &str = "jit-bastion manifest v1";
/// No manifest is longer; one that is, is not ours.
pub const MAX_LEN: u64 = 64 << 20;

/// Who signs manifests: the installation's checkpoint key.
pub trait ManifestSigner: Send + Sync {
    /// The Ed25519 signature of `bytes`, in standard base64.
    fn sign(&self, bytes: &[u8]) -> Result<String, RecordError>;
    /// The raw public key, in standard base64.
    fn public_key(&self) -> String;
}

/// A session whose recordings are complete: hashed, synced, in a signed manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSession {
    /// The session.
    pub meta: SessionMeta,
    /// Why it ended.
    pub ending: String,
    /// Its folder, relative to the recordings' root.
    pub folder: PathBuf,
    /// SHA-256 of `manifest.json`: what goes into the audit log.
    pub digest: [u8; 32],
    /// From the session's start to its last frame.
    pub duration: Duration,
    /// One recording each.
    pub channels: Vec<SealedChannel>,
    pub(super) journal: PathBuf,
}

impl SealedSession {
    /// Lets the journal go. To be called when the digest is in the audit log: until then a crash must find the journal again. A journal
    /// that is gone already is no error.
    pub fn let_go(&self) -> Result<(), RecordError> {
        match std::fs::remove_file(&self.journal) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(RecordError::io("remove", &self.journal)(e)),
            _ => Ok(()),
        }
    }
}

/// One sealed recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedChannel {
    /// The channel's number, from 1.
    pub number: u32,
    /// What it was.
    pub kind: ChannelKind,
    /// Where a forward went, as a grant names it.
    pub target: Option<String>,
    /// `01-shell.cast`, in the session's folder.
    pub file: String,
    /// Of the file.
    pub sha256: [u8; 32],
    /// The file's length.
    pub bytes: u64,
    /// When it began, after the session's start.
    pub began: Duration,
    /// How long it went on.
    pub duration: Duration,
    /// The command line of an exec.
    pub command: Option<CommandText>,
    /// Bytes up and down of a file transfer or a connection, whether they are in the file or not.
    pub counts: Option<(u64, u64)>,
    /// The files that it moved, if any.
    pub files: Option<Total>,
}

/// A manifest as it is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// Whose recordings these are.
    pub session: SessionMeta,
    /// Why the session ended.
    pub ending: String,
    /// Microseconds from the session's start to its last frame.
    pub duration_us: u64,
    /// Its recordings, by number.
    pub channels: Vec<ManifestChannel>,
    /// The public key of the signature, in base64. Says nothing by itself: compare it with the one you trust.
    pub key: String,
    /// Over everything else, in base64.
    #[serde(default)]
    pub signature: String,
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestChannel {
    /// The channel's number, from 1.
    pub number: u32,
    /// What it was.
    pub kind: ChannelKind,
    /// Where a forward went, as a grant names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The file's name.
    pub file: String,
    /// In lower-case hex.
    pub sha256: String,
    /// The file's length.
    pub bytes: u64,
    /// Microseconds from the session's start to the channel's.
    pub began_us: u64,
    /// Microseconds from the channel's first frame to its last.
    pub duration_us: u64,
    /// The command line of an exec, or its beginning: see [`CommandText`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Where `command` is not exactly the command's bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_exact: Option<ExactCommand>,
    /// Bytes from the client, of a file transfer or a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<u64>,
    /// Bytes to the client, of a file transfer or a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<u64>,
    /// The files that it moved, if any; the first versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Total>,
}

impl Manifest {
    /// Makes the manifest of sealed channels and signs it. Returns the file's bytes.
    pub(super) fn sign(
        meta: &SessionMeta,
        ending: &str,
        duration: Duration,
        channels: &[SealedChannel],
        signer: &dyn ManifestSigner,
    ) -> Result<Vec<u8>, RecordError> {
        let manifest = Self {
            format: FORMAT.into(),
            session: meta.clone(),
            ending: ending.into(),
            duration_us: micros(duration),
            channels: channels.iter().map(ManifestChannel::from).collect(),
            key: signer.public_key(),
            signature: String::new(),
        };
        let told = serde_json::to_value(manifest).map_err(|e| RecordError::Sign(e.to_string()))?;
        let Value::Object(mut members) = told else { return Err(RecordError::Sign("not an object".into())) };
        let signature = signer.sign(&signed_bytes(&mut members))?;
        members.insert("signature".into(), signature.into());
        let mut text = String::new();
        canonical(&mut text, &Value::Object(members));
        text.push('\n');
        Ok(text.into_bytes())
    }

    /// Reads a manifest and checks its form, not its signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if manifest.format != FORMAT {
            return Err("a manifest of another format".into());
        }
        for channel in &manifest.channels {
            let wants = format!("{:02}-{}.cast", channel.number, channel.kind.as_str());
            if channel.file != wants {
                return Err(format!("a file name that is not {wants}"));
            }
        }
        Ok(manifest)
    }

    /// Whether `bytes`, which this was parsed from, are signed by `public_key` (base64), or by one of several, with blanks between them.
    pub fn check(&self, bytes: &[u8], public_key: &str) -> Result<(), String> {
        if !public_key.split(' ').any(|key| key == self.key) {
            return Err("it is signed with another key".into());
        }
        let Ok(Value::Object(mut members)) = serde_json::from_slice(bytes) else { return Err("it is not an object".into()) };
        let mut again = String::new();
        canonical(&mut again, &Value::Object(members.clone()));
        again.push('\n');
        if again.as_bytes() != bytes {
            return Err("it is not in canonical form".into());
        }
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| "a key or signature that is not base64".to_owned());
        let (key, signature) = (decode(&self.key)?, decode(&self.signature)?);
        let signed = signed_bytes(&mut members);
        UnparsedPublicKey::new(&ED25519, key).verify(&signed, &signature).map_err(|_| "its signature is wrong".into())
    }

    /// The manifest of a folder, if it is the one that was sealed: its SHA-256 is `digest`.
    pub fn sealed_as(folder: &Path, digest: &[u8; 32]) -> Result<Self, RecordError> {
        let (manifest, bytes) = Self::read(folder)?;
        if sha256(&bytes) == *digest { Ok(manifest) } else { Err(RecordError::bad(&folder.join(NAME), "changed since it was sealed")) }
    }

    /// Reads the manifest of a folder; its bytes come along.
    pub(super) fn read(folder: &Path) -> Result<(Self, Vec<u8>), RecordError> {
        let path = folder.join(NAME);
        let file = super::verify::plain_file(&path).map_err(RecordError::io("read", &path))?;
        let mut bytes = Vec::new();
        file.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(RecordError::io("read", &path))?;
        if bytes.len() as u64 > MAX_LEN {
            return Err(RecordError::bad(&path, "too long for a manifest"));
        }
        let manifest = Self::parse(&bytes).map_err(|e| RecordError::bad(&path, e))?;
        Ok((manifest, bytes))
    }
}

impl From<&SealedChannel> for ManifestChannel {
    fn from(sealed: &SealedChannel) -> Self {
        Self {
            number: sealed.number,
            kind: sealed.kind,
            target: sealed.target.clone(),
            file: sealed.file.clone(),
            sha256: hex(&sealed.sha256),
            bytes: sealed.bytes,
            began_us: micros(sealed.began),
            duration_us: micros(sealed.duration),
            command: sealed.command.as_ref().map(|c| c.text.clone()),
            command_exact: sealed.command.as_ref().and_then(|c| c.exact.clone()),
            up: sealed.counts.map(|c| c.0),
            down: sealed.counts.map(|c| c.1),
            files: sealed.files,
        }
    }
}

impl ManifestChannel {
    /// The file's digest; `None` if the hex is wrong.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let mut out = [0; 32];
        let digits: Option<Vec<_>> = self.sha256.chars().map(|c| c.to_digit(16)).collect();
        let digits = digits.filter(|d| d.len() == 64)?;
        out.iter_mut().zip(digits.chunks_exact(2)).for_each(|(to, pair)| {
            *to = pair.iter().fold(0, |sum, digit| sum << 4 | u8::try_from(*digit).unwrap_or(0));
        });
        Some(out)
    }

    pub(super) fn sealed(&self) -> Option<SealedChannel> {
        Some(SealedChannel {
            number: self.number,
            kind: self.kind,
            target: self.target.clone(),
            file: self.file.clone(),
            sha256: self.digest()?,
            bytes: self.bytes,
            began: Duration::from_micros(self.began_us),
            duration: Duration::from_micros(self.duration_us),
            command: self.command.clone().map(|text| CommandText { text, exact: self.command_exact.clone() }),
            counts: self.up.zip(self.down),
            files: self.files,
        })
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Takes the signature out and tells the rest as it is signed.
fn signed_bytes(members: &mut Map<String, Value>) -> Vec<u8> {
    members.remove("signature");
    let mut text = format!("{FORMAT}\n");
    canonical(&mut text, &Value::Object(members.clone()));
    text.into_bytes()
}

/// RFC 8785 for what we write: strings, integers, arrays, objects with ASCII names.
fn canonical(out: &mut String, value: &Value) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                canonical(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut names: Vec<_> = members.iter().collect();
            names.sort_by_key(|(name, _)| name.encode_utf16().collect::<Vec<_>>());
            out.push('{');
            for (n, (name, member)) in names.into_iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                let _ = write!(out, "{}:", Value::from(name.as_str()));
                canonical(out, member);
            }
            out.push('}');
        }
        plain => {
            let _ = write!(out, "{plain}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::sample::{self, TestSigner};

    fn channel() -> SealedChannel {
        SealedChannel {
            number: 1,
            kind: ChannelKind::Exec,
            target: None,
            file: "01-exec.cast".into(),
            sha256: [0xab; 32],
            bytes: 99,
            began: Duration::from_millis(5),
            duration: Duration::from_millis(7),
            command: Some(CommandText { text: "echo \"ä\u{1}\u{7f}\"".into(), exact: None }),
            counts: None,
            files: Some(Total { moved: 2, read: 3, written: 4 }),
        }
    }

    #[test]
    fn signed_checked_and_any_change_found() {
        let signer = TestSigner::new(1);
        let bytes = Manifest::sign(&sample::meta(), "left", Duration::from_secs(2), &[channel()], &signer).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.starts_with(r#"{"channels":[{"began_us":5000,"bytes":99,"command":"echo \"ä\u0001"#), "{text}");
        let manifest = Manifest::parse(&bytes).unwrap();
        assert_eq!(manifest.check(&bytes, &signer.public_key()), Ok(()));
        assert_eq!(manifest.channels[0].sealed(), Some(channel()));
        assert!(manifest.check(&bytes, &TestSigner::new(2).public_key()).is_err());
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            let verdict = Manifest::parse(&wrong).and_then(|m| m.check(&wrong, &signer.public_key()));
            assert!(verdict.is_err(), "byte {at}");
        }
    }

    #[test]
    fn file_names_stay_in_their_folder() {
        let signer = TestSigner::new(1);
        let evil = SealedChannel { file: "../../etc/passwd".into(), ..channel() };
        let bytes = Manifest::sign(&sample::meta(), "left", Duration::ZERO, &[evil], &signer).unwrap();
        assert!(Manifest::parse(&bytes).is_err_and(|e| e.contains("01-exec.cast")));
    }
}
