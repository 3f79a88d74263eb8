//! Apache nodes that keep their sessions in one Redis.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::certificates::{Certificate, ec};
use crate::process::Process;
use crate::servers::free_port;

const MODULES: [&str; 8] = [
    "mpm_event",
    "authz_core",
    "authz_host",
    "dir",
    "mime",
    "socache_redis",
    "socache_shmcb",
    "ssl",
];

/// A Redis without TLS, for caches.
#[derive(Debug)]
pub struct Cache {
    port: u16,
    process: Process,
}

impl Cache {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        let port = free_port();
        let words = [
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--bind",
            "127.0.0.1",
        ];
        let mut process = Process::spawn(Command::new("redis-server").args(words));
        process.wait_listening(port);
        Self { port, process }
    }

    /// Ends it.
    pub fn stop(self) {
        drop(self.process);
    }
}

/// One node.
#[derive(Debug)]
pub struct Apache {
    /// Where it listens.
    pub port: u16,
    _process: Process,
    _directory: TempDir,
}

impl Apache {
    /// A node that speaks TLS 1.2 by session ID and keeps sessions in `cache`.
    ///
    /// # Panics
    /// When it cannot be set up.
    #[must_use]
    pub fn sharing(cache: &Cache) -> Self {
        let (port, directory) = (
            free_port(),
            TempDir::new().expect("failed to create a directory"),
        );
        let at = directory.path().display();
        let modules: String = MODULES
            .iter()
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .collect();
        let Certificate { cert, key, .. } = ec();
        let (cert, key, redis) = (cert.display(), key.display(), cache.port);
        let config = format!(
            "ServerRoot {at}\nServerName localhost\nPidFile {at}/pid\nErrorLog {at}/error.log\nDefaultRuntimeDir {at}\n{modules}\
             TypesConfig /etc/mime.types\nListen 127.0.0.1:{port}\nMutex file:{at}\nDocumentRoot {at}/pages\n\
             SSLSessionCache redis:127.0.0.1:{redis}\nSSLSessionCacheTimeout 300\nSSLSessionTickets off\n\
             SSLEngine on\nSSLProtocol TLSv1.2\nSSLCertificateFile {cert}\nSSLCertificateKeyFile {key}\n\
             <Directory {at}/pages>\nRequire all granted\n</Directory>\n"
        );
        let pages = Path::new(directory.path()).join("pages");
        fs::create_dir(&pages).expect("failed to create a directory");
        fs::write(pages.join("index.html"), "ok\n").expect("failed to write a page");
        let file = directory.path().join("apache.conf");
        fs::write(&file, config).expect("failed to write a configuration");
        let mut command = Command::new("apache2");
        command.args(["-D", "FOREGROUND", "-f"]).arg(file);
        let mut process = Process::spawn(&mut command);
        process.wait_listening(port);
        Self {
            port,
            _process: process,
            _directory: directory,
        }
    }
}
