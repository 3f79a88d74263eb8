//! Whether a library is BoringSSL.
//!
//! Called by `statem`, so that an operator reads which library it is instead of what it lacks.

use super::elf::Image;

/// Functions that only BoringSSL exports (include/openssl/ssl.h there); its forks keep most of them.
const OWN: [&str; 3] = [
    "SSL_CTX_set_custom_verify",
    "SSL_CTX_set_grease_enabled",
    "SSL_early_callback_ctx_extension_get",
];
/// Texts that its `OpenSSL_version` has returned (crypto/crypto.c): all there is in a program without names.
const TEXTS: [&[u8]; 2] = [b"BoringSSL", b"OpenSSL 1.1.1 (compatible; BoringSSL)"];

/// The file exports BoringSSL's handshake.
pub(super) fn has_its_names(image: &Image<'_>) -> bool {
    image.symbol("SSL_do_handshake").is_some()
        && OWN.iter().any(|function| image.symbol(function).is_some())
}

/// The file holds the text by which BoringSSL names itself.
pub(super) fn has_its_text(image: &Image<'_>) -> bool {
    let named = image.search_constants(|bytes| {
        bytes
            .split(|byte| *byte == 0)
            .any(|string| TEXTS.contains(&string))
            .then_some(())
    });
    named.is_some()
}
