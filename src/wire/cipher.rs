//! The packet ciphers of both directions: AES-GCM (RFC 5647 as OpenSSH uses it) and chacha20-poly1305@openssh.com.

use aws_lc_rs::aead::chacha20_poly1305_openssh as chacha;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};

use super::codec::WireError;

/// A packet cipher that we speak, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// `aes256-gcm@openssh.com`
    Aes256Gcm,
    /// `aes128-gcm@openssh.com`
    Aes128Gcm,
    /// `chacha20-poly1305@openssh.com`
    ChaCha20Poly1305,
}

impl Cipher {
    /// All of them, fastest first.
    pub const ALL: [Self; 3] = [Self::Aes256Gcm, Self::Aes128Gcm, Self::ChaCha20Poly1305];

    /// Its name in a KEXINIT.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes256-gcm@openssh.com",
            Self::Aes128Gcm => "aes128-gcm@openssh.com",
            Self::ChaCha20Poly1305 => "chacha20-poly1305@openssh.com",
        }
    }

    /// The cipher of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// How its packets show their length.
    pub fn framing(self) -> Framing {
        match self {
            Self::Aes256Gcm | Self::Aes128Gcm => Framing::LengthInClear,
            Self::ChaCha20Poly1305 => Framing::LengthSealed,
        }
    }

    /// Bytes of key that it takes.
    pub(super) fn key_len(self) -> usize {
        match self {
            Self::Aes256Gcm => 32,
            Self::Aes128Gcm => 16,
            Self::ChaCha20Poly1305 => chacha::KEY_LEN,
        }
    }

    /// Bytes of initial vector that it takes.
    pub(super) fn iv_len(self) -> usize {
        match self {
            Self::Aes256Gcm | Self::Aes128Gcm => 12,
            Self::ChaCha20Poly1305 => 0,
        }
    }

    /// What the sealed part of a packet is a multiple of.
    fn block(self) -> usize {
        match self {
            Self::Aes256Gcm | Self::Aes128Gcm => 16,
            Self::ChaCha20Poly1305 => 8,
        }
    }
}

/// How a cipher's packets show where they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The length is not encrypted; only what follows it is counted in blocks (AES-GCM, and the `-etm` MACs later).
    LengthInClear,
    /// The length must be opened before the packet is complete (ChaCha20-Poly1305; CTR with a plain MAC later).
    LengthSealed,
}

/// Seals packets, in place.
pub(super) enum Sealer {
    /// Before the first NEWKEYS.
    Clear,
    Gcm {
        key: Box<LessSafeKey>,
        nonce: GcmNonce,
        block: usize,
    },
    ChaCha {
        key: Box<chacha::SealingKey>,
        block: usize,
    },
}

impl Sealer {
    /// A sealer from the key material of its direction; `key` and `iv` are at least as long as the cipher asks.
    pub(super) fn new(cipher: Cipher, key: &[u8], iv: &[u8]) -> Result<Self, WireError> {
        let block = cipher.block();
        Ok(match cipher {
            Cipher::Aes256Gcm => Self::Gcm { key: gcm_key(&AES_256_GCM, key)?, nonce: GcmNonce::new(iv)?, block },
            Cipher::Aes128Gcm => Self::Gcm { key: gcm_key(&AES_128_GCM, key)?, nonce: GcmNonce::new(iv)?, block },
            Cipher::ChaCha20Poly1305 => Self::ChaCha { key: Box::new(chacha::SealingKey::new(&fixed(key)?)), block },
        })
    }

    pub(super) fn is_clear(&self) -> bool {
        matches!(self, Self::Clear)
    }

    /// Bytes of padding after `payload` bytes: at least 4, up to the next full block (RFC 4253 section 6).
    pub(super) fn padding(&self, payload: usize) -> usize {
        let (counted, block) = match self {
            Self::Clear => (payload + 5, 8),
            Self::Gcm { block, .. } | Self::ChaCha { block, .. } => (payload + 1, *block),
        };
        let short = block - counted % block;
        if short < 4 { short + block } else { short }
    }

    /// Seals `packet` (length, padding length, payload, padding) in place and returns its tag, if it has one.
    pub(super) fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<Option<[u8; TAG]>, WireError> {
        match self {
            Self::Clear => Ok(None),
            Self::Gcm { key, nonce, .. } => {
                let (length, sealed) = split(packet)?;
                let tag = key
                    .seal_in_place_separate_tag(nonce.next(), Aad::from(length), sealed)
                    .map_err(|_| WireError::Crypto("sealing a packet"))?;
                Ok(Some(fixed(tag.as_ref())?))
            }
            Self::ChaCha { key, .. } => {
                let mut tag = [0; TAG];
                key.seal_in_place(sequence, packet, &mut tag);
                Ok(Some(tag))
            }
        }
    }
}

/// Opens packets, in place.
pub(super) enum Opener {
    /// Before the first NEWKEYS.
    Clear,
    Gcm {
        key: Box<LessSafeKey>,
        nonce: GcmNonce,
        block: usize,
    },
    ChaCha {
        key: Box<chacha::OpeningKey>,
        block: usize,
    },
}

