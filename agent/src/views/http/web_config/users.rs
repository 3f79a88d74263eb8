//! Passwords. Their bcrypt hashes are compared on another thread, because a comparison takes tens
//! of milliseconds; the SHA-256 of a correct password is cached, so that not every scrape takes
//! that long.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::{error::WebConfigError, file::File};

/// Hash compared for users that do not exist, so that the response time does not show which users
/// exist. Its password is not known.
const DUMMY_HASH: &str = "$2y$10$abcdefghijklmnopqrstuuHxVYkBXvfXp9i9m3dXQHOU3ROBPHGAW";
/// Correct passwords cached; the cache is replaced with the file.
const MAX_CACHED: usize = 256;

/// Users with access.
#[derive(Debug)]
pub(in crate::views::http) struct Users {
    hashes: BTreeMap<String, String>,
    /// SHA-256 of users with their correct passwords.
    cached: Mutex<HashSet<[u8; 32]>>,
    /// Limits comparisons to one at a time.
    comparison: Semaphore,
}

impl Users {
    pub(super) fn new(file: &File) -> Result<Self, WebConfigError> {
        for (user, hash) in file.users() {
            if let Err(error) = hash.parse::<bcrypt::HashParts>() {
                return Err(file.invalid(user, format!("no bcrypt hash: {error}")));
            }
        }
        Ok(Self {
            hashes: file.users().clone(),
            cached: Mutex::default(),
            comparison: Semaphore::new(1),
        })
    }

    /// Whether an `Authorization` header is valid; always without users.
    pub(in crate::views::http) async fn admit(&self, header: Option<&str>) -> bool {
        if self.hashes.is_empty() {
            return true;
        }
        let Some((user, password)) = header.and_then(credentials) else {
            return false;
        };
        let mut digest = Sha256::new();
        for part in [&user, &password] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let digest: [u8; 32] = digest.finalize().into();
        let cached = || self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if cached().contains(&digest) {
            return true;
        }
        let Ok(_permit) = self.comparison.acquire().await else {
            return false;
        };
        let known = self.hashes.get(&user).cloned();
        let exists = known.is_some();
        let compared = tokio::task::spawn_blocking(move || {
            bcrypt::verify(password, &known.unwrap_or_else(|| DUMMY_HASH.to_owned()))
                .unwrap_or(false)
        });
        let admitted = compared.await.unwrap_or(false) && exists;
        if admitted {
            let mut cached = cached();
            if cached.len() < MAX_CACHED {
                cached.insert(digest);
            }
        }
        admitted
    }
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

    #[test]
    fn the_dummy_hash_costs_as_much_as_others_and_matches_nothing() {
        let parts: bcrypt::HashParts = DUMMY_HASH.parse().unwrap();
        assert_eq!(parts.get_cost(), 10);
        assert!(!bcrypt::verify("", DUMMY_HASH).unwrap());
    }
}
