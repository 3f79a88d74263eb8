//! Signatures of TLS libraries in a file of any name.
//!
//! Discovery checks every file that a process runs before it makes a plan: for symbols first, which
//! is quick and certain; then for texts, which reads the whole file and finds stripped libraries.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use object::Object as _;

use super::{
    boringssl,
    elf::{Image, Tables},
    error::PlanError,
    pages::{Bytes, Pages},
};

/// Function that every OpenSSL, BoringSSL and LibreSSL defines, and no other library.
const SYMBOL: &str = "SSL_do_handshake";

/// The TLS library that a file contains, best observable first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// OpenSSL.
    OpenSsl,
    /// BoringSSL.
    BoringSsl,
    /// Go's `crypto/tls`.
    Go,
    /// rustls.
    Rustls,
}

/// A text of a library's server code, with a counterpart in its client code.
struct Signature {
    /// The server's text.
    server_text: &'static str,
    /// The word of it that names the server.
    server: &'static str,
    /// The word in its place in the client's text.
    client: &'static str,
    /// The library.
    carrier: Carrier,
}

impl Signature {
    const fn new(
        server_text: &'static str,
        server: &'static str,
        client: &'static str,
        carrier: Carrier,
    ) -> Self {
        Self {
            server_text,
            server,
            client,
            carrier,
        }
    }

    /// The texts of server and client.
    fn texts(&self) -> [String; 2] {
        let client_text = self.server_text.replace(self.server, self.client);
        [self.server_text.to_owned(), client_text]
    }
}

/// A file with both texts of a signature contains the library; a file with only the first one
/// searches for it, as this agent does. OpenSSL and BoringSSL name the source file in each error
/// report (a build with `no-filenames` does not), Go's function table names each function, Rust's
/// panics name the file.
const SIGNATURES: [Signature; 5] = [
    Signature::new("ssl/statem/statem_srvr.c", "srvr", "clnt", Carrier::OpenSsl),
    // 1.0.2.
    Signature::new("s3_srvr.c", "srvr", "clnt", Carrier::OpenSsl),
    Signature::new(boringssl::SOURCE, "server", "client", Carrier::BoringSsl),
    Signature::new(
        "crypto/tls.(*Conn).serverHandshake",
        "server",
        "client",
        Carrier::Go,
    ),
    Signature::new("/src/server/hs.rs", "server", "client", Carrier::Rustls),
];
/// Overlap of the parts of a search, at least the longest text.
const OVERLAP: usize = 128;
/// Limit of bytes searched.
const MAX_SEARCH: u64 = 512 << 20;

/// Searchers for both texts of each signature.
static FINDERS: LazyLock<Vec<([Finder<'static>; 2], Carrier)>> = LazyLock::new(|| {
    let finder = |text: String| Finder::new(text.as_bytes()).into_owned();
    SIGNATURES
        .iter()
        .map(|signature| (signature.texts().map(finder), signature.carrier))
        .collect()
});

/// Whether a file defines a TLS library's functions. In a program that uses a shared library they
/// are undefined.
#[must_use]
pub fn defines_tls(file: &dyn Bytes) -> bool {
    let pages = Pages::new(file);
    Image::parse(&pages, Tables::Symbols).is_ok_and(|image| image.symbol(SYMBOL).is_some())
}

/// Returns the name of the crypto library that a file links (`DT_NEEDED`). Python wheels rename it,
/// and some contain two.
#[must_use]
pub fn needed_crypto(file: &dyn Bytes) -> Option<Vec<u8>> {
    let pages = Pages::new(file);
    let object = object::File::parse(&pages).ok()?;
    let libraries = object.import_libraries().ok()?;
    let mut names = libraries.filter_map(|library| Some(library.ok()?.name().to_owned()));
    names.find(|name| name.starts_with(b"libcrypto"))
}

/// Identifies the TLS library in a file by its texts. OpenSSL precedes the others, since a program
/// with two libraries is observed through the one that can be.
///
/// # Errors
/// [`PlanError::TooMuchWork`] or [`PlanError::TooMuchTime`].
pub fn by_text(file: &dyn Bytes) -> Result<Option<Carrier>, PlanError> {
    let pages = Pages::new(file);
    let mut found = [[false; 2]; SIGNATURES.len()];
    let whole = pages.search(0, pages.size().min(MAX_SEARCH), OVERLAP, |_, part| {
        for ((texts, _), found) in FINDERS.iter().zip(&mut found) {
            for (text, found) in texts.iter().zip(found) {
                *found = *found || text.find(part).is_some();
            }
        }
        let best = found.first().is_some_and(|texts| *texts == [true; 2]);
        best.then_some(Carrier::OpenSsl)
    });
    if let Some(exhausted) = pages.work().exhausted() {
        return Err(exhausted.into());
    }
    let rest = FINDERS.iter().zip(&found);
    Ok(whole.or_else(|| {
        rest.filter(|(_, found)| **found == [true; 2])
            .map(|((_, carrier), _)| *carrier)
            .min()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_uses_a_library_does_not_define_it() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(!defines_tls(&own));
        assert_eq!(needed_crypto(&own), None);
        assert_eq!(needed_crypto(&[]), None);
        assert!(!defines_tls(
            &[b"\x7fELF\x02\x01\x01".as_slice(), &[0xff; 500]].concat()
        ));
        assert!(!defines_tls(&[]));
    }

    #[test]
    fn library_is_identified_by_both_texts() {
        let file = |texts: &[String]| {
            let mut file = vec![0; 5 << 20];
            for (index, text) in texts.iter().enumerate() {
                // Across the boundary of two parts of the search.
                let at = ((index + 1) << 20) - 5;
                file[at..at + text.len()].copy_from_slice(text.as_bytes());
            }
            file
        };
        assert_eq!(by_text(&file(&[])).unwrap(), None);
        let mut all = Vec::new();
        for signature in SIGNATURES.iter().rev() {
            let (server, carrier) = (signature.server_text, signature.carrier);
            let texts = signature.texts();
            assert_eq!(by_text(&file(&texts)).unwrap(), Some(carrier), "{server}");
            assert_eq!(by_text(&file(&texts[..1])).unwrap(), None, "{server}");
            all = [texts.as_slice(), &all].concat();
            assert_eq!(
                by_text(&file(&all[..all.len().min(4)])).unwrap(),
                Some(carrier),
                "{server}"
            );
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_ne!(
            by_text(&own).unwrap(),
            Some(Carrier::OpenSsl),
            "the agent searches for OpenSSL but does not contain it"
        );
    }
}
