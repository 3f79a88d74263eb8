//! Real TLS servers, configured as an operator would; each is killed when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::cache::Cache;
use crate::certificates::{Certificate, ec};
use crate::ports::free_port;
use crate::process::{PYTHON, Process, fixture};
use crate::relay::plain_service;

/// Session mechanism of a server, which determines the protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// TLS 1.2 with session IDs, without tickets.
    Ids,
    /// TLS 1.3 with tickets.
    Tickets,
    /// TLS 1.2 with tickets.
    OldTickets,
}

impl Sessions {
    /// Value of the `version` label of its handshakes.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::Ids | Self::OldTickets => "1.2",
            Self::Tickets => "1.3",
        }
    }
}

/// Settings of HAProxy that differ from the default.
#[derive(Debug, Clone, Copy)]
pub struct Tuning<'a> {
    /// Address to listen on.
    pub host: &'a str,
    /// Port to listen on; a free port if none.
    pub port: Option<u16>,
    /// `tune.ssl.cachesize`, blocks.
    pub cache: u32,
    /// `tune.ssl.lifetime`, seconds.
    pub lifetime: u32,
    /// Options of the `bind` line instead of those for the session mechanism.
    pub versions: Option<&'a str>,
    /// Additional options of the `bind` line.
    pub bind: &'a str,
    /// Additional lines of the `defaults` section.
    pub defaults: &'a str,
    /// Command that starts it.
    pub under: &'a [&'a str],
}

