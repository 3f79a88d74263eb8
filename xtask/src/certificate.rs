//! A certificate of its own for every run of demo and bench.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::process;

/// The certificate, which clients trust.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
/// Its private key.
pub(crate) const KEY: &str = "key.pem";

/// Makes both in this directory, for a server at these addresses. ECDSA on P-256.
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
    .context("failed to make a certificate")
}
