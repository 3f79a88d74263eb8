//! Listeners in the test process: a relay that splits a handshake into small pieces, a service that
//! never answers, and a plain-text service.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::poll::{DEADLINE, poll_until};
use crate::ports::listen;

/// Relays every connection to `127.0.0.1:port` in pieces of seven bytes, so that a server has to
/// wait for input many times in one handshake. Returns the port to connect to.
///
/// # Panics
/// If no port can be bound.
#[must_use]
pub fn relay_in_pieces(port: u16) -> u16 {
    let listener = listen();
    let own = listener
        .local_addr()
        .expect("failed to read the bound address")
        .port();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else {
                continue;
            };
            for (from, to) in [(&near, &far), (&far, &near)] {
                if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                    thread::spawn(move || copy(from, to));
                }
            }
        }
    });
    own
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = to.set_nodelay(true);
    let mut piece = [0; 7];
    loop {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => {
                if to.write_all(&piece[..count]).is_err() {
                    break;
                }
                // Otherwise the pieces would arrive as one on a loaded machine.
                thread::yield_now();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A TCP service that reads a ClientHello and sends nothing.
#[derive(Debug)]
pub struct SilentService {
    listener: TcpListener,
    /// Port on 127.0.0.1.
    pub port: u16,
}

impl SilentService {
    /// Starts to listen on a free port.
    ///
    /// # Panics
    /// If no port can be bound.
    #[must_use]
    pub fn new() -> Self {
        let listener = listen();
        let port = listener
            .local_addr()
            .expect("failed to read the bound address")
            .port();
        Self { listener, port }
    }

    /// Accepts one connection and returns it once the first record has arrived completely. The
    /// record remains unread, so that dropping the stream resets the connection; see
    /// [`read_first_record`].
    ///
    /// # Panics
    /// If no ClientHello arrives.
    #[must_use]
    pub fn accept(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().expect("failed to accept");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("failed to set a timeout");
        poll_until(
            "a whole record from the client",
            DEADLINE,
            || match first_record(&stream) {
                (have, Some(want)) if have >= want => Ok(()),
                other => Err(format!("{other:?}")),
            },
        );
        stream
    }
}

/// Returns the number of unread bytes and, once its header has arrived, the length of the first
/// record.
fn first_record(stream: &TcpStream) -> (usize, Option<usize>) {
    let mut buffer = [0; 8192];
    let have = stream
        .peek(&mut buffer)
        .expect("failed to look at the client's bytes");
    if have < 5 {
        return (have, None);
    }
    assert_eq!(buffer[0], 0x16, "not a TLS handshake record");
    (
        have,
        Some(5 + usize::from(u16::from_be_bytes([buffer[3], buffer[4]]))),
    )
}

/// Reads the first record, so that dropping the stream closes the connection without a reset.
///
/// # Panics
/// If it cannot be read.
pub fn read_first_record(stream: &mut TcpStream) {
    let (have, _) = first_record(stream);
    stream
        .read_exact(&mut vec![0; have])
        .expect("failed to read the client's bytes");
}

impl Default for SilentService {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts a plain-text service that answers one request per connection until the test process ends.
/// Returns its port.
///
/// # Panics
/// If no port can be bound.
#[must_use]
pub fn plain_service() -> u16 {
    let listener = listen();
    let port = listener
        .local_addr()
        .expect("failed to read the bound address")
        .port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
    // The client may have disconnected.
    let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
}
