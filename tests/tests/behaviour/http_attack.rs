//! Attacks on the HTTP server while handshakes are counted. `agent/tests/http_attack.rs` has those
//! with full tables of peers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reprise_tests::ports::listen;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{observe, warm_up};
use reprise_tests::{Agent, Client, Server, http};

const CLIENTS: usize = 64;
/// Peers with series of their own during the attack.
const PEERS: u32 = 1_000;
const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Clients that pipeline requests and read the responses, until they are dropped.
struct Attack {
    ended: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Attack {
    fn start(address: SocketAddr) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let clients = (0..CLIENTS).map(|_| {
            let (ended, received) = (Arc::clone(&ended), Arc::clone(&received));
            thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    // An error closes the connection, and the next one follows.
                    let _ = pipeline_requests(address, &ended, &received);
                    thread::sleep(Duration::from_millis(10));
                }
            })
        });
        Self {
            clients: clients.collect(),
            ended,
            received,
        }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

fn pipeline_requests(
    address: SocketAddr,
    ended: &AtomicBool,
    received: &AtomicU64,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut buffer = vec![0; 64 << 10];
    while !ended.load(Ordering::Relaxed) {
        stream.write_all(&REQUEST.repeat(8))?;
        let mut got = 0;
        while got < 256 << 10 {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                more => got += more as u64,
            }
        }
        received.fetch_add(got, Ordering::Relaxed);
    }
    Ok(())
}

/// Makes one handshake from each of many addresses.
fn make_peers(server: &Server) {
    let sources: Vec<_> = (0..PEERS)
        .map(|number| format!("127.1.{}.{}", number / 250, number % 250 + 1))
        .collect();
    let report = Client::new(server.port)
        .with("--connections", PEERS.to_string())
        .with("--sources", sources.join(","))
        .run();
    assert_eq!(report.total(|row| row.full + row.resumed), PEERS);
}

/// A server that answers at once and is not attacked. Its delays are those of the machine.
fn control() -> SocketAddr {
    let listener = listen();
    let address = listener.local_addr().expect("an address");
    // Ends with the test process.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 256]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
        }
    });
    address
}

/// Time of a request for `/readyz`.
fn time_ready(address: SocketAddr) -> Duration {
    let start = Instant::now();
    let response = http::request(address, "GET", "/readyz", "*/*").expect("/readyz answers");
    assert_eq!(response.status, 200);
    start.elapsed()
}

/// Asserts that `/readyz` answers within 200 ms in nine of ten cases, apart from the delays of the
/// machine for each of the four threads that take part.
fn assert_ready(agent: &Agent) {
    let control = control();
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..50 {
        times[0].push(time_ready(agent.address));
        times[1].push(time_ready(control));
        thread::sleep(Duration::from_millis(20));
    }
    let [ready, machine] = times.map(|mut times| {
        times.sort_unstable();
        times[45]
    });
    let limit = Duration::from_millis(200) + 4 * machine;
    assert!(ready < limit, "{ready:?}, without an attack {machine:?}");
}

#[test]
fn clients_that_pipeline_requests_cost_no_handshake() {
    let server = Server::nginx(Sessions::Tickets);
    let agent = Agent::start(["--max-peers", "10000"]);
    warm_up(&agent, &server);
    make_peers(&server);
    let attack = Attack::start(agent.address);
    assert_ready(&agent);
    let client = Client::new(server.port).connections(300);
    observe(&agent, &server, &client, 300);
    assert!(attack.received.load(Ordering::Relaxed) > 1 << 20);
    let (code, took) = agent.terminate();
    drop(attack);
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn clients_that_do_not_read_cost_no_handshake() {
    let server = Server::nginx(Sessions::Tickets);
    let agent = Agent::start(["--max-peers", "10000"]);
    warm_up(&agent, &server);
    make_peers(&server);
    let silent: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = TcpStream::connect(agent.address).expect("failed to connect");
            // More responses than the buffers of both sides hold.
            stream
                .write_all(&REQUEST.repeat(100))
                .expect("failed to write to the agent");
            stream
        })
        .collect();
    assert_ready(&agent);
    let client = Client::new(server.port).connections(300);
    observe(&agent, &server, &client, 300);
    let (code, took) = agent.terminate();
    drop(silent);
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");
}
