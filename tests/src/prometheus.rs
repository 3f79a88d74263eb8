//! A real Prometheus that scrapes an agent twice a second, with the rules of `dashboards/rules/`
//! evaluated every second.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::http;
use crate::poll::{DEADLINE, poll_until};
use crate::ports::free_port;
use crate::process::Process;

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    process: Process,
    _directory: TempDir,
}

/// Returns a path in `dashboards/`.
#[must_use]
pub fn dashboards(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../dashboards")
        .join(path)
}

impl Prometheus {
    /// Starts a Prometheus that scrapes `target` with the label `cluster="test"`.
    ///
    /// # Panics
    /// If it is not ready in time.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let directory = TempDir::new().expect("failed to create a directory for Prometheus");
        let rules: Vec<_> = ["recording.yaml", "alerts.yaml"]
            .into_iter()
            .map(|name| {
                let text = fs::read_to_string(dashboards("rules").join(name))
                    .expect("failed to read the rules");
                let path = directory.path().join(name);
                let text = ["interval: 1m", "interval: 5m"]
                    .into_iter()
                    .fold(text, |text, long| text.replace(long, "interval: 1s"));
                fs::write(&path, text).expect("failed to write the rules");
                format!("{path:?}")
            })
            .collect();
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 1s}}\n\
             rule_files: [{}]\n\
             scrape_configs:\n  - job_name: reprise\n    static_configs:\n      \
             - targets: ['{target}']\n        labels: {{cluster: test}}\n",
            rules.join(", ")
        );
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, config).expect("failed to write the configuration of Prometheus");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let process = Process::spawn(
            Command::new("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!(
                    "--storage.tsdb.path={}",
                    directory.path().join("data").display()
                ))
                .arg(format!("--web.listen-address={address}"))
                .arg("--log.level=warn"),
        );
        let prometheus = Self {
            address,
            process,
            _directory: directory,
        };
        poll_until("Prometheus is ready", DEADLINE, || {
            match http::request(address, "GET", "/-/ready", "*/*") {
                Ok(response) if response.status == 200 => Ok(()),
                other => Err(format!("{other:?}: {}", prometheus.process.stderr())),
            }
        });
        prometheus
    }

    /// Returns the current result of a query.
    ///
    /// # Errors
    /// The error of Prometheus for an invalid query.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in query.bytes() {
            if byte.is_ascii_alphanumeric() {
                path.push(char::from(byte));
            } else {
                let _ = write!(path, "%{byte:02X}");
            }
        }
        let response = http::request(self.address, "GET", &path, "application/json")?;
        let answer: Value =
            serde_json::from_str(&response.body).map_err(|error| error.to_string())?;
        match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.clone()),
            None => Err(format!("{query}: {}", answer["error"])),
        }
    }
}
