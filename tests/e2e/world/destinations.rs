//! Where forwards lead to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A server on the loopback, on a thread of its own for each connection; its port.
pub fn server(serve: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(thread::spawn(move || serve(stream)))));
    port
}

/// Says what it hears.
pub fn echo(mut stream: TcpStream) {
    let mut back = stream.try_clone().expect("a second handle");
    let _ = std::io::copy(&mut stream, &mut back);
    let _ = back.shutdown(Shutdown::Write);
}

/// Sends for as long as it may.
pub fn flood(mut stream: TcpStream) {
    while stream.write_all(&[b'f'; 64 * 1024]).is_ok() {}
}

/// Speaks like an SSH server.
pub fn banner(mut stream: TcpStream) {
    let _ = stream.write_all(b"SSH-2.0-somebody\r\n");
    let _ = stream.read(&mut [0; 64]);
}

/// A port where nobody listens.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

/// A port whose queue is full: the kernel answers no further connection. Held open by what comes back.
pub fn black_hole() -> (u16, Vec<TcpStream>, TcpListener) {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    listen(&socket, 0).expect("it listens");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("bound");
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        held.push(stream);
        assert!(held.len() < 100, "the queue is never full");
    }
    (address.port(), held, listener)
}
