//! Servers with a session cache of a given size.

use super::{Server, Sessions, Tuning};

/// Memory of nginx's zone itself, KiB.
const NGINX_ZONE: u64 = 8;
/// Bytes per session of nginx: two slots of its slab allocator, as measured.
const NGINX_SESSION: u64 = 384;
/// Bytes per session of Apache, as measured: 190 to 194 of data, without the server name, which no
/// virtual host has, and 24 of the index for each 156 of data.
const APACHE_SESSION: u64 = 224;

/// A kind of server with a session cache that its processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachingServer {
    /// HAProxy: one or more blocks per session.
    HaProxy,
    /// nginx: a zone of so many kilobytes.
    Nginx,
    /// Apache with `shmcb`, a cache of so many bytes.
    Apache,
}

/// Setting of a server's session cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSetting {
    /// Size in the unit of the server.
    pub amount: u64,
    /// Lifetime, seconds.
    pub lifetime_s: u32,
}

impl CachingServer {
    /// Name of the server in the advice.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HaProxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Apache => "Apache",
        }
    }

    /// The setting for so many sessions with a server name of 41 characters and no client
    /// certificate, as measured with the server: not the agent's arithmetic.
    #[must_use]
    pub const fn setting_for(self, sessions: u64, lifetime_s: u32) -> CacheSetting {
        let amount = match self {
            Self::HaProxy => 2 * sessions,
            Self::Nginx => NGINX_ZONE + (sessions * NGINX_SESSION).div_ceil(1 << 10),
            Self::Apache => sessions * APACHE_SESSION,
        };
        CacheSetting { amount, lifetime_s }
    }

    /// Reads the setting from the text of an advice.
    ///
    /// # Panics
    /// If the text is no setting of this server.
    #[must_use]
    pub fn parse(self, text: &str) -> CacheSetting {
        let (size, lifetime) = match self {
            Self::HaProxy => ("tune.ssl.cachesize ", "tune.ssl.lifetime "),
            Self::Nginx => ("shared:tls:", "ssl_session_timeout "),
            Self::Apache => ("ssl_scache(", "SSLSessionCacheTimeout "),
        };
        CacheSetting {
            amount: number_after(text, size),
            lifetime_s: u32::try_from(number_after(text, lifetime)).expect("a lifetime"),
        }
    }

    /// Starts the server with this cache: TLS 1.2 with session IDs, or TLS 1.3 with tickets that
    /// name a session in the cache.
    #[must_use]
    pub fn start(self, cache: CacheSetting, tls13: bool) -> Server {
        let CacheSetting { amount, lifetime_s } = cache;
        let sessions = if tls13 {
            Sessions::StatefulTickets
        } else {
            Sessions::Ids
        };
        match self {
            Self::HaProxy => {
                let tuning = Tuning {
                    cache: u32::try_from(amount).expect("a size"),
                    lifetime: lifetime_s,
                    ..Tuning::default()
                };
                Server::haproxy_tuned(sessions, &tuning)
            }
            Self::Nginx => {
                let cache = format!(
                    "ssl_session_cache shared:tls:{amount}k; ssl_session_timeout {lifetime_s}s;"
                );
                Server::nginx_caching(sessions, &cache)
            }
            Self::Apache => Server::apache_sized(sessions, amount, lifetime_s),
        }
    }
}

/// The number that follows these characters.
fn number_after(text: &str, before: &str) -> u64 {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {text}"));
    let digits = rest.find(|c: char| !c.is_ascii_digit());
    let number = &rest[..digits.unwrap_or(rest.len())];
    number
        .parse()
        .unwrap_or_else(|_| panic!("no number after {before} in {text}"))
}
