//! The settings of each server for a cache of a given size and lifetime.

use serde::{Deserialize, Serialize};

/// Bytes of one block of HAProxy's cache: a header and 128 bytes of the session
/// (`SHSESS_BLOCK_MIN_SIZE`, src/ssl_sock.c).
const HAPROXY_BLOCK: u64 = 200;
/// Blocks of one session: with a server name of more than 26 characters it needs a second one
/// (measured with HAProxy 2.6).
const HAPROXY_BLOCKS: u64 = 2;
/// Bytes of one session of nginx: slots of 128 bytes for its node and of 256 for the session, which
/// has been longer than 128 bytes since OpenSSL 3. nginx documents 4,000 sessions per megabyte;
/// these are 2,700. A zone also needs some pages for itself.
const NGINX_SESSION: u64 = 384;
const NGINX_NODE: u64 = 128;
const NGINX_ZONE: u64 = 8 << 10;
/// Bytes of one session of Apache's shmcb: an entry of the index, the ID, and the session. 224 were
/// measured without a server name.
const APACHE_SESSION: u64 = 256;
/// Size from which Apache rejects a cache (`SHMCB_MAX_SIZE`, modules/cache/mod_socache_shmcb.c).
const APACHE_LIMIT: u64 = 64 << 20;
/// Bytes of one session of OpenSSL's own cache, with its master secret, ID and list pointers.
const OPENSSL_SESSION: u64 = 900;
/// Bytes that a client certificate adds: the one that the session contains.
const CERTIFICATE: u64 = 1_200;
/// Size of OpenSSL's own cache where no setting changes it (`SSL_SESSION_CACHE_MAX_SIZE_DEFAULT`).
const OPENSSL_DEFAULT: u64 = 20_480;

/// What a cache has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Sessions with IDs.
    pub sessions: u64,
    /// TLS 1.3 sessions that HAProxy stores beside them, although their tickets need no cache.
    pub tls13_sessions: u64,
    /// Lifetime, seconds.
    pub lifetime_s: u32,
}

/// The setting of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigLine {
    /// Server.
    pub server: String,
    /// What to write into its configuration.
    pub setting: String,
    /// Memory of the cache, bytes.
    pub memory_bytes: u64,
    /// Setting where clients send certificates; empty where it is the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub with_client_certificates: String,
}

impl Demand {
    /// The settings of all servers.
    #[must_use]
    pub fn lines(&self) -> Vec<ConfigLine> {
        vec![
            self.haproxy(),
            self.nginx(),
            self.apache(),
            self.openssl("stunnel", |sessions, seconds| {
                format!("sessionCacheSize = {sessions}\nsessionCacheTimeout = {seconds}")
            }),
            self.mosquitto(),
            self.openssl("OpenSSL", |sessions, seconds| {
                format!(
                    "SSL_CTX_sess_set_cache_size(ctx, {sessions}); \
                     SSL_CTX_set_timeout(ctx, {seconds});"
                )
            }),
        ]
    }

    fn haproxy(&self) -> ConfigLine {
        let sessions = self.sessions + self.tls13_sessions;
        let blocks = sessions * HAPROXY_BLOCKS;
        let with_certificate = sessions * (1 + CERTIFICATE.div_ceil(HAPROXY_BLOCK));
        ConfigLine {
            server: "HAProxy".to_owned(),
            setting: format!(
                "tune.ssl.cachesize {blocks}\ntune.ssl.lifetime {}",
                self.lifetime_s
            ),
            memory_bytes: blocks * HAPROXY_BLOCK,
            with_client_certificates: format!("tune.ssl.cachesize {with_certificate}"),
        }
    }

