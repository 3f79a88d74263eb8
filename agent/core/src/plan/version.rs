//! The version text of a library, for display.
//!
//! Read as a program would read it (`OpenSSL_version(OPENSSL_VERSION)`), else searched in the file.

use memchr::{memmem, memrchr};

use super::elf::Image;
use super::isa::{Call, Isa};
use super::trace::Value;

/// Prefix of the text (`OPENSSL_VERSION_TEXT`, include/openssl/opensslv.h).
const PREFIX: &str = "OpenSSL ";

/// Returns the version, such as `3.0.19` from `OpenSSL 3.0.19 27 Jan 2026`.
pub(super) fn find(isa: &dyn Isa, image: &Image<'_>) -> Option<String> {
    let returned = ["OpenSSL_version", "SSLeay_version"]
        .iter()
        .find_map(|function| {
            // OPENSSL_VERSION and SSLEAY_VERSION are 0.
            let call = Call {
                first_argument: Some(0),
                ..Call::default()
            };
            match isa
                .interpret(image, image.symbol(function)?, call)
                .returned?
            {
                Value::Number(at) => number(image.text(at)?),
                _ => None,
            }
        });
    returned.or_else(|| image.search_constants(search))
}

fn search(bytes: &[u8]) -> Option<String> {
    // A text after the last NUL may continue in the next part.
    let whole = memrchr(0, bytes).and_then(|end| bytes.get(..end))?;
    let strings = memmem::find_iter(whole, PREFIX)
        .filter(|at| {
            at.checked_sub(1)
                .is_none_or(|before| whole.get(before) == Some(&0))
        })
        .filter_map(|at| whole.get(at..)?.split(|byte| *byte == 0).next());
    strings
        .filter_map(|string| std::str::from_utf8(string).ok())
        .find_map(number)
}

/// The version in `OpenSSL 3.0.19 27 Jan 2026`; other texts with the prefix have no number there.
fn number(text: &str) -> Option<String> {
    let version = text.strip_prefix(PREFIX)?.split(' ').next()?;
    let well_formed = version.len() <= 32
        && version.starts_with(|c: char| c.is_ascii_digit())
        && version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c));
    well_formed.then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_cut_from_its_text() {
        let cases = [
            ("OpenSSL 3.0.19 27 Jan 2026", Some("3.0.19")),
            ("OpenSSL 1.1.1w  11 Sep 2023", Some("1.1.1w")),
            ("OpenSSL 1.1.1v+quic  1 Aug 2023", Some("1.1.1v+quic")),
            ("OpenSSL PKCS#3 DH method", None),
            ("OpenSSL ", None),
            ("LibreSSL 3.9.2", None),
        ];
        for (text, version) in cases {
            assert_eq!(number(text).as_deref(), version, "{text}");
        }
        assert_eq!(
            search(b"x\0OpenSSL RSA\0OpenSSL 3.5.1 1 Jul 2025\0").as_deref(),
            Some("3.5.1")
        );
    }
}
