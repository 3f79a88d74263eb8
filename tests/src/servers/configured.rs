//! Servers with a configuration file: HAProxy, nginx, stunnel, Apache.

use std::process::Command;

use super::{Server, Sessions, Tuning, scratch, write};
use crate::cache::Cache;
use crate::certificates::{Certificate, ec};
use crate::ports::free_port;
use crate::relay::plain_service;

impl Server {
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
            Sessions::StatefulTickets => "ssl-min-ver TLSv1.3 no-tls-tickets",
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
        let tls = match sessions {
            Sessions::Ids => {
                "ssl_protocols TLSv1.2; ssl_session_tickets off; ssl_session_cache shared:tls:4m;"
            }
            Sessions::Tickets => "ssl_protocols TLSv1.3; ssl_session_tickets on;",
            Sessions::OldTickets => "ssl_protocols TLSv1.2; ssl_session_tickets on;",
            Sessions::StatefulTickets => {
                "ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache shared:tls:4m;"
            }
        };
        Self::nginx_configured(sessions, tls, extra)
    }

    /// Starts nginx without tickets that contain their session, and with these directives for its
    /// session cache.
    #[must_use]
    pub(super) fn nginx_caching(sessions: Sessions, cache: &str) -> Self {
        let version = sessions.version();
        let tls = format!("ssl_protocols TLSv{version}; ssl_session_tickets off; {cache}");
        Self::nginx_configured(sessions, &tls, "")
    }

    fn nginx_configured(sessions: Sessions, tls: &str, extra: &str) -> Self {
        let (port, directory) = (free_port(), scratch());
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
            Sessions::StatefulTickets => "sslVersionMin = TLSv1.3\noptions = NO_TICKET",
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

    /// Starts Apache with a cache of so many bytes.
    pub(super) fn apache_sized(sessions: Sessions, bytes: u64, lifetime_s: u32) -> Self {
        Self::apache_caching(sessions, "socache_shmcb", &[], |at| {
            format!("shmcb:{at}/sessions({bytes})\nSSLSessionCacheTimeout {lifetime_s}")
        })
    }

    /// Starts Apache with its sessions in `cache` for so many seconds; several servers may share
    /// it.
    #[must_use]
    pub fn apache_sharing(sessions: Sessions, cache: &Cache, lifetime_s: u32) -> Self {
        let module = format!("socache_{}", cache.provider);
        Self::apache_caching(sessions, &module, &[], |_| {
            format!("{}\nSSLSessionCacheTimeout {lifetime_s}", cache.directive())
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
            Sessions::StatefulTickets => "SSLProtocol TLSv1.3\nSSLSessionTickets off",
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
}
