//! Tells systemd how we are (sd_notify(3)): one datagram to the socket that it named. Without systemd, nothing happens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What systemd is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// We accept connections.
    Ready,
    /// We read config and policy anew; `Ready` follows.
    Reloading,
    /// We end.
    Stopping,
}

/// Tells `state` to whoever started us, if they want to know. A message that cannot be sent is no reason to stop.
pub(super) fn tell(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(socket.as_encoded_bytes(), &message(state)) {
        tracing::warn!(%error, ?state, "systemd could not be told");
    }
}

fn message(state: State) -> String {
    match state {
        State::Ready => "READY=1".into(),
        State::Stopping => "STOPPING=1".into(),
        // Type=notify-reload compares this time with its own.
        State::Reloading => {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            format!("RELOADING=1\nMONOTONIC_USEC={}", i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000)
        }
    }
}

/// `socket` is a path, or `@` and an abstract name.
fn send(socket: &[u8], message: &str) -> std::io::Result<()> {
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_arrives_at_a_path_and_at_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listening = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str().as_encoded_bytes(), &message(State::Ready)).unwrap();
        let mut buffer = [0; 128];
        let n = listening.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"READY=1");

        let name = format!("jit-bastion-test-{}", std::process::id());
        let listening = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(format!("@{name}").as_bytes(), &message(State::Reloading)).unwrap();
        let n = listening.recv(&mut buffer).unwrap();
        assert!(buffer[..n].starts_with(b"RELOADING=1\nMONOTONIC_USEC="));
    }
}
