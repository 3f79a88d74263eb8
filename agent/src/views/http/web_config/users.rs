//! Passwords. Their bcrypt hashes are compared on another thread, one at a time, because a
//! comparison takes tens of milliseconds; the SHA-256 of a correct password is cached, so that not
//! every scrape takes that long.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Semaphore, oneshot},
    task::spawn_blocking,
};

use super::{
    super::client_network::client_network, backoff::Backoff, error::WebConfigError, file::File,
};

/// Hash compared for users that do not exist, so that the response time does not show which users
/// exist. Its password is not known.
const DUMMY_HASH: &str = "$2y$10$abcdefghijklmnopqrstuuHxVYkBXvfXp9i9m3dXQHOU3ROBPHGAW";
/// Correct passwords cached; the cache is replaced with the file.
const MAX_CACHED: usize = 256;
/// Passwords of one client that wait for their comparison: a page makes some requests at once.
const MAX_WAITING: usize = 8;
/// While many passwords are wrong, no comparison begins for this multiple of the duration of the
/// last one, so that comparisons take at most a fifth of a core.
const REST: u32 = 4;

/// Decision on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::views::http) enum Admission {
    Granted,
    Denied,
    /// The client has sent too many wrong passwords.
    Wait {
        seconds: u64,
    },
}

/// Users with access.
#[derive(Debug)]
pub(in crate::views::http) struct Users {
    hashes: BTreeMap<String, String>,
    attempts: Arc<Attempts>,
    /// Limits comparisons to one at a time.
    comparison: Arc<Semaphore>,
}

/// State of the attempts to log in.
#[derive(Debug, Default)]
struct Attempts {
    /// SHA-256 of users with their correct passwords.
    cached: Mutex<HashSet<[u8; 32]>>,
    backoff: Mutex<Backoff>,
    /// Passwords that wait for their comparison, by client.
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

/// A password that waits for its comparison.
struct Waiting<'a> {
    attempts: &'a Attempts,
    client: IpAddr,
}

impl<'a> Waiting<'a> {
    /// `None` if too many passwords of this client wait.
    fn begin(attempts: &'a Attempts, client: IpAddr) -> Option<Self> {
        let mut waiting = lock(&attempts.waiting);
        let count = waiting.entry(client).or_default();
        if *count >= MAX_WAITING {
            return None;
        }
        *count += 1;
        Some(Self { attempts, client })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.attempts.waiting);
        if let Some(count) = waiting.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.client);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attempts {
    /// The decision without a comparison, if it is known.
    fn decided(&self, client: IpAddr, digest: &[u8; 32]) -> Option<Admission> {
        // First of all, so that a correct password is accepted whatever others from the same
        // address send.
        if lock(&self.cached).contains(digest) {
            return Some(Admission::Granted);
        }
        let wait = lock(&self.backoff).wait(client, Instant::now())?;
        Some(Admission::Wait {
            seconds: wait.as_secs() + 1,
        })
    }

    /// Records the result of a comparison; returns whether comparisons have to slow down.
    fn record(&self, client: IpAddr, digest: [u8; 32], correct: bool) -> bool {
        if !correct {
            return lock(&self.backoff).record_failure(client, Instant::now());
        }
        lock(&self.backoff).record_success(client);
        let mut cached = lock(&self.cached);
        if cached.len() < MAX_CACHED {
            cached.insert(digest);
        }
        false
    }
}

impl Users {
    pub(super) fn new(file: &File) -> Result<Self, WebConfigError> {
        for (user, hash) in file.users() {
            if let Err(error) = hash.parse::<bcrypt::HashParts>() {
                return Err(file.invalid(user, format!("no bcrypt hash: {error}")));
            }
        }
        Ok(Self::with_hashes(file.users().clone()))
    }

    fn with_hashes(hashes: BTreeMap<String, String>) -> Self {
        Self {
            hashes,
            attempts: Arc::default(),
            comparison: Arc::new(Semaphore::new(1)),
        }
    }

