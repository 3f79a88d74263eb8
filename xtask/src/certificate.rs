//! Self-signed certificate for the servers of demo and bench, created for each run.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::process;

/// File name of the certificate.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
/// File name of the private key.
pub(crate) const KEY: &str = "key.pem";

/// Creates certificate and key (ECDSA, P-256) in `directory` for a server at `addresses`.
pub(crate) fn create(directory: &Path, addresses: &[&str]) -> Result<()> {
    let names: Vec<_> = addresses
        .iter()
        .map(|address| format!("IP:{address}"))
        .collect();
    process::run(
        Command::new("openssl")
            .current_dir(directory)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=reprise", "-addext"])
            .arg(format!("subjectAltName={}", names.join(",")))
            .args(["-out", CERTIFICATE, "-keyout", KEY]),
    )
    .context("failed to create a certificate")
}
