//! Passwords: bcrypt hashes, compared on a thread of their own. One that was right is remembered by its SHA-256, so that each scrape
//! does not cost tens of milliseconds.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::{WebConfigError, file::File};

/// Compared for users that do not exist: how long it takes must not tell who does. Of no password that anybody knows.
const NOBODY: &str = "$2y$10$abcdefghijklmnopqrstuuHxVYkBXvfXp9i9m3dXQHOU3ROBPHGAW";
/// Right passwords remembered; there are as many as users, and old ones go with the file.
const REMEMBERED: usize = 256;

/// Who may ask.
#[derive(Debug)]
pub(in crate::views::http) struct Users {
    hashes: BTreeMap<String, String>,
    right: Mutex<HashSet<[u8; 32]>>,
    /// One comparison at a time, whoever asks how often.
    turn: Semaphore,
}

impl Users {
    pub(super) fn new(file: &File) -> Result<Self, WebConfigError> {
        for (user, hash) in file.users() {
            if let Err(error) = hash.parse::<bcrypt::HashParts>() {
                return Err(file.wrong(user, format!("no bcrypt hash: {error}")));
            }
        }
        Ok(Self {
            hashes: file.users().clone(),
            right: Mutex::default(),
            turn: Semaphore::new(1),
        })
    }

    /// Whether an `Authorization` header is that of a user.
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
        let right = || self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right().contains(&digest) {
            return true;
        }
        let Ok(_turn) = self.turn.acquire().await else {
            return false;
        };
        let known = self.hashes.get(&user).cloned();
        let exists = known.is_some();
        let compared = tokio::task::spawn_blocking(move || {
            bcrypt::verify(password, &known.unwrap_or_else(|| NOBODY.to_owned())).unwrap_or(false)
        });
        let admitted = compared.await.unwrap_or(false) && exists;
        if admitted {
            let mut right = right();
            if right.len() < REMEMBERED {
                right.insert(digest);
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
    fn headers_of_every_kind() {
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
    fn nobody_takes_as_long_as_anybody() {
        let parts: bcrypt::HashParts = NOBODY.parse().unwrap();
        assert_eq!(parts.get_cost(), 10);
        assert!(!bcrypt::verify("", NOBODY).unwrap());
    }
}
