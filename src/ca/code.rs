//! Codes at rest: argon2id (RFC 9106) over the secret part of an invitation's code, as a PHC string. The secret has 80 random bits; the
//! cost is small, because whoever may make us pay it must be few (see the broker), and enough that a stolen store gives none away.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

/// A hash that cannot be made or read.
#[derive(Debug, Error)]
pub enum CodeError {
    /// argon2 refused.
    #[error("argon2id: {0}")]
    Failed(argon2::Error),
    /// It is not what [`seal`] writes.
    #[error("this is no hash of an invitation's code")]
    Form,
}

/// A hash of `secret` that can be kept.
pub fn seal(secret: &[u8], salt: [u8; SALT]) -> Result<String, CodeError> {
    let hash = derive(secret, &salt)?;
    Ok(format!("{HEAD}{}${}", BASE64.encode(salt), BASE64.encode(*hash)))
}

/// Is `hash` one of `secret`? Takes the time and the memory of one argon2id run; not for a thread that others wait for.
pub fn fits(secret: &[u8], hash: &str) -> Result<bool, CodeError> {
    // Only our own parameters are read: a row that was tampered with cannot make us pay others.
    let (salt, kept) = hash.strip_prefix(HEAD).and_then(|rest| rest.split_once('$')).ok_or(CodeError::Form)?;
    let salt: [u8; SALT] = BASE64.decode(salt).ok().and_then(|salt| salt.try_into().ok()).ok_or(CodeError::Form)?;
    let kept: [u8; HASH] = BASE64.decode(kept).ok().and_then(|hash| hash.try_into().ok()).ok_or(CodeError::Form)?;
    Ok(derive(secret, &salt)?.ct_eq(&kept).into())
}

fn derive(secret: &[u8], salt: &[u8; SALT]) -> Result<Zeroizing<[u8; HASH]>, CodeError> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(HASH)).map_err(CodeError::Failed)?;
    let mut hash = Zeroizing::new([0; HASH]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(secret, salt, &mut *hash).map_err(CodeError::Failed)?;
    Ok(hash)
}

/// Bytes of salt.
pub const SALT: usize = 16;
const HASH: usize = 32;
/// 19 MiB and two passes: the least that OWASP's cheat sheet on password storage names for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const HEAD: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_fits_its_own_hash_alone() {
        let hash = seal(b"7k2m9q7k2m9q7k2m", [7; SALT]).unwrap();
        assert!(hash.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1$")), "{hash}");
        assert!(fits(b"7k2m9q7k2m9q7k2m", &hash).unwrap());
        assert!(!fits(b"7k2m9q7k2m9q7k2n", &hash).unwrap());
        assert_ne!(seal(b"7k2m9q7k2m9q7k2m", [8; SALT]).unwrap(), hash);
    }

    #[test]
    fn other_parameters_are_refused_before_they_cost_anything() {
        for bad in ["", "$argon2id$v=19$m=4194304,t=2,p=1$AAAA$AAAA", &format!("{HEAD}AAAA$AAAA"), HEAD] {
            assert!(matches!(fits(b"x", bad), Err(CodeError::Form)), "{bad}");
        }
    }
}
