//! Keys of the file, and their lines. `http2` and `prefer_server_cipher_suites` are accepted
//! without an effect: only HTTP/1.1 is supported, and rustls chooses the cipher suite.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::error::WebConfigError;

/// Headers that the format allows.
const HEADERS: &[&str] = &[
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    tls_server_config: Option<Tls>,
    http_server_config: Http,
    basic_auth_users: BTreeMap<String, String>,
}

/// `tls_server_config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) client_ca: Option<String>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) client_ca_file: Option<PathBuf>,
    pub(super) client_auth_type: Option<String>,
    client_allowed_sans: Vec<String>,
    pub(super) cipher_suites: Vec<String>,
    pub(super) curve_preferences: Vec<String>,
    pub(super) min_version: Option<String>,
    pub(super) max_version: Option<String>,
    prefer_server_cipher_suites: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Http {
    http2: bool,
    headers: BTreeMap<String, String>,
}

/// A parsed file.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    text: String,
    keys: Keys,
}

pub(super) fn read(path: &Path) -> Result<File, WebConfigError> {
    let text = fs::read_to_string(path).map_err(|source| WebConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    // An empty file sets nothing.
    let keys: Option<Keys> =
        serde_saphyr::from_str(&text).map_err(|error| WebConfigError::Parse {
            path: path.to_owned(),
            // A snippet of the file could show a password hash.
            reason: error.without_snippet().to_string(),
        })?;
    Ok(File {
        path: path.to_owned(),
        text,
        keys: keys.unwrap_or_default(),
    })
}

impl File {
    pub(super) const fn tls(&self) -> Option<&Tls> {
        self.keys.tls_server_config.as_ref()
    }

    pub(super) const fn users(&self) -> &BTreeMap<String, String> {
        &self.keys.basic_auth_users
    }

    pub(super) fn sans(&self) -> Vec<String> {
        self.tls()
            .map(|tls| tls.client_allowed_sans.clone())
            .unwrap_or_default()
    }

    /// Files that it names.
    pub(super) fn named_files(&self) -> impl Iterator<Item = PathBuf> {
        let named = self
            .tls()
            .map(|tls| [&tls.cert_file, &tls.key_file, &tls.client_ca_file]);
        let named = named.into_iter().flatten().flatten();
        named.map(|path| self.resolve(path))
    }

    /// Resolves a path relative to the directory of the file.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    pub(super) fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, WebConfigError> {
        let headers = self.keys.http_server_config.headers.iter();
        headers
            .map(|(name, value)| {
                if !HEADERS.contains(&name.as_str()) {
                    let known = HEADERS.join(", ");
                    return Err(self.invalid(name, format!("not one of {known}")));
                }
                let value = HeaderValue::from_str(value);
                let value = value.map_err(|error| self.invalid(name, error.to_string()))?;
                let name = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|error| self.invalid(name, error.to_string()))?;
                Ok((name, value))
            })
            .collect()
    }

    /// The error for an invalid value of `key`.
    pub(super) fn invalid(&self, key: &str, reason: impl Into<String>) -> WebConfigError {
        WebConfigError::Value {
            path: self.path.clone(),
            line: find_line(&self.text, key),
            key: key.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Line of a key, counted from 1. All keys of the format have different names.
fn find_line(text: &str, key: &str) -> usize {
    let has_key = |line: &str| {
        let words = line.split([',', '{']);
        words
            .filter_map(|word| word.split_once(':'))
            .any(|(name, _)| name.trim().trim_matches(['"', '\'']) == key)
    };
    text.lines().position(has_key).map_or(1, |index| index + 1)
}
