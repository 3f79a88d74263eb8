//! HAProxy's administration socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Gives HAProxy a new ticket key, in base64. It retains three keys and encrypts with the second
/// last. `keys` names them: their file, or `#` and their number.
///
/// # Panics
/// If HAProxy does not accept the key.
pub fn set_ticket_key(socket: &Path, keys: &str, key: &str) {
    let mut stream = UnixStream::connect(socket).expect("failed to connect to HAProxy");
    writeln!(stream, "set ssl tls-key {keys} {key}").expect("failed to command HAProxy");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("failed to read HAProxy's answer");
    assert!(answer.contains("TLS ticket key updated"), "{answer}");
}
