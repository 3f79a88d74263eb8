//! mosquitto: one process with one thread and OpenSSL's internal cache.

use std::process::Command;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::Target;
use crate::certificates::ec;
use crate::process::Process;

/// mosquitto.
#[derive(Debug)]
pub struct Mosquitto;

impl Target for Mosquitto {
    fn name(&self) -> &'static str {
        "mosquitto"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            // mosquitto has no setting for stateful tickets of TLS 1.3.
            (_, Kind::Stateful) => None,
            // mosquitto sends close_notify after a reset, so that OpenSSL removes no session.
            (Fault::ClientResets, _) => Some(&[]),
            (Fault::Nothing | Fault::Restart | Fault::SecondNode | Fault::ClockStep, _) => {
                usual_truth(cell)
            }
            _ => None,
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let config = format!(
            "listener {} 127.0.0.1\ncertfile {}\nkeyfile {}\ntls_version tlsv{}\nallow_anonymous true\nuser root\n",
            setup.port,
            ec().cert.display(),
            ec().key.display(),
            setup.cell.kind.version()
        );
        let config = setup.write("mosquitto.conf", config);
        let mut command = Command::new("mosquitto");
        setup.clock(&mut command);
        vec![Process::spawn(command.arg("-c").arg(config))]
    }

    fn words(&self, cell: Cell) -> &'static str {
        if cell.kind == Kind::Id {
            "talk=mqtt tickets=no"
        } else {
            "talk=mqtt"
        }
    }
}
