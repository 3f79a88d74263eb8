//! Classifies files as TLS libraries by their names.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

/// TLS library family of a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// OpenSSL or a fork of it.
    OpenSsl,
    /// Another TLS library.
    Other(&'static str),
}

/// File names of TLS libraries that do not derive from OpenSSL, up to the first dot or hyphen.
const OTHERS: [(&str, &str); 8] = [
    ("libgnutls", "GnuTLS"),
    // The TLS library of NSS; the digit is part of its name.
    ("libssl3", "NSS"),
    ("libmbedtls", "Mbed TLS"),
    ("libwolfssl", "wolfSSL"),
    ("libs2n", "s2n-tls"),
    ("libbotan", "Botan"),
    ("librustls", "rustls"),
    ("libmatrixssl", "MatrixSSL"),
];

/// Family of a file, if its name is that of a TLS library.
pub(super) fn from_path(path: &Path) -> Option<Family> {
    let name = path.file_name()?.as_bytes();
    let end = name
        .iter()
        .position(|byte| matches!(byte, b'.' | b'-'))
        .unwrap_or(name.len());
    let stem = name.get(..end)?;
    if let Some((_, library)) = OTHERS.iter().find(|(other, _)| other.as_bytes() == stem) {
        return Some(Family::Other(library));
    }
    // Vendors add suffixes: `libssl-8bd944e8.so.3`, `libssl_vendor.so`.
    stem.starts_with(b"libssl").then_some(Family::OpenSsl)
}

/// Whether a file is named like OpenSSL's crypto library.
pub(super) fn is_crypto(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(b"libcrypto"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_identify_libraries() {
        let cases = [
            ("/usr/lib/libssl.so.3", Some(Family::OpenSsl)),
            ("/x/libssl-8bd944e8.so.3", Some(Family::OpenSsl)),
            ("libssl.so.3 (deleted)", Some(Family::OpenSsl)),
            ("/usr/lib/libssl3.so", Some(Family::Other("NSS"))),
            (
                "/usr/lib/libgnutls.so.30.34.3",
                Some(Family::Other("GnuTLS")),
            ),
            ("/usr/lib/libgnutlsxx.so.30", None),
            ("/usr/lib/libssh.so.4", None),
            ("/usr/sbin/nginx", None),
            ("/", None),
        ];
        for (path, family) in cases {
            assert_eq!(from_path(Path::new(path)), family, "{path}");
        }
    }
}
