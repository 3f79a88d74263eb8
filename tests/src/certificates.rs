//! Certificates, made by the machine's own `openssl`: a self-signed one per kind and test process,
//! and authorities.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::process::run;

/// A certificate with its key, as the servers want it.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Both in one file, as HAProxy reads them.
    pub both: PathBuf,
    _directory: TempDir,
}

/// RSA 2048: the server's flight exceeds one small segment, the commonest key in the field.
pub fn rsa() -> &'static Certificate {
    static RSA: OnceLock<Certificate> = OnceLock::new();
    RSA.get_or_init(|| make(&["-newkey", "rsa:2048"]))
}

/// EC P-256: cheap enough for hundreds of full handshakes.
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

/// A directory with an authority (`ca.crt`) called `name`, and by it a certificate and key of each
/// of these, `NAME.crt` and `NAME.key`, with the subject and the alternative name that are given.
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