    fn nginx(&self) -> ConfigLine {
        // The least size of a zone is eight pages.
        let kilobytes = |session: u64| {
            let bytes = self.sessions * session + NGINX_ZONE;
            bytes.div_ceil(1 << 10).max(32)
        };
        let memory = kilobytes(NGINX_SESSION);
        // The slab allocator doubles its slots: a session with a certificate needs one of 2,048.
        let with_certificate = kilobytes(NGINX_NODE + 2_048);
        ConfigLine {
            server: "nginx".to_owned(),
            setting: format!(
                "ssl_session_cache shared:tls:{memory}k;\nssl_session_timeout {}s;",
                self.lifetime_s
            ),
            memory_bytes: memory << 10,
            with_client_certificates: format!("ssl_session_cache shared:tls:{with_certificate}k;"),
        }
    }

    fn apache(&self) -> ConfigLine {
        let bytes = self.sessions * APACHE_SESSION;
        let with_certificate = self.sessions * (APACHE_SESSION + CERTIFICATE);
        let cache = |bytes: u64| {
            if bytes < APACHE_LIMIT {
                format!("SSLSessionCache shmcb:/run/apache2/ssl_scache({bytes})")
            } else {
                "no setting: its cache is smaller than 64 MiB; let clients use tickets".to_owned()
            }
        };
        let timeout = format!("SSLSessionCacheTimeout {}", self.lifetime_s);
        ConfigLine {
            server: "Apache".to_owned(),
            setting: format!("{}\n{timeout}", cache(bytes)),
            memory_bytes: bytes,
            with_client_certificates: cache(with_certificate),
        }
    }

    fn openssl(&self, server: &str, setting: impl FnOnce(u64, u32) -> String) -> ConfigLine {
        ConfigLine {
            server: server.to_owned(),
            setting: setting(self.sessions, self.lifetime_s),
            memory_bytes: self.sessions * OPENSSL_SESSION,
            with_client_certificates: String::new(),
        }
    }

    fn mosquitto(&self) -> ConfigLine {
        let setting = if self.sessions <= OPENSSL_DEFAULT {
            format!("no setting: its cache holds {OPENSSL_DEFAULT} sessions for two hours")
        } else {
            format!(
                "no setting: its cache holds {OPENSSL_DEFAULT} sessions for two hours; let clients \
                 use tickets"
            )
        };
        ConfigLine {
            server: "mosquitto".to_owned(),
            setting,
            memory_bytes: OPENSSL_DEFAULT * OPENSSL_SESSION,
            with_client_certificates: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(sessions: u64, server: &str) -> ConfigLine {
        let demand = Demand {
            sessions,
            tls13_sessions: 100,
            lifetime_s: 600,
        };
        let mut lines = demand.lines().into_iter();
        lines.find(|line| line.server == server).unwrap()
    }

    #[test]
    fn each_server_has_its_unit() {
        for (server, expected) in [
            ("HAProxy", "tune.ssl.cachesize 8392\ntune.ssl.lifetime 600"),
            (
                "nginx",
                "ssl_session_cache shared:tls:1544k;\nssl_session_timeout 600s;",
            ),
            (
                "Apache",
                "SSLSessionCache shmcb:/run/apache2/ssl_scache(1048576)\nSSLSessionCacheTimeout 600",
            ),
            (
                "stunnel",
                "sessionCacheSize = 4096\nsessionCacheTimeout = 600",
            ),
        ] {
            assert_eq!(setting(4_096, server).setting, expected);
        }
        let with_certificates = setting(4_096, "HAProxy").with_client_certificates;
        assert_eq!(with_certificates, "tune.ssl.cachesize 29372");
    }

    #[test]
    fn no_setting_is_given_that_apache_rejects() {
        let line = setting(262_144, "Apache");
        assert!(line.setting.starts_with("no setting"), "{}", line.setting);
        let line = setting(185_364, "Apache");
        assert!(!line.setting.starts_with("no setting"));
        let with_certificates = line.with_client_certificates;
        assert!(
            with_certificates.starts_with("no setting"),
            "{with_certificates}"
        );
    }
}