    /// Decides on a request with this `Authorization` header; grants all without users.
    pub(in crate::views::http) async fn admit(
        &self,
        header: Option<&str>,
        client: IpAddr,
    ) -> Admission {
        if self.hashes.is_empty() {
            return Admission::Granted;
        }
        let Some((user, password)) = header.and_then(credentials) else {
            return Admission::Denied;
        };
        let client = client_network(client);
        let digest = digest(&user, &password);
        if let Some(decision) = self.attempts.decided(client, &digest) {
            return decision;
        }
        let Some(_waiting) = Waiting::begin(&self.attempts, client) else {
            return Admission::Wait { seconds: 1 };
        };
        let Ok(permit) = Arc::clone(&self.comparison).acquire_owned().await else {
            return Admission::Denied;
        };
        // Others of the same client may have been compared meanwhile.
        if let Some(decision) = self.attempts.decided(client, &digest) {
            return decision;
        }
        let known = self.hashes.get(&user).cloned();
        let attempts = Arc::clone(&self.attempts);
        let (sender, result) = oneshot::channel();
        // The thread owns the permit, because a client may close its connection at any time.
        spawn_blocking(move || {
            let begin = Instant::now();
            let hash = known.as_deref().unwrap_or(DUMMY_HASH);
            let correct = bcrypt::verify(password, hash).unwrap_or(false) && known.is_some();
            let slow_down = attempts.record(client, digest, correct);
            // The client may have gone.
            let _ = sender.send(correct);
            if slow_down {
                thread::sleep(begin.elapsed() * REST);
            }
            drop(permit);
        });
        match result.await {
            Ok(true) => Admission::Granted,
            Ok(false) | Err(_) => Admission::Denied,
        }
    }
}

fn digest(user: &str, password: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [user, password] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// User and password of RFC 7617.
fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, rest) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn credentials_are_read_from_basic_headers_only() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(
            credentials("Basic cHJvbTpzZWNyZXQ="),
            pair("prom", "secret")
        );
        assert_eq!(
            credentials("basic cHJvbTpzZTpjcmV0"),
            pair("prom", "se:cret")
        );
        assert_eq!(credentials("Basic cHJvbQ=="), None);
        assert_eq!(credentials("Basic !"), None);
        assert_eq!(credentials("Bearer cHJvbTpzZWNyZXQ="), None);
        assert_eq!(credentials("Basic"), None);
    }

    fn users() -> Users {
        let hash = bcrypt::hash("secret", 4).unwrap();
        Users::with_hashes([("prom".to_owned(), hash)].into())
    }

    fn header(password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("prom:{password}")))
    }

    #[tokio::test]
    async fn wrong_passwords_make_their_client_wait_and_nobody_else() {
        let users = users();
        let attacker = [192, 0, 2, 1].into();
        let admit =
            async |password: &str, client| users.admit(Some(&header(password)), client).await;
        assert_eq!(admit("secret", attacker).await, Admission::Granted);
        for number in 0..5 {
            let decision = admit(&number.to_string(), attacker).await;
            assert_eq!(decision, Admission::Denied, "{number}");
        }
        let wait = Admission::Wait { seconds: 1 };
        assert_eq!(admit("guess", attacker).await, wait);
        // A password that was correct before is not compared.
        assert_eq!(admit("secret", attacker).await, Admission::Granted);
        assert_eq!(
            admit("guess", [192, 0, 2, 2].into()).await,
            Admission::Denied
        );
        assert_eq!(users.admit(None, attacker).await, Admission::Denied);
    }

    #[tokio::test]
    async fn the_waiting_passwords_of_a_client_are_bounded() {
        let users = users();
        let permit = users.comparison.acquire().await.unwrap();
        let client = [192, 0, 2, 1].into();
        let headers: Vec<_> = (0..20).map(|number| header(&number.to_string())).collect();
        let requests = headers
            .iter()
            .map(|header| users.admit(Some(header), client));
        let mut requests: Vec<_> = requests.map(Box::pin).collect();
        let refused = requests
            .iter_mut()
            .filter_map(|request| request.now_or_never());
        assert_eq!(refused.count(), 20 - MAX_WAITING);
        drop(requests);
        assert!(lock(&users.attempts.waiting).is_empty());
        drop(permit);
        let right = header("secret");
        assert_eq!(users.admit(Some(&right), client).await, Admission::Granted);
    }

    #[test]
    fn the_dummy_hash_costs_as_much_as_others_and_matches_nothing() {
        let parts: bcrypt::HashParts = DUMMY_HASH.parse().unwrap();
        assert_eq!(parts.get_cost(), 10);
        assert!(!bcrypt::verify("", DUMMY_HASH).unwrap());
    }
}
