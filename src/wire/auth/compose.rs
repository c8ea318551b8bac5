//! The messages of a server in authentication.

use super::super::codec::Writer;
use super::super::number;
use super::super::verify::SIGNATURE_ALGORITHMS;

/// USERAUTH_SUCCESS. No banner may follow it.
pub fn success() -> Vec<u8> {
    Writer::message(number::USERAUTH_SUCCESS).done()
}

/// USERAUTH_FAILURE: `methods` can continue; `partial` says that the request itself was right but is not enough.
pub fn failure(methods: &[&str], partial: bool) -> Vec<u8> {
    Writer::message(number::USERAUTH_FAILURE).names(methods).bool(partial).done()
}

/// USERAUTH_PK_OK: a signature by this key would be welcome. Both values as they were offered.
pub fn pk_ok(algorithm: &str, key: &[u8]) -> Vec<u8> {
    Writer::message(number::USERAUTH_PK_OK).string(algorithm.as_bytes()).string(key).done()
}

/// USERAUTH_BANNER: words for the user's screen, lines ending in `\n`.
pub fn banner(text: &str) -> Vec<u8> {
    // RFC 4252 wants CR LF; clients print the bytes as they are
    let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    Writer::message(number::USERAUTH_BANNER).string(text.as_bytes()).string(b"").done()
}

/// SERVICE_ACCEPT.
pub(super) fn service_accept(service: &str) -> Vec<u8> {
    Writer::message(number::SERVICE_ACCEPT).string(service.as_bytes()).done()
}

/// The extensions that a server of ours announces in EXT_INFO, RFC 8308: without `server-sig-algs` OpenSSH uses no RSA
/// key, without `ping` it does not hide the timing of keystrokes, and without `publickey-hostbound` it uses no
/// destination-constrained agent key.
pub fn server_ext_info() -> Vec<(String, Vec<u8>)> {
    let extension = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    vec![
        extension("server-sig-algs", &SIGNATURE_ALGORITHMS.join(",")),
        extension("publickey-hostbound@openssh.com", "0"),
        extension("ping@openssh.com", "0"),
    ]
}
