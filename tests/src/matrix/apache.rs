//! Apache: worker processes with threads, and a session cache in shared memory.

use std::process::Command;

use nix::sys::signal::Signal;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::{Target, children, wait_replaced};
use crate::certificates::{Certificate, ec};
use crate::process::Process;

const WORKERS: usize = 2;

/// Apache.
#[derive(Debug)]
pub struct Apache;

impl Target for Apache {
    fn name(&self) -> &'static str {
        "Apache"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            // Without a cache Apache issues no session IDs.
            (Fault::CacheOff, Kind::Id) => Some(&[]),
            // These need `SSLSessionTicketKeyFile`. With OpenSSL 3, Apache 2.4 keeps a pointer to
            // its stack as the key of the tickets' MAC, and refuses its own tickets at random.
            (Fault::KeyRotated, _) | (Fault::OtherCipher, Kind::Ticket | Kind::Stateless) => None,
            // Apache removes no session after a reset.
            (Fault::ClientResets, _) => Some(&[]),
            (
                Fault::WorkerCaches
                | Fault::WorkerKeys
                | Fault::ContextPerConnection
                | Fault::UncleanClose,
                _,
            ) => None,
            _ => usual_truth(cell),
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let config = config(setup);
        let mut command = Command::new("apache2");
        setup.clock(&mut command);
        let command = command.args(["-D", "FOREGROUND", "-f"]);
        vec![Process::spawn(command.arg(config))]
    }

    fn change(&self, setup: &Setup, processes: &mut Vec<Process>) {
        config(setup);
        let parent = &processes[0];
        let old = children(parent.pid());
        parent.signal(Signal::SIGUSR1);
        wait_replaced(parent.pid(), &old, WORKERS);
    }

    fn clients(&self, cell: Cell) -> u32 {
        if cell.fault == Fault::CacheTooSmall {
            120
        } else {
            30
        }
    }
}

fn config(setup: &Setup) -> std::path::PathBuf {
    let Certificate { cert, key, .. } = ec();
    let (at, cert, key) = (setup.path().display(), cert.display(), key.display());
    let cache = match setup.cell.fault {
        Fault::CacheOff => "none".to_owned(),
        Fault::CacheTooSmall => format!("shmcb:{at}/sessions(10240)"),
        _ => format!("shmcb:{at}/sessions(512000)"),
    };
    let tickets = if setup.cell.kind.is_entry() {
        "off"
    } else {
        "on"
    };
    let mut tls = format!(
        "SSLProtocol TLSv{}\nSSLSessionTickets {tickets}\nSSLSessionCache {cache}\nSSLSessionCacheTimeout {}\n",
        setup.cell.kind.version(),
        setup.lifetime()
    );
    if let Some(suite) = setup.cipher() {
        tls += &format!("SSLCipherSuite TLSv1.3 {suite}\n");
    }
    let modules: String = ["mpm_event", "authz_core", "socache_shmcb", "ssl"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
    // Apache binds sessions to their virtual host.
    let names: &[&str] = if setup.has(Fault::OtherName) {
        &["localhost", "elsewhere.example"]
    } else {
        &[]
    };
    let hosts: String = names
        .iter()
        .map(|name| {
            format!(
                "<VirtualHost 127.0.0.1:{}>\nServerName {name}\nSSLEngine on\n</VirtualHost>\n",
                setup.port
            )
        })
        .collect();
    // The response is an error page, since there are no documents.
    let config = format!(
        "ServerRoot {at}\nServerName localhost\nPidFile {at}/pid\nErrorLog {at}/error.log\n\
         DefaultRuntimeDir {at}\n{modules}StartServers {WORKERS}\nListen 127.0.0.1:{}\nSSLEngine on\n\
         SSLCertificateFile {cert}\nSSLCertificateKeyFile {key}\n{tls}{hosts}",
        setup.port
    );
    setup.write("apache.conf", config)
}
