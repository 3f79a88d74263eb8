//! Does a file carry a TLS library, whatever its name? Asked before a plan is made, of every file that some process runs.
//!
//! Called by `discover`. By symbols first, which is quick and sure; the search for texts, for what was stripped, reads the whole
//! file and is for a quiet moment.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use object::Object as _;

use super::{
    boringssl,
    elf::{Image, Tables},
    pages::{Bytes, Pages},
};

/// Defined by every OpenSSL, BoringSSL and LibreSSL, and by nothing else.
const MARK: &str = "SSL_do_handshake";

/// What a file carries inside, best first.
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

/// Texts that the server's half of each holds, and what of them is another word in the client's half: a file that holds both
/// halves carries the library, one that holds the first alone looks for it, as this agent does. OpenSSL's and BoringSSL's source
/// files stand in each error report (a build with `no-filenames` has none), Go's function table names each function, Rust's
/// panics name the file.
const HALVES: [(&str, (&str, &str), Carrier); 5] = [
    (
        "ssl/statem/statem_srvr.c",
        ("srvr", "clnt"),
        Carrier::OpenSsl,
    ),
    // 1.0.2.
    ("s3_srvr.c", ("srvr", "clnt"), Carrier::OpenSsl),
    (boringssl::SOURCE, ("server", "client"), Carrier::BoringSsl),
    (
        "crypto/tls.(*Conn).serverHandshake",
        ("server", "client"),
        Carrier::Go,
    ),
    ("/src/server/hs.rs", ("server", "client"), Carrier::Rustls),
];
/// The longest of [`HALVES`] fits twice.
const OVERLAP: usize = 128;
/// Bytes searched at most.
const MAX_SEARCH: u64 = 512 << 20;

/// Both halves of a library's texts.
static FINDERS: LazyLock<Vec<([Finder<'static>; 2], Carrier)>> = LazyLock::new(|| {
    let finder = |text: &str| Finder::new(text.as_bytes()).into_owned();
    HALVES
        .into_iter()
        .map(|(text, (server, client), carrier)| {
            let halves = [finder(text), finder(&text.replace(server, client))];
            (halves, carrier)
        })
        .collect()
});

/// Whether a file defines the library's functions itself. A program that merely uses them has them undefined.
#[must_use]
pub fn defines_tls(file: &dyn Bytes) -> bool {
    let pages = Pages::new(file);
    Image::parse(&pages, Tables::Symbols).is_ok_and(|image| image.symbol(MARK).is_some())
}

/// The crypto library that a file asks the dynamic linker for (`DT_NEEDED`): wheels give it a name of their own, and some bring two.
#[must_use]
pub fn needed_crypto(file: &dyn Bytes) -> Option<Vec<u8>> {
    let pages = Pages::new(file);
    let object = object::File::parse(&pages).ok()?;
    let libraries = object.import_libraries().ok()?;
    let mut names = libraries.filter_map(|library| Some(library.ok()?.name().to_owned()));
    names.find(|name| name.starts_with(b"libcrypto"))
}

/// What the texts in a file tell of it. OpenSSL beats the others: a program that carries two is observed by the one it can be.
#[must_use]
pub fn by_text(file: &dyn Bytes) -> Option<Carrier> {
    let pages = Pages::new(file);
    let mut found = [[false; 2]; HALVES.len()];
    let whole = pages.search(0, pages.size().min(MAX_SEARCH), OVERLAP, |_, part| {
        for ((halves, _), found) in FINDERS.iter().zip(&mut found) {
            for (half, found) in halves.iter().zip(found) {
                *found = *found || half.find(part).is_some();
            }
        }
        let best = found.first().is_some_and(|halves| *halves == [true; 2]);
        best.then_some(Carrier::OpenSsl)
    });
    let rest = FINDERS.iter().zip(&found);
    whole.or_else(|| {
        rest.filter(|(_, found)| **found == [true; 2])
            .map(|((_, carrier), _)| *carrier)
            .min()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_do_not_define_it() {
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
    fn texts_tell_who_is_inside() {
        let file = |texts: &[String]| {
            let mut file = vec![0; 5 << 20];
            for (index, text) in texts.iter().enumerate() {
                // Across the border of two parts of the search.
                let at = ((index + 1) << 20) - 5;
                file[at..at + text.len()].copy_from_slice(text.as_bytes());
            }
            file
        };
        assert_eq!(by_text(&file(&[])), None);
        let mut all = Vec::new();
        for (server, (word, other), carrier) in HALVES.into_iter().rev() {
            let halves = [server.to_owned(), server.replace(word, other)];
            assert_eq!(by_text(&file(&halves)), Some(carrier), "{server}");
            assert_eq!(by_text(&file(&halves[..1])), None, "{server}");
            all = [halves.as_slice(), &all].concat();
            assert_eq!(
                by_text(&file(&all[..all.len().min(4)])),
                Some(carrier),
                "{server}"
            );
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_ne!(
            by_text(&own),
            Some(Carrier::OpenSsl),
            "looks for it, has it not"
        );
    }
}
