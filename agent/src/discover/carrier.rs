//! Does a file carry OpenSSL, whatever its name? Read through its symbol tables alone, so that a hundred-megabyte program costs a
//! few reads. A file without symbols of it is found by its name or not at all.

use std::{fs::File, path::Path};

use object::{Object as _, ObjectSymbol as _, ReadCache};

/// Defined by every OpenSSL, BoringSSL and LibreSSL since 0.9, and by nothing else.
const MARK: &[u8] = b"SSL_do_handshake";

/// The crypto library that a file asks the dynamic linker for (`DT_NEEDED`): wheels give it a name of their own, and some bring two.
pub(super) fn needed_crypto(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return None;
    }
    let cache = ReadCache::new(file);
    let object = object::File::parse(&cache).ok()?;
    let libraries = object.import_libraries().ok()?;
    let mut names = libraries.filter_map(|library| Some(library.ok()?.name().to_owned()));
    names.find(|name| name.starts_with(b"libcrypto"))
}

/// Whether `path` is an object file that defines the library's functions itself. A program that merely uses them has them
/// undefined.
pub(super) fn defines_tls(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    // Pipes and devices are mapped by nobody as code, but a name can be swapped under us.
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let cache = ReadCache::new(file);
    let Ok(object) = object::File::parse(&cache) else {
        return false;
    };
    object
        .dynamic_symbols()
        .chain(object.symbols())
        .any(|symbol| symbol.is_definition() && symbol.name_bytes() == Ok(MARK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn users_do_not_define_it() {
        assert!(!defines_tls(Path::new("/proc/self/exe")));
        assert!(!defines_tls(Path::new("/nonexistent")));
        assert!(!defines_tls(Path::new("/dev/null")));
        assert_eq!(needed_crypto(Path::new("/proc/self/exe")), None);
        assert_eq!(needed_crypto(Path::new("/dev/null")), None);
    }

    #[test]
    fn rubbish_is_no_carrier() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("libssl.so.3");
        fs::write(
            &path,
            [b"\x7fELF\x02\x01\x01".as_slice(), &[0xff; 500]].concat(),
        )
        .unwrap();
        assert!(!defines_tls(&path));
        assert_eq!(needed_crypto(&path), None);
    }
}