impl Default for Tuning<'_> {
    fn default() -> Self {
        Self {
            host: "127.0.0.1",
            port: None,
            cache: 20_000,
            lifetime: 300,
            versions: None,
            bind: "",
            defaults: "",
            under: &[],
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Session mechanism and protocol version.
    pub sessions: Sessions,
    /// The server's main process.
    pub process: Process,
    directory: TempDir,
}

impl Server {
    fn start(sessions: Sessions, port: u16, directory: TempDir, command: &mut Command) -> Self {
        let mut process = Process::spawn(command);
        process.wait_listening(port);
        Self {
            port,
            sessions,
            process,
            directory,
        }
    }

    /// Starts HAProxy with a session cache; `extra` is added to the `defaults` section.
    #[must_use]
    pub fn haproxy_with(sessions: Sessions, extra: &str) -> Self {
        let tuning = Tuning {
            defaults: extra,
            ..Tuning::default()
        };
        Self::haproxy_tuned(sessions, &tuning)
    }

    /// Starts HAProxy with these settings.
    #[must_use]
    pub fn haproxy_tuned(sessions: Sessions, tuning: &Tuning<'_>) -> Self {
        let (port, directory) = (tuning.port.unwrap_or_else(free_port), scratch());
        let bind = match sessions {
            Sessions::Ids => "ssl-max-ver TLSv1.2 no-tls-tickets",
            Sessions::OldTickets => "ssl-max-ver TLSv1.2",
            Sessions::Tickets => "ssl-min-ver TLSv1.3",
        };
        let bind = tuning.versions.unwrap_or(bind);
        let certificate = ec().both.display();
        let config = format!(
            "global\n  nbthread 2\n  tune.ssl.cachesize {}\n  tune.ssl.lifetime {}\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout server 20s\n  timeout client 20s\n{}\n\
             frontend tls\n  bind {}:{port} ssl crt {certificate} {bind} {}\n  \
             http-request return status 200 content-type text/plain string ok\n",
            tuning.cache, tuning.lifetime, tuning.defaults, tuning.host, tuning.bind
        );
        let file = write(&directory, "haproxy.cfg", &config);
        let mut words = tuning.under.iter().chain(&["haproxy"]);
        let mut command = Command::new(words.next().unwrap_or(&"haproxy"));
        command.args(words).arg("-db").arg("-f").arg(file);
        Self::start(sessions, port, directory, &mut command)
    }

    /// Starts HAProxy with a session cache.
    #[must_use]
    pub fn haproxy(sessions: Sessions) -> Self {
        Self::haproxy_with(sessions, "")
    }

    /// Starts nginx with two workers and a shared cache; its access log reports which sessions were
    /// reused.
    #[must_use]
    pub fn nginx(sessions: Sessions) -> Self {
        Self::nginx_with(sessions, "")
    }

    /// Like [`Self::nginx`]; `extra` is added to the `server` section.
    #[must_use]
    pub fn nginx_with(sessions: Sessions, extra: &str) -> Self {
        let (port, directory) = (free_port(), scratch());
        let tls = match sessions {
            Sessions::Ids => {
                "ssl_protocols TLSv1.2; ssl_session_tickets off; ssl_session_cache shared:tls:4m;"
            }
            Sessions::Tickets => "ssl_protocols TLSv1.3; ssl_session_tickets on;",
            Sessions::OldTickets => "ssl_protocols TLSv1.2; ssl_session_tickets on;",
        };
        let Certificate { cert, key, .. } = ec();
        let (at, cert, key) = (directory.path().display(), cert.display(), key.display());
        let config = format!(
            "daemon off;\nuser root;\nworker_processes 2;\npid {at}/pid;\nerror_log {at}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n  log_format truth '$remote_addr $ssl_session_reused $ssl_protocol';\n  \
             access_log {at}/access.log truth;\n  client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  \
             fastcgi_temp_path {at}/fastcgi;\n  uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n  \
             server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate {cert};\n    ssl_certificate_key {key};\n    \
             {tls}\n    {extra}\n    location / {{ return 200 \"ok\\n\"; }}\n  }}\n}}\n"
        );
        let file = write(&directory, "nginx.conf", &config);
        // Without -e nginx writes to the distribution's log before it has read the configuration.
        let log = directory.path().join("error.log");
        Self::start(
            sessions,
            port,
            directory,
            Command::new("nginx").arg("-e").arg(log).arg("-c").arg(file),
        )
    }

    /// Starts stunnel in front of a plain TCP service.
    #[must_use]
    pub fn stunnel(sessions: Sessions) -> Self {
        Self::stunnel_with(sessions, "")
    }

    /// Like [`Self::stunnel`]; `extra` is added to the section of the service.
    #[must_use]
    pub fn stunnel_with(sessions: Sessions, extra: &str) -> Self {
        let (port, directory) = (free_port(), scratch());
        let version = match sessions {
            Sessions::Ids => "sslVersionMax = TLSv1.2\noptions = NO_TICKET",
            Sessions::OldTickets => "sslVersionMax = TLSv1.2\noptions = -NO_TICKET",
            Sessions::Tickets => "sslVersionMin = TLSv1.3",
        };
        let Certificate { cert, key, .. } = ec();
        let config = format!(
            "foreground = yes\npid =\n[tls]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{}\ncert = {}\nkey = {}\n{version}\n{extra}",
            plain_service(),
            cert.display(),
            key.display()
        );
        let file = write(&directory, "stunnel.conf", &config);
        Self::start(
            sessions,
            port,
            directory,
            Command::new("stunnel4").arg(file),
        )
    }

    /// Starts Apache with the event worker and a shared cache.
    #[must_use]
    pub fn apache(sessions: Sessions) -> Self {
        Self::apache_hosting(sessions, &[])
    }

    /// Starts Apache with a virtual host for each of `names`; sessions of one host are not valid
    /// for another.
    #[must_use]
    pub fn apache_hosting(sessions: Sessions, names: &[&str]) -> Self {
        let cache = |at: &str| format!("shmcb:{at}/sessions(512000)");
        Self::apache_caching(sessions, "socache_shmcb", names, cache)
    }

    /// Starts Apache with its sessions in `cache`, which several servers may share.
    #[must_use]
    pub fn apache_sharing(sessions: Sessions, cache: &Cache) -> Self {
        Self::apache_caching(sessions, "socache_redis", &[], |_| {
            format!("redis:127.0.0.1:{}", cache.port)
        })
    }

    fn apache_caching(
        sessions: Sessions,
        module: &str,
        names: &[&str],
        cache: impl FnOnce(&str) -> String,
    ) -> Self {
        let (port, directory) = (free_port(), scratch());
        let cache = cache(&directory.path().display().to_string());
        let tls = match sessions {
            Sessions::Ids => "SSLProtocol TLSv1.2\nSSLSessionTickets off",
            Sessions::OldTickets => "SSLProtocol TLSv1.2\nSSLSessionTickets on",
            Sessions::Tickets => "SSLProtocol TLSv1.3\nSSLSessionTickets on",
        };
        let Certificate { cert, key, .. } = ec();
        let (at, cert, key) = (directory.path().display(), cert.display(), key.display());
        let modules: String = ["mpm_event", "authz_core", module, "ssl"]
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .concat();
        let hosts: String = names
            .iter()
            .map(|name| {
                format!("<VirtualHost 127.0.0.1:{port}>\nServerName {name}\nSSLEngine on\n</VirtualHost>\n")
            })
            .collect();
        // It answers with an error page, since there are no documents.
        let config = format!(
            "ServerRoot {at}\nServerName localhost\nPidFile {at}/pid\nErrorLog {at}/error.log\nDefaultRuntimeDir {at}\n\
             {modules}Listen 127.0.0.1:{port}\nSSLEngine on\nSSLCertificateFile {cert}\nSSLCertificateKeyFile {key}\n\
             SSLSessionCache {cache}\n{tls}\n{hosts}"
        );
        let file = write(&directory, "apache.conf", &config);
        Self::start(
            sessions,
            port,
            directory,
            Command::new("apache2")
                .args(["-D", "FOREGROUND", "-f"])
                .arg(file),
        )
    }

    /// Starts the threaded server with Python's `ssl`.
    #[must_use]
    pub fn python(sessions: Sessions) -> Self {
        Self::python_under(sessions, "127.0.0.1", &mut Command::new(PYTHON))
    }

    /// Starts the Python server on `host`; `command` runs the interpreter, for example in another
    /// namespace or with another library.
    #[must_use]
    pub fn python_under(sessions: Sessions, host: &str, command: &mut Command) -> Self {
        Self::python_with(sessions, host, command, &[])
    }

    /// Like [`Self::python_under`] with additional arguments for `fixtures/server.py`.
    #[must_use]
    pub fn python_with(
        sessions: Sessions,
        host: &str,
        command: &mut Command,
        extra: &[&str],
    ) -> Self {
        let port = free_port();
        let Certificate { cert, key, .. } = ec();
        command.arg(fixture("server.py")).args([
            "--host",
            host,
            "--port",
            &port.to_string(),
            "--tls",
            sessions.version(),
        ]);
        command.arg("--cert").arg(cert).arg("--key").arg(key);
        if sessions == Sessions::Ids {
            command.arg("--no-tickets");
        }
        Self::start(sessions, port, scratch(), command.args(extra))
    }

    /// Starts `openssl s_server -www`, which calls no exported function for its handshakes.
    #[must_use]
    pub fn s_server(sessions: Sessions) -> Self {
        Self::s_server_under(sessions, &mut Command::new("openssl"))
    }

    /// Like [`Self::s_server`] with another `openssl` than the system's.
    #[must_use]
    pub fn s_server_under(sessions: Sessions, command: &mut Command) -> Self {
        Self::s_server_with(sessions, command, |_| {})
    }

    /// Like [`Self::s_server_under`] with arguments that `extra` adds.
    #[must_use]
    pub fn s_server_with(
        sessions: Sessions,
        command: &mut Command,
        extra: impl FnOnce(&mut Command),
    ) -> Self {
        let port = free_port();
        let Certificate { cert, key, .. } = ec();
        command.args([
            "s_server",
            "-www",
            "-quiet",
            "-accept",
            &format!("127.0.0.1:{port}"),
        ]);
        match sessions {
            Sessions::Ids => command.args(["-tls1_2", "-no_ticket"]),
            Sessions::Tickets => command.arg("-tls1_3"),
            Sessions::OldTickets => command.arg("-tls1_2"),
        };
        extra(command);
        Self::start(
            sessions,
            port,
            scratch(),
            command.arg("-cert").arg(cert).arg("-key").arg(key),
        )
    }

    /// Starts the server in `fixtures/node/tls.js` with the Node.js program `node`.
    #[must_use]
    pub fn node(sessions: Sessions, node: &Path) -> Self {
        let port = free_port();
        let Certificate { cert, key, .. } = ec();
        let mut command = Command::new(node);
        command.arg(fixture("node/tls.js")).arg("server");
        command.arg(key).arg(cert).arg(port.to_string());
        Self::start(sessions, port, scratch(), &mut command)
    }

    /// Starts the asyncio server of `fixtures/asyncio_tls.py`.
    #[must_use]
    pub fn asyncio(sessions: Sessions) -> Self {
        let port = free_port();
        let Certificate { cert, key, .. } = ec();
        let mut command = Command::new(PYTHON);
        command.arg(fixture("asyncio_tls.py")).arg("server");
        command.arg(key).arg(cert).arg(port.to_string());
        Self::start(sessions, port, scratch(), &mut command)
    }

    /// Starts BoringSSL's command-line tool with the library that Debian ships for Android tools.
    #[must_use]
    pub fn boringssl(sessions: Sessions) -> Self {
        let port = free_port();
        let Certificate { cert, key, .. } = ec();
        let version = format!("tls{}", sessions.version());
        let mut command = Command::new("bssl-tool");
        command.args(["server", "-loop", "-www", "-max-version", &version]);
        command.args(["-accept", &port.to_string()]);
        command.arg("-cert").arg(cert).arg("-key").arg(key);
        Self::start(sessions, port, scratch(), &mut command)
    }

    /// Returns nginx's report on its handshakes so far: lines of `address r|. protocol`.
    #[must_use]
    pub fn access_log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Value of the `peer` label of its clients' handshakes.
    #[must_use]
    pub fn peer(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn scratch() -> TempDir {
    TempDir::new().expect("failed to create a directory for a server")
}

fn write(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = Path::new(directory.path()).join(name);
    fs::write(&path, text).expect("failed to write a configuration");
    path
}
