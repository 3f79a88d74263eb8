//! HAProxy: one process with two threads and its own session cache.

use std::process::Command;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nix::sys::signal::Signal;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::{Target, children, wait_listeners, wait_replaced};
use crate::certificates::ec;
use crate::haproxy_socket::set_ticket_key;
use crate::process::Process;

/// HAProxy.
#[derive(Debug)]
pub struct HaProxy;

impl Target for HaProxy {
    fn name(&self) -> &'static str {
        "HAProxy"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            // Without a cache HAProxy issues no session IDs.
            (Fault::CacheOff, Kind::Id) => Some(&[]),
            (Fault::ContextPerConnection | Fault::UncleanClose | Fault::OtherName, _) => None,
            _ => usual_truth(cell),
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let config = config(setup);
        let workers = match setup.cell.fault {
            // Two processes listen on the same port.
            Fault::WorkerCaches | Fault::WorkerKeys => 2,
            _ => 1,
        };
        let processes = (0..workers).map(|_| {
            let mut command = Command::new("haproxy");
            setup.clock(&mut command);
            if setup.has(Fault::Reload) {
                command.arg("-W");
            }
            Process::spawn(command.arg("-db").arg("-f").arg(&config))
        });
        let processes = processes.collect();
        wait_listeners(setup.port, workers);
        processes
    }

    fn change(&self, setup: &Setup, processes: &mut Vec<Process>) {
        if setup.has(Fault::Reload) {
            let master = &processes[0];
            let old = children(master.pid());
            master.signal(Signal::SIGUSR2);
            wait_replaced(master.pid(), &old, 1);
            return;
        }
        let key = BASE64_STANDARD.encode(setup.ticket_key(48));
        let [socket, keys] = ["cli", "keys"].map(|name| setup.path().join(name));
        for _ in 0..3 {
            set_ticket_key(&socket, &keys.display().to_string(), &key);
        }
    }
}

fn config(setup: &Setup) -> std::path::PathBuf {
    let versions = match setup.cell.kind {
        Kind::Id => "ssl-max-ver TLSv1.2 no-tls-tickets",
        Kind::Ticket => "ssl-max-ver TLSv1.2",
        Kind::Stateless => "ssl-min-ver TLSv1.3",
        Kind::Stateful => "ssl-min-ver TLSv1.3 no-tls-tickets",
    };
    let cache = match setup.cell.fault {
        Fault::CacheOff => 0,
        Fault::CacheTooSmall => 20,
        _ => 20_000,
    };
    let keys = if setup.has_ticket_key() {
        let key = BASE64_STANDARD.encode(setup.ticket_key(48));
        let file = setup.write("keys", [key.as_str(); 3].join("\n") + "\n");
        format!("tls-ticket-keys {}", file.display())
    } else {
        String::new()
    };
    let cipher = setup
        .cipher()
        .map(|suite| format!("ciphersuites {suite}"))
        .unwrap_or_default();
    let config = format!(
        "global\n  nbthread 2\n  tune.ssl.cachesize {cache}\n  tune.ssl.lifetime {}\n  \
         stats socket {}/cli level admin\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout server 20s\n  timeout client 20s\n\
         frontend tls\n  bind 127.0.0.1:{} ssl crt {} {versions} {keys} {cipher}\n  \
         http-request return status 200 content-type text/plain string ok\n",
        setup.lifetime(),
        setup.path().display(),
        setup.port,
        ec().both.display()
    );
    setup.write("haproxy.cfg", config)
}
