//! A look at the client's first words, before the library that answers them is configured.
//!
//! In SSH the client's order of ciphers decides, and OpenSSH up to 9.9 puts ChaCha20 before AES-GCM, which costs a
//! bastion three times the CPU. But version line and KEXINIT are plaintext: whoever reads them first can make an offer
//! in which only what we want is left. So we write the version line, read the client's two first messages under our own
//! timer, and hand on a stream in which none of this seems to have happened.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::wire::codec::{Reader, WireError};

/// A client that said hello.
#[derive(Debug)]
pub struct Peeked<S> {
    /// The connection, as if nothing had been read or written.
    pub stream: Replay<S>,
    /// The client's version line without its end; characters that do not print are `?`.
    pub client_id: String,
    /// The client has AES-GCM in both directions.
    pub offers_gcm: bool,
}

/// A client that did not say what we understand.
#[derive(Debug)]
pub enum Unseen<S> {
    /// It did not say everything in time. It may wait for our KEXINIT first, which the protocol allows: answer it with
    /// the wide offer, under the timer of the login.
    Late(Replay<S>),
    /// It does not speak SSH: drop it. The text says what was wrong.
    Garbage(&'static str),
    /// It went away, or the connection broke.
    Gone(io::Error),
}

/// Writes `our_id` (without line end) at once, then waits up to `patience` for the client's version line and KEXINIT.
///
/// Reads at most about 36 KB. The stream that comes back swallows the first `our_id` line written to it, so the next
/// layer must write exactly that line first (russh: `server_id: SshId::Standard(our_id)`).
pub async fn peek<S>(mut stream: S, our_id: &str, patience: Duration) -> Result<Peeked<S>, Unseen<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let our_line = format!("{our_id}\r\n").into_bytes();
    let mut heard = Vec::new();
    let greeting = async {
        stream.write_all(&our_line).await?;
        stream.flush().await
    };
    match timeout(patience, greeting).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(Unseen::Gone(error)),
        // how much of the line went out is not known, so nobody can go on from here
        Err(late) => return Err(Unseen::Gone(late.into())),
    }
    let verdict = timeout(patience, listen(&mut stream, &mut heard)).await;
    let stream = Replay { stream, heard, given: 0, swallow: our_line, swallowed: 0 };
    match verdict {
        Ok(Ok(Hello { client_id, offers_gcm })) => Ok(Peeked { stream, client_id, offers_gcm }),
        Ok(Err(Deaf::Garbage(what))) => Err(Unseen::Garbage(what)),
        Ok(Err(Deaf::Gone(error))) => Err(Unseen::Gone(error)),
        Err(_) => Err(Unseen::Late(stream)),
    }
}

