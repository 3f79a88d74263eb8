//! Certificates created by the system's `openssl`: a self-signed one per kind and test process, and
//! certificate authorities.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::process::run;

/// A certificate and its key in the formats that the servers read.
#[derive(Debug)]
pub struct Certificate {
    /// Path of the certificate, PEM.
    pub cert: PathBuf,
    /// Path of the private key, PEM.
    pub key: PathBuf,
    /// Path of a file with both, as HAProxy reads them.
    pub both: PathBuf,
    _directory: TempDir,
}

/// Returns an RSA 2048 certificate, the most common kind: the server's flight takes more than one
/// small segment.
pub fn rsa() -> &'static Certificate {
    static RSA: OnceLock<Certificate> = OnceLock::new();
    RSA.get_or_init(|| make(&["-newkey", "rsa:2048"]))
}

/// Returns an EC P-256 certificate, which makes hundreds of full handshakes fast.
pub fn ec() -> &'static Certificate {
    static EC: OnceLock<Certificate> = OnceLock::new();
    EC.get_or_init(|| make(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]))
}

fn make(kind: &[&str]) -> Certificate {
    let directory = TempDir::new().expect("failed to create a directory for certificates");
    let [cert, key, both] =
        ["cert.pem", "key.pem", "both.pem"].map(|name| directory.path().join(name));
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=localhost",
        ])
        .args(kind);
    run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert));
    let read = |path| fs::read(path).expect("failed to read what openssl wrote");
    fs::write(&both, [read(&key), read(&cert)].concat()).expect("failed to write the joint file");
    Certificate {
        cert,
        key,
        both,
        _directory: directory,
    }
}

/// Creates a directory with a certificate authority `name` (`ca.crt`), and a certificate and key
/// signed by it for each entry (`NAME.crt`, `NAME.key`), with the given subject and alternative
/// name.
#[must_use]
pub fn authority(name: &str, certificates: &[(&str, &str, &str)]) -> TempDir {
    let directory = TempDir::new().expect("failed to create a directory for certificates");
    let openssl = |words: &str| {
        let mut openssl = Command::new("openssl");
        run(openssl.args(words.split(' ')).current_dir(directory.path()));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN={name}"
    ));
    for (file, subject, alternative) in certificates {
        openssl(&format!(
            "req {key} -keyout {file}.key -out {file}.csr -subj /CN={subject} -addext subjectAltName={alternative}"
        ));
        openssl(&format!(
            "x509 -req -in {file}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out {file}.crt"
        ));
    }
    directory
}
