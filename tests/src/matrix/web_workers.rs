//! gunicorn and uvicorn with workers: gunicorn creates a TLS context for each connection, uvicorn
//! one for each worker.

use std::path::Path;
use std::process::Command;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::{Target, children};
use crate::certificates::ec;
use crate::poll::{DEADLINE, poll_until};
use crate::process::{PYTHON, Process, fixture};

const WORKERS: usize = 3;

/// gunicorn with synchronous workers.
#[derive(Debug)]
pub struct Gunicorn;

/// uvicorn.
#[derive(Debug)]
pub struct Uvicorn;

impl Target for Gunicorn {
    fn name(&self) -> &'static str {
        "gunicorn"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            (_, Kind::Stateful) => None,
            // gunicorn also closes connections without close_notify.
            (Fault::ContextPerConnection, Kind::Id) => Some(&["not_stored", "removed"]),
            (Fault::ContextPerConnection, _) => usual_truth(cell),
            _ => None,
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let mut command = python("gunicorn");
        command.args(["--workers", &WORKERS.to_string()]);
        command.args(["--bind", &format!("127.0.0.1:{}", setup.port)]);
        command
            .arg("--certfile")
            .arg(&ec().cert)
            .arg("--keyfile")
            .arg(&ec().key);
        let process = Process::spawn(command.arg("app:wsgi"));
        wait_workers(&process, WORKERS);
        vec![process]
    }

    fn clients(&self, _: Cell) -> u32 {
        // A context per connection shows after about a dozen connections.
        80
    }

    fn words(&self, cell: Cell) -> &'static str {
        words(cell)
    }
}

impl Target for Uvicorn {
    fn name(&self) -> &'static str {
        "uvicorn"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            (_, Kind::Stateful) => None,
            (
                Fault::Nothing
                | Fault::Restart
                | Fault::WorkerCaches
                | Fault::WorkerKeys
                | Fault::SecondNode
                | Fault::ClientResets
                | Fault::ClockStep,
                _,
            ) => usual_truth(cell),
            _ => None,
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let mut command = python("uvicorn");
        setup.clock(&mut command);
        command.args(["--host", "127.0.0.1", "--port", &setup.port.to_string()]);
        command
            .arg("--ssl-certfile")
            .arg(&ec().cert)
            .arg("--ssl-keyfile")
            .arg(&ec().key);
        let workers = setup.has(Fault::WorkerCaches) || setup.has(Fault::WorkerKeys);
        if workers {
            command.args(["--workers", &WORKERS.to_string()]);
        }
        let process = Process::spawn(command.args(["--lifespan", "off", "app:asgi"]));
        if workers {
            poll_until("all workers serve", DEADLINE, || {
                let log = process.stderr();
                if log.matches("Started server process").count() == WORKERS {
                    Ok(())
                } else {
                    Err(log)
                }
            });
        }
        vec![process]
    }

    fn words(&self, cell: Cell) -> &'static str {
        words(cell)
    }
}

/// These servers have no setting for tickets, so the clients support none.
fn words(cell: Cell) -> &'static str {
    if cell.kind == Kind::Id {
        "tickets=no"
    } else {
        ""
    }
}

fn python(module: &str) -> Command {
    let mut command = Command::new(PYTHON);
    let app = fixture("matrix/app.py");
    command.current_dir(app.parent().unwrap_or(Path::new("/")));
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", module]);
    command
}

fn wait_workers(process: &Process, count: usize) {
    poll_until("all workers run", DEADLINE, || {
        let running = process.stderr().matches("Booting worker").count();
        if running == count && children(process.pid()).len() == count {
            Ok(())
        } else {
            Err(process.stderr())
        }
    });
}
