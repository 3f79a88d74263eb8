//! nginx: two workers with a shared session cache, or one cache each.

use std::fmt::Write as _;
use std::process::Command;

use nix::sys::signal::Signal;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::{Target, children, wait_replaced};
use crate::certificates::{Certificate, ec};
use crate::process::Process;

const WORKERS: usize = 2;

/// nginx.
#[derive(Debug)]
pub struct Nginx;

impl Target for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            // The shared cache survives a reload.
            (Fault::Reload, Kind::Id | Kind::Stateful) => Some(&[]),
            // nginx reads the key at a reload, which also replaces the workers.
            (Fault::KeyRotated, Kind::Ticket | Kind::Stateless) => {
                Some(&["retired_key", "restarted"])
            }
            (Fault::WorkerKeys | Fault::ContextPerConnection | Fault::UncleanClose, _) => None,
            // nginx removes no session after a reset and resumes sessions of other names.
            (Fault::ClientResets | Fault::OtherName, _) => Some(&[]),
            _ => usual_truth(cell),
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let config = config(setup);
        let mut command = Command::new("nginx");
        setup.clock(&mut command);
        let log = setup.path().join("error.log");
        vec![Process::spawn(
            command.arg("-e").arg(log).arg("-c").arg(config),
        )]
    }

    fn change(&self, setup: &Setup, processes: &mut Vec<Process>) {
        config(setup);
        let master = &processes[0];
        let old = children(master.pid());
        master.signal(Signal::SIGHUP);
        wait_replaced(master.pid(), &old, WORKERS);
    }

    fn clients(&self, cell: Cell) -> u32 {
        // The smallest shared cache, 32 kB, holds more than 100 sessions.
        if cell.fault == Fault::CacheTooSmall {
            200
        } else {
            30
        }
    }
}

fn config(setup: &Setup) -> std::path::PathBuf {
    let mut tls = match setup.cell.kind {
        Kind::Id => "ssl_protocols TLSv1.2; ssl_session_tickets off;",
        Kind::Ticket => "ssl_protocols TLSv1.2;",
        Kind::Stateless => "ssl_protocols TLSv1.3;",
        Kind::Stateful => "ssl_protocols TLSv1.3; ssl_session_tickets off;",
    }
    .to_owned();
    tls += match setup.cell.fault {
        Fault::CacheOff => " ssl_session_cache none;",
        Fault::CacheTooSmall => " ssl_session_cache shared:tls:32k;",
        Fault::WorkerCaches => " ssl_session_cache builtin:1000;",
        _ => " ssl_session_cache shared:tls:1m;",
    };
    let _ = write!(tls, " ssl_session_timeout {}s;", setup.lifetime());
    if let Some(suite) = setup.cipher() {
        let _ = write!(tls, " ssl_conf_command Ciphersuites {suite};");
    }
    if setup.has_ticket_key() {
        let file = setup.write("keys", setup.ticket_key(80));
        let _ = write!(tls, " ssl_session_ticket_key {};", file.display());
    }
    let Certificate { cert, key, .. } = ec();
    let (at, cert, key) = (setup.path().display(), cert.display(), key.display());
    let variables: String = Setup::CLOCK_VARIABLES
        .iter()
        .map(|name| format!("env {name};\n"))
        .collect();
    let hosts: String = ["localhost", "elsewhere.example"]
        .iter()
        .map(|name| {
            format!(
                "  server {{\n    listen 127.0.0.1:{} ssl reuseport; server_name {name};\n    \
                 ssl_certificate {cert}; ssl_certificate_key {key};\n    {tls}\n    \
                 location / {{ return 200 \"ok\\n\"; }}\n  }}\n",
                setup.port
            )
        })
        .collect();
    // nginx accepts the options of a listening socket only once.
    let hosts = hosts
        .replacen(" reuseport", "", 2)
        .replacen(" ssl;", " ssl reuseport;", 1);
    let config = format!(
        "daemon off;\nuser root;\nworker_processes {WORKERS};\npid {at}/pid;\nerror_log {at}/error.log;\n\
         {variables}events {{ worker_connections 256; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  \
         fastcgi_temp_path {at}/fastcgi;\n  uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n{hosts}}}\n"
    );
    setup.write("nginx.conf", config)
}
