//! The exchange hash and the keys that come out of it (RFC 4253 sections 7.2 and 8).

use aws_lc_rs::digest::{Context, Digest};
use zeroize::Zeroizing;

use super::agreement::{Agreement, Secret};
use crate::wire::cipher::{Cipher, Opener, Sealer};
use crate::wire::codec::WireError;

/// Everything that the exchange hash is taken over, in its order.
pub(super) struct Transcript<'a> {
    pub(super) client_id: &'a [u8],
    pub(super) server_id: &'a [u8],
    pub(super) client_offer: &'a [u8],
    pub(super) server_offer: &'a [u8],
    pub(super) host_key: &'a [u8],
    pub(super) init: &'a [u8],
    pub(super) reply: &'a [u8],
}

impl Transcript<'_> {
    /// H.
    pub(super) fn hash(&self, agreement: Agreement, secret: &Secret) -> Digest {
        let mut hash = Context::new(agreement.hash());
        for part in [self.client_id, self.server_id, self.client_offer, self.server_offer, self.host_key, self.init, self.reply] {
            // All of them are messages or parts of one, far below 4 GiB.
            hash.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(part);
        }
        hash.update(secret.encoded());
        hash.finish()
    }
}

/// Where the keys of both directions are drawn from.
pub(super) struct Keys<'a> {
    pub(super) agreement: Agreement,
    pub(super) secret: &'a Secret,
    pub(super) hash: &'a [u8],
    pub(super) session_id: &'a [u8],
}

/// Which way packets go; the letters of RFC 4253 section 7.2 for vector and key.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

impl Keys<'_> {
    pub(super) fn sealer(&self, cipher: Cipher, way: Direction) -> Result<Sealer, WireError> {
        let (iv, key) = self.draw_both(cipher, way);
        Sealer::new(cipher, &key, &iv)
    }

    pub(super) fn opener(&self, cipher: Cipher, way: Direction) -> Result<Opener, WireError> {
        let (iv, key) = self.draw_both(cipher, way);
        Opener::new(cipher, &key, &iv)
    }

    fn draw_both(&self, cipher: Cipher, way: Direction) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>) {
        let (iv, key) = match way {
            Direction::ToServer => (b'A', b'C'),
            Direction::ToClient => (b'B', b'D'),
        };
        (self.draw(iv, cipher.iv_len()), self.draw(key, cipher.key_len()))
    }

    /// K1 = HASH(K, H, letter, session id), K2 = HASH(K, H, K1), and so on until there is enough.
    fn draw(&self, letter: u8, length: usize) -> Zeroizing<Vec<u8>> {
        let block = self.agreement.hash().output_len();
        let mut out = Zeroizing::new(Vec::with_capacity(length + block));
        while out.len() < length {
            let mut hash = Context::new(self.agreement.hash());
            hash.update(self.secret.encoded());
            hash.update(self.hash);
            if out.is_empty() {
                hash.update(&[letter]);
                hash.update(self.session_id);
            } else {
                hash.update(&out);
            }
            out.extend_from_slice(hash.finish().as_ref());
        }
        out
    }
}