impl Opener {
    /// An opener from the key material of its direction; `key` and `iv` are at least as long as the cipher asks.
    pub(super) fn new(cipher: Cipher, key: &[u8], iv: &[u8]) -> Result<Self, WireError> {
        let block = cipher.block();
        Ok(match cipher {
            Cipher::Aes256Gcm => Self::Gcm { key: gcm_key(&AES_256_GCM, key)?, nonce: GcmNonce::new(iv)?, block },
            Cipher::Aes128Gcm => Self::Gcm { key: gcm_key(&AES_128_GCM, key)?, nonce: GcmNonce::new(iv)?, block },
            Cipher::ChaCha20Poly1305 => Self::ChaCha { key: Box::new(chacha::OpeningKey::new(&fixed(key)?)), block },
        })
    }

    /// Bytes after the packet proper.
    pub(super) fn tag_len(&self) -> usize {
        if matches!(self, Self::Clear) { 0 } else { TAG }
    }

    /// The packet's length field from its first four bytes; not authenticated yet. Checked to be whole blocks.
    pub(super) fn length(&self, sequence: u32, head: [u8; 4]) -> Result<usize, WireError> {
        let (length, ahead, block) = match self {
            Self::Clear => (head, 4, 8),
            Self::Gcm { block, .. } => (head, 0, *block),
            Self::ChaCha { key, block } => (key.decrypt_packet_length(sequence, head), 0, *block),
        };
        let length = u32::from_be_bytes(length) as usize;
        // Shortest of all: padding length, one byte of payload, four of padding.
        if length < 6 || !length.wrapping_add(ahead).is_multiple_of(block) {
            return Err(WireError::Malformed("packet length"));
        }
        Ok(length)
    }

    /// Opens `packet` (length, sealed part, tag) in place: afterwards the sealed part is plain. [`WireError::Corrupt`] if its tag is wrong.
    pub(super) fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), WireError> {
        match self {
            Self::Clear => Ok(()),
            Self::Gcm { key, nonce, .. } => {
                let (length, sealed) = split(packet)?;
                key.open_in_place(nonce.next(), Aad::from(length), sealed).map_err(|_| WireError::Corrupt)?;
                Ok(())
            }
            Self::ChaCha { key, .. } => {
                let (sealed, tag) = packet.split_last_chunk_mut().ok_or(WireError::Truncated)?;
                key.open_in_place(sequence, sealed, tag).map_err(|_| WireError::Corrupt)?;
                Ok(())
            }
        }
    }
}

/// The 12 bytes of RFC 5647 section 7.1: four fixed, eight that count packets.
pub(super) struct GcmNonce {
    fixed: [u8; 4],
    counter: u64,
}

impl GcmNonce {
    fn new(iv: &[u8]) -> Result<Self, WireError> {
        let iv: [u8; 12] = fixed(iv)?;
        let [a, b, c, d, counter @ ..] = iv;
        Ok(Self { fixed: [a, b, c, d], counter: u64::from_be_bytes(counter) })
    }

    fn next(&mut self) -> Nonce {
        let [a, b, c, d] = self.fixed;
        let [e, f, g, h, i, j, k, l] = self.counter.to_be_bytes();
        self.counter = self.counter.wrapping_add(1);
        Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

fn gcm_key(algorithm: &'static Algorithm, key: &[u8]) -> Result<Box<LessSafeKey>, WireError> {
    let key = key.get(..algorithm.key_len()).ok_or(WireError::Crypto("key length"))?;
    let key = UnboundKey::new(algorithm, key).map_err(|_| WireError::Crypto("cipher key"))?;
    Ok(Box::new(LessSafeKey::new(key)))
}

/// The first `N` bytes.
fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], WireError> {
    bytes.first_chunk().copied().ok_or(WireError::Crypto("key length"))
}

/// The length field and what it covers.
fn split(packet: &mut [u8]) -> Result<([u8; 4], &mut [u8]), WireError> {
    let (length, sealed) = packet.split_first_chunk_mut().ok_or(WireError::Truncated)?;
    Ok((*length, sealed))
}

/// Bytes of tag of every AEAD here.
pub(super) const TAG: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_blocks_and_is_never_short() {
        for cipher in Cipher::ALL {
            let sealer = Sealer::new(cipher, &[7; 64], &[1; 12]).unwrap();
            for payload in 1..200 {
                let padding = sealer.padding(payload);
                assert!((4..4 + cipher.block()).contains(&padding));
                assert_eq!((1 + payload + padding) % cipher.block(), 0);
            }
        }
        assert_eq!((5 + 10 + Sealer::Clear.padding(10)) % 8, 0);
    }

    #[test]
    fn a_changed_bit_is_found() {
        for cipher in Cipher::ALL {
            for at in 4..48 {
                let mut sealer = Sealer::new(cipher, &[7; 64], &[1; 12]).unwrap();
                let mut opener = Opener::new(cipher, &[7; 64], &[1; 12]).unwrap();
                let mut packet = vec![0, 0, 0, 32];
                packet.resize(36, 9);
                let tag = sealer.seal(3, &mut packet).unwrap().unwrap();
                packet.extend_from_slice(&tag);
                let head = *packet.first_chunk().unwrap();
                assert_eq!(opener.length(3, head), Ok(32));
                packet[at] ^= 4;
                assert_eq!(opener.open(3, &mut packet), Err(WireError::Corrupt));
            }
        }
    }

    #[test]
    fn the_nonce_counts_and_wraps() {
        let mut nonce = GcmNonce::new(&[0xff; 12]).unwrap();
        assert_eq!(nonce.next().as_ref(), &[0xff; 12]);
        assert_eq!(nonce.next().as_ref(), &[255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
