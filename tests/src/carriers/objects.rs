//! Objects of the crypto library that plans are derived from.

/// Their sources. Later releases add a prefix to the names of the object files.
const CRYPTO: [&str; 4] = [
    "crypto/bio/bio_lib",
    "crypto/err/err",
    "crypto/err/err_blocks",
    "crypto/cversion",
];

/// Targets of the Makefile: `crypto/err/err.o`, since 3.0 `crypto/err/libcrypto-lib-err.o`.
pub(super) fn crypto_objects(makefile: &str) -> Vec<String> {
    let targets = makefile.lines().filter_map(|line| line.split(':').next());
    let plain = |target: &str| target.replace("libcrypto-lib-", "");
    targets
        .filter(|target| {
            CRYPTO
                .iter()
                .any(|source| plain(target) == format!("{source}.o"))
        })
        .map(str::to_owned)
        .collect()
}