/// Reads until the client's hello is whole. All bytes stay in `heard`, also when this future is dropped half way.
async fn listen<S: AsyncRead + Unpin>(stream: &mut S, heard: &mut Vec<u8>) -> Result<Hello, Deaf> {
    loop {
        if let Some(hello) = understand(heard).map_err(Deaf::Garbage)? {
            return Ok(hello);
        }
        if heard.len() >= MAX_HEARD {
            return Err(Deaf::Garbage("too many bytes before KEXINIT"));
        }
        let room = (MAX_HEARD - heard.len()).min(CHUNK);
        heard.reserve(room);
        let read = (&mut *stream).take(room as u64).read_buf(heard).await.map_err(Deaf::Gone)?;
        if read == 0 {
            return Err(Deaf::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

struct Hello {
    client_id: String,
    offers_gcm: bool,
}

enum Deaf {
    Garbage(&'static str),
    Gone(io::Error),
}

/// Version line and KEXINIT out of the bytes so far; `None` while something is missing.
fn understand(heard: &[u8]) -> Result<Option<Hello>, &'static str> {
    let Some(end) = heard.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        let short = heard.len() < MAX_LINE;
        let plausible = heard.iter().zip(b"SSH-").all(|(a, b)| a == b);
        return if short && plausible { Ok(None) } else { Err("no SSH version line") };
    };
    let (line, packets) = heard.split_at_checked(end + 1).ok_or("no SSH version line")?;
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !(line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-")) {
        return Err("no SSH 2 version line");
    }
    let Some(offers_gcm) = first_kexinit(packets)? else { return Ok(None) };
    let printable = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
    Ok(Some(Hello { client_id: line.iter().map(printable).collect(), offers_gcm }))
}

/// Walks over what may come before KEXINIT (RFC 4253 sections 7.1 and 11) and asks it for AES-GCM.
fn first_kexinit(packets: &[u8]) -> Result<Option<bool>, &'static str> {
    let mut r = Reader::new(packets);
    loop {
        let Ok(length) = r.u32() else { return Ok(None) };
        if !(MIN_PACKET..=MAX_PACKET).contains(&length) {
            return Err("a packet of an impossible length");
        }
        let Ok(packet) = r.take(length as usize) else { return Ok(None) };
        let mut packet = Reader::new(packet);
        let padding = usize::from(packet.u8().unwrap_or_default());
        let payload = packet.rest().len().checked_sub(padding).and_then(|size| packet.take(size).ok());
        let mut payload = Reader::new(payload.ok_or("a packet with impossible padding")?);
        match payload.u8() {
            Ok(KEXINIT) => return offers_gcm(payload).map(Some).map_err(|_| "a malformed KEXINIT"),
            Ok(IGNORE | UNIMPLEMENTED | DEBUG) => {}
            _ => return Err("a message before KEXINIT"),
        }
    }
}

/// RFC 4253 section 7.1, after the message number.
fn offers_gcm(mut kexinit: Reader<'_>) -> Result<bool, WireError> {
    kexinit.take(16)?; // cookie
    kexinit.names()?; // key exchange
    kexinit.names()?; // host keys
    let has_gcm = |ciphers: Vec<&str>| ciphers.iter().any(|cipher| GCM.contains(cipher));
    let up = has_gcm(kexinit.names()?);
    let down = has_gcm(kexinit.names()?);
    Ok(up && down)
}

/// A stream that gives back what was heard, and swallows the one line that was said already.
#[derive(Debug)]
pub struct Replay<S> {
    stream: S,
    heard: Vec<u8>,
    given: usize,
    swallow: Vec<u8>,
    swallowed: usize,
}

impl<S> Replay<S> {
    /// The connection underneath, for its socket options.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Takes from `buf` what was said already: how many bytes, none when the line is over.
    fn swallow(&mut self, buf: &[u8]) -> io::Result<usize> {
        let rest = self.swallow.get(self.swallowed..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        if rest.get(..n) != buf.get(..n) {
            let text = "the version line that follows is not the one that was sent";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.swallowed += n;
        Ok(n)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = this.heard.get(this.given..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let n = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..n).unwrap_or_default());
        this.given += n;
        if this.given == this.heard.len() {
            this.heard = Vec::new(); // connections last for hours
            this.given = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let swallowed = self.swallow(buf)?;
        if swallowed > 0 {
            return Poll::Ready(Ok(swallowed));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const GCM: [&str; 2] = ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com"];
const IGNORE: u8 = 2;
const UNIMPLEMENTED: u8 = 3;
const DEBUG: u8 = 4;
const KEXINIT: u8 = 20;
/// The version line with its end, RFC 4253 section 4.2.
const MAX_LINE: usize = 255;
/// A packet has a padding length, a message number and four bytes of padding: RFC 4253 section 6.
const MIN_PACKET: u32 = 6;
/// The largest packet that an implementation must accept, RFC 4253 section 6.1. A KEXINIT has one or two KB.
const MAX_PACKET: u32 = 35_000;
/// The version line, one largest packet, and a little.
const MAX_HEARD: usize = MAX_LINE + 4 + MAX_PACKET as usize + CHUNK;
/// Bytes asked for at a time.
const CHUNK: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tokio::io::{DuplexStream, duplex};
    use tokio::net::TcpListener;
    use tokio::process::Command;

    use super::*;
    use crate::wire::codec::Writer;

    const OURS: &str = "SSH-2.0-OpenSSH_9.9 jit-bastion";
    const SOON: Duration = Duration::from_millis(50);
    const AMPLE: Duration = Duration::from_secs(20);

    fn packet(payload: &[u8]) -> Vec<u8> {
        let padding = 8 - (payload.len() + 5) % 8 + 8;
        let length = u32::try_from(payload.len() + padding + 1).unwrap();
        Writer::new().u32(length).u8(u8::try_from(padding).unwrap()).raw(payload).raw(&vec![0; padding]).done()
    }

    fn kexinit(up: &[&str], down: &[&str]) -> Vec<u8> {
        let head = Writer::message(KEXINIT).raw(&[7; 16]).names(&["curve25519-sha256"]).names(&["ssh-ed25519"]);
        let ciphers = head.names(up).names(down).names(&["hmac-sha2-256"]).names(&["hmac-sha2-256"]);
        packet(&ciphers.names(&["none"]).names(&["none"]).names(&[]).names(&[]).bool(false).u32(0).done())
    }

    fn hello(ciphers: &[&str]) -> Vec<u8> {
        [b"SSH-2.0-client\r\n".to_vec(), kexinit(ciphers, ciphers)].concat()
    }

    async fn meet(said: &[u8], patience: Duration) -> (DuplexStream, Result<Peeked<DuplexStream>, Unseen<DuplexStream>>) {
        let (mut client, server) = duplex(1 << 20);
        client.write_all(said).await.unwrap();
        (client, peek(server, OURS, patience).await)
    }

    #[tokio::test]
    async fn the_next_layer_notices_nothing() {
        let said = [hello(&["chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com"]), b"and more".to_vec()].concat();
        let (mut client, peeked) = meet(&said, AMPLE).await;
        let Peeked { mut stream, client_id, offers_gcm } = peeked.unwrap();
        assert_eq!((client_id.as_str(), offers_gcm), ("SSH-2.0-client", true));
        let line = format!("{OURS}\r\n");
        let mut seen = vec![0; line.len()];
        client.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, line.as_bytes());
        // as russh: the whole line, then packets; here the line in two writes, its second with the packet in one
        stream.write_all(&line.as_bytes()[..5]).await.unwrap();
        stream.write_all(&[&line.as_bytes()[5..], b"packet"].concat()).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap(); // swallowed once only
        drop(client.write_all(b"!").await);
        let mut heard = vec![0; said.len() + 1];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, [&said[..], b"!"].concat());
        drop(stream);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, [b"packet", line.as_bytes()].concat());
    }

    #[tokio::test]
    async fn another_line_than_the_one_sent_is_an_error() {
        let (_client, peeked) = meet(&hello(&[]), AMPLE).await;
        let error = peeked.unwrap().stream.write_all(b"SSH-2.0-other\r\n").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn gcm_counts_only_in_both_directions() {
        for (up, down, expected) in [
            (&["aes256-gcm@openssh.com"][..], &["aes128-ctr", "aes256-gcm@openssh.com"][..], true),
            (&["aes256-gcm@openssh.com"], &["aes256-ctr"], false),
            (&["aes256-ctr"], &["aes128-gcm@openssh.com"], false),
            (&["chacha20-poly1305@openssh.com"], &["chacha20-poly1305@openssh.com"], false),
            (&[], &[], false),
        ] {
            let said = [b"SSH-2.0-x y\x07\n".to_vec(), packet(b"\x02\0\0\0\x01x"), kexinit(up, down)].concat();
            let peeked = meet(&said, AMPLE).await.1.unwrap();
            assert_eq!((peeked.client_id.as_str(), peeked.offers_gcm), ("SSH-2.0-x y?", expected), "{up:?} {down:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_waits_for_us_keeps_its_bytes() {
        let whole = hello(&["aes256-gcm@openssh.com"]);
        for said in [0, 1, 16, 17, 40, whole.len() - 1] {
            let (mut client, peeked) = meet(&whole[..said], SOON).await;
            let Err(Unseen::Late(mut stream)) = peeked else { panic!("{said}: {peeked:?}") };
            client.write_all(&whole[said..]).await.unwrap();
            let mut heard = vec![0; whole.len()];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, whole);
        }
    }

    #[tokio::test]
    async fn what_is_not_ssh_is_named_at_once() {
        let long = [b"SSH-2.0-".to_vec(), vec![b'a'; 300]].concat();
        let line = b"SSH-2.0-x\r\n".to_vec();
        let flood = [line.clone(), packet(b"\x02\0\0\0\0").repeat(4000)].concat();
        for said in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"\x16\x03\x01".to_vec(),
            b"SSH-1.5-old\r\n".to_vec(),
            long,
            [line.clone(), vec![0xff; 4]].concat(),
            [line.clone(), vec![0, 0, 0, 1]].concat(),
            [line.clone(), 35_001u32.to_be_bytes().to_vec()].concat(),
            [line.clone(), packet(&[50])].concat(),
            [line.clone(), packet(&[KEXINIT, 1, 2])].concat(),
            [line.clone(), vec![0, 0, 0, 8, 99, 20, 0, 0, 0, 0, 0, 0]].concat(),
            flood,
        ] {
            let (_client, peeked) = meet(&said, AMPLE).await;
            assert!(matches!(peeked, Err(Unseen::Garbage(_))), "{:?}: {peeked:?}", &said[..said.len().min(40)]);
        }
        let (client, server) = duplex(1024);
        drop(client);
        assert!(matches!(peek(server, OURS, AMPLE).await, Err(Unseen::Gone(_))));
    }

    proptest! {
        #[test]
        fn any_split_is_the_same_and_garbage_never_panics(cut in any::<usize>(), noise in any::<Vec<u8>>()) {
            let whole = hello(&["aes128-gcm@openssh.com"]);
            let cut = cut % whole.len();
            prop_assert!(matches!(understand(&whole[..cut]), Ok(None)));
            prop_assert_eq!(understand(&whole).map(|hello| hello.map(|hello| hello.offers_gcm)), Ok(Some(true)));
            let _ = understand(&noise);
            let _ = understand(&[b"SSH-2.0-x\r\n", &noise[..]].concat());
            let framed = packet(&[&[KEXINIT], &noise[..noise.len().min(200)]].concat());
            let _ = first_kexinit(&framed);
        }
    }

    struct Door;

    impl russh::server::Handler for Door {
        type Error = russh::Error;
    }

    /// The real ssh client against the real russh behind the wrapper: the cipher that they agree on.
    async fn cipher_with(options: &[&str]) -> (bool, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let mut command = Command::new("ssh");
        command.args(["-v", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentityFile=none", "-o", "IdentityAgent=none"]);
        command.args(options).args(["-p", &port, "anna@127.0.0.1", "true"]).kill_on_drop(true);
        let client = tokio::spawn(async move { command.output().await.unwrap() });
        let (socket, _) = listener.accept().await.unwrap();
        let peeked = peek(socket, OURS, AMPLE).await.unwrap();
        assert!(peeked.client_id.starts_with("SSH-2.0-OpenSSH"), "{}", peeked.client_id);
        let seed = ssh_key::private::Ed25519Keypair::from_seed(&[9; 32]);
        let mut config = russh::server::Config {
            server_id: russh::SshId::Standard(OURS.into()),
            keys: vec![ssh_key::PrivateKey::from(seed)],
            auth_rejection_time: Duration::ZERO,
            ..Default::default()
        };
        if peeked.offers_gcm {
            config.preferred.cipher = vec![russh::cipher::AES_256_GCM].into();
        }
        let session = russh::server::run_stream(Arc::new(config), peeked.stream, Door).await.unwrap();
        let output = client.await.unwrap();
        drop(session);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("Permission denied"), "authentication was not reached: {text}");
        let cipher = text.split("server->client cipher: ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        (peeked.offers_gcm, cipher)
    }

    #[tokio::test]
    async fn a_real_ssh_and_russh_agree_through_the_wrapper() {
        assert_eq!(cipher_with(&[]).await, (true, "aes256-gcm@openssh.com".to_owned()));
        let (gcm, cipher) = cipher_with(&["-c", "chacha20-poly1305@openssh.com"]).await;
        assert_eq!((gcm, cipher.as_str()), (false, "chacha20-poly1305@openssh.com"));
    }
}
