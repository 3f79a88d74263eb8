//! The part of the Kubernetes API that the agent uses: lists and watches of the pods of one node
//! over TLS, with pagination and a token.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates;
use crate::ports::listen;

/// Node of the served pods.
pub const NODE: &str = "node-a";
/// Content of the service account's token file.
const TOKEN: &str = "a-token-of-a-test";

/// State of the server.
#[derive(Debug, Default)]
struct State {
    pods: Vec<Value>,
    /// Events for watches, in order.
    events: Vec<Value>,
    requests: Vec<String>,
    failing: bool,
}

/// A running server; its threads end with the test process.
#[derive(Debug)]
pub struct ApiServer {
    /// Port on 127.0.0.1.
    pub port: u16,
    state: Arc<Mutex<State>>,
    directory: TempDir,
}

/// Returns a bare pod as the server sends it, with these containers: ID and name.
#[must_use]
pub fn pod(namespace: &str, name: &str, uid: &str, containers: &[(&str, &str)]) -> Value {
    let statuses = containers.iter().map(|(id, name)| {
        json!({ "name": name, "containerID": format!("containerd://{id}"), "ready": true })
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "uid": uid, "resourceVersion": "7" },
        "spec": { "containers": [{ "name": "app", "env": [{ "name": "A", "value": "b" }] }] },
        "status": { "phase": "Running", "containerStatuses": statuses.collect::<Vec<_>>() },
    })
}

/// Returns a pod of [`pod`] with its controller and the hash of the controller's template.
#[must_use]
pub fn controlled(mut pod: Value, kind: &str, name: &str, template_hash: &str) -> Value {
    pod["metadata"]["labels"] = json!({ "pod-template-hash": template_hash });
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "1", "controller": true,
    }]);
    pod
}

impl ApiServer {
    /// Starts a server with these pods.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(pods: Vec<Value>) -> Self {
        let directory = authority();
        let at = |name: &str| directory.path().join(name);
        let cert = CertificateDer::from_pem_file(at("server.crt")).expect("no certificate");
        let key = PrivateKeyDer::from_pem_file(at("server.key")).expect("no key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("no versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .expect("not a pair");
        let listener = listen();
        let port = listener.local_addr().expect("no address").port();
        let state = Arc::new(Mutex::new(State {
            pods,
            ..State::default()
        }));
        let (shared, config) = (Arc::clone(&state), Arc::new(config));
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (state, config) = (Arc::clone(&shared), Arc::clone(&config));
                // A client may disconnect at any time.
                thread::spawn(move || serve(tcp, config, &state).ok());
            }
        });
        Self {
            port,
            state,
            directory,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a thread panicked")
    }

    /// Sends an event to all watches: `ADDED`, `MODIFIED` or `DELETED`.
    pub fn send(&self, kind: &str, pod: &Value) {
        self.state()
            .events
            .push(json!({ "type": kind, "object": pod }));
    }

    /// Sets whether every further request is answered with an error.
    pub fn fail(&self, failing: bool) {
        self.state().failing = failing;
    }

    /// Returns the request lines so far of requests with the token.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Returns a command prefix that runs a command as in a pod of this cluster, with the files of
    /// the service account.
    #[must_use]
    pub fn in_a_pod(&self) -> [String; 8] {
        let account = "/var/run/secrets/kubernetes.io/serviceaccount";
        let script = format!(
            "mount -t tmpfs none /run && mkdir -p {account} && cp \"$1/ca.crt\" \"$1/token\" \"$1/namespace\" {account} && \
             export KUBERNETES_SERVICE_HOST=127.0.0.1 KUBERNETES_SERVICE_PORT=$2 NODE_NAME={NODE} && shift 2 && exec \"$@\""
        );
        let directory = self.directory.path().display().to_string();
        let port = self.port.to_string();
        [
            "unshare", "-m", "sh", "-ec", &script, "sh", &directory, &port,
        ]
        .map(str::to_owned)
    }
}

fn serve(tcp: TcpStream, config: Arc<ServerConfig>, state: &Mutex<State>) -> std::io::Result<()> {
    let tls = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, tcp));
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let allowed = format!("authorization: bearer {}", TOKEN).to_lowercase();
        let request = head[0].clone();
        let known = head.iter().any(|line| line.to_lowercase() == allowed);
        let failing = {
            let mut state = state.lock().expect("a thread panicked");
            if known {
                state.requests.push(request.clone());
            }
            state.failing
        };
        let of_node = request.contains(&format!("fieldSelector=spec.nodeName%3D{NODE}"));
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = if !known {
            (
                401,
                json!({ "kind": "Status", "code": 401, "reason": "Unauthorized" }),
            )
        } else if failing {
            (
                500,
                json!({ "kind": "Status", "code": 500, "reason": "InternalError" }),
            )
        } else if !of_node || !path.starts_with("/api/v1/pods?") {
            (
                403,
                json!({ "kind": "Status", "code": 403, "reason": "Forbidden" }),
            )
        } else if request.contains("watch=true") {
            return watch(stream.get_mut(), state);
        } else {
            (200, page(&request, state))
        };
        let body = body.to_string();
        let stream = stream.get_mut();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        stream.flush()?;
    }
}

/// Returns one pod per page; a server may return fewer than requested.
fn page(request: &str, state: &Mutex<State>) -> Value {
    let at = request.split("continue=").nth(1);
    let at = at.and_then(|text| text.split(['&', ' ']).next()?.parse().ok());
    let at: usize = at.unwrap_or_default();
    let state = state.lock().expect("a thread panicked");
    let next = if at + 1 < state.pods.len() {
        (at + 1).to_string()
    } else {
        String::new()
    };
    json!({
        "apiVersion": "v1",
        "kind": "PodList",
        "metadata": { "resourceVersion": "7", "continue": next },
        "items": state.pods.get(at).into_iter().collect::<Vec<_>>(),
    })
}

/// Sends all events, including later ones as they occur.
fn watch(stream: &mut impl std::io::Write, state: &Mutex<State>) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )?;
    stream.flush()?;
    let mut sent = 0;
    loop {
        let (events, failing) = {
            let state = state.lock().expect("a thread panicked");
            (state.events[sent..].to_vec(), state.failing)
        };
        if failing {
            return Ok(());
        }
        sent += events.len();
        for event in events {
            let line = format!("{event}\n");
            write!(stream, "{:x}\r\n{line}\r\n", line.len())?;
            stream.flush()?;
        }
        // A watch waits only for this list.
        thread::sleep(Duration::from_millis(20));
    }
}

/// Creates the files of a service account, and the server's own certificate and key.
fn authority() -> TempDir {
    let server = ("server", "kubernetes", "IP:127.0.0.1");
    let directory = certificates::authority("cluster", &[server]);
    let write = |name: &str, text: &str| {
        fs::write(Path::new(directory.path()).join(name), text).expect("failed to write");
    };
    write("token", TOKEN);
    write("namespace", "reprise");
    directory
}
