//! stunnel: one process with threads and OpenSSL's internal cache.

use std::process::Command;

use nix::sys::signal::Signal;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::Target;
use crate::certificates::ec;
use crate::poll::{DEADLINE, poll_until};
use crate::process::Process;
use crate::relay::plain_service;

/// stunnel.
#[derive(Debug)]
pub struct Stunnel;

impl Target for Stunnel {
    fn name(&self) -> &'static str {
        "stunnel"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            // The process replaces its context; OpenSSL removes the sessions of the old one.
            (Fault::Reload, Kind::Id | Kind::Stateful) => Some(&["removed"]),
            (Fault::Reload, _) => Some(&["retired_key"]),
            (
                Fault::CacheOff
                | Fault::ClientResets
                | Fault::WorkerCaches
                | Fault::WorkerKeys
                | Fault::ContextPerConnection
                | Fault::UncleanClose
                | Fault::OtherName,
                _,
            ) => None,
            _ => usual_truth(cell),
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let config = config(setup);
        let mut command = Command::new("stunnel4");
        setup.clock(&mut command);
        vec![Process::spawn(command.arg(config))]
    }

    fn change(&self, setup: &Setup, processes: &mut Vec<Process>) {
        config(setup);
        let process = &processes[0];
        let loads = || process.stderr().matches("Configuration successful").count();
        let before = loads();
        process.signal(Signal::SIGHUP);
        poll_until("the configuration is read again", DEADLINE, || {
            if loads() > before {
                Ok(())
            } else {
                Err(process.stderr())
            }
        });
    }
}

fn config(setup: &Setup) -> std::path::PathBuf {
    let mut tls = match setup.cell.kind {
        Kind::Id => "sslVersionMax = TLSv1.2\noptions = NO_TICKET\n",
        Kind::Ticket => "sslVersionMax = TLSv1.2\noptions = -NO_TICKET\n",
        Kind::Stateless => "sslVersionMin = TLSv1.3\noptions = -NO_TICKET\n",
        Kind::Stateful => "sslVersionMin = TLSv1.3\noptions = NO_TICKET\n",
    }
    .to_owned();
    if setup.has(Fault::CacheTooSmall) {
        tls += "sessionCacheSize = 10\n";
    }
    tls += &format!("sessionCacheTimeout = {}\n", setup.lifetime());
    if let Some(suite) = setup.cipher() {
        tls += &format!("ciphersuites = {suite}\n");
    }
    if setup.has_ticket_key() {
        let hex = |byte: u8| format!("{byte:02x}").repeat(16);
        let byte = *setup.ticket_key(48).last().unwrap_or(&0);
        tls += &format!(
            "ticketKeySecret = {}\nticketMacSecret = {}\n",
            hex(byte),
            hex(byte + 100)
        );
    }
    let config = format!(
        "foreground = yes\npid =\n[tls]\naccept = 127.0.0.1:{}\nconnect = 127.0.0.1:{}\ncert = {}\nkey = {}\n{tls}",
        setup.port,
        plain_service(),
        ec().cert.display(),
        ec().key.display()
    );
    setup.write("stunnel.conf", config)
}
