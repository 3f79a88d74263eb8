//! The TLS half: rustls as the file asks for it. Versions 1.2 and 1.3 only; rustls has no others.

use std::{fs, path::PathBuf, sync::Arc};

use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{
    WebConfigError,
    file::{File, Tls},
};

/// How connections are encrypted; `None` where the file does not say.
pub(super) fn acceptor(file: &File) -> Result<Option<TlsAcceptor>, WebConfigError> {
    let Some(tls) = file.tls() else {
        return Ok(None);
    };
    let provider = Arc::new(provider(file, tls)?);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(file, tls)?)
        .map_err(|error| file.wrong("cipher_suites", error.to_string()))?;
    let builder = match verifier(file, tls, provider)? {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let (at, text) = pem(file, "cert", &tls.cert, "cert_file", &tls.cert_file)?;
    let chain = certificates(file, at, &text)?;
    let (at, text) = pem(file, "key", &tls.key, "key_file", &tls.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&text);
    let key = key.map_err(|error| file.wrong(at, format!("no private key: {error}")))?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| file.wrong(at, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// Text in the file itself, or of a file that it names, with the key by which it was found.
fn pem(
    file: &File,
    inline: &'static str,
    text: &Option<String>,
    named: &'static str,
    path: &Option<PathBuf>,
) -> Result<(&'static str, Vec<u8>), WebConfigError> {
    match (text, path) {
        (Some(text), None) => Ok((inline, text.clone().into_bytes())),
        (None, Some(path)) => {
            let path = file.resolve(path);
            let text = fs::read(&path)
                .map_err(|error| file.wrong(named, format!("{}: {error}", path.display())))?;
            Ok((named, text))
        }
        (Some(_), Some(_)) => Err(file.wrong(named, format!("given twice, by {inline} too"))),
        (None, None) => Err(file.wrong("tls_server_config", format!("{named} is missing"))),
    }
}

fn certificates(
    file: &File,
    key: &str,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, WebConfigError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|error| file.wrong(key, format!("no certificate: {error}")))?;
    if chain.is_empty() {
        return Err(file.wrong(key, "no certificate in it"));
    }
    Ok(chain)
}

fn versions(
    file: &File,
    tls: &Tls,
) -> Result<Vec<&'static SupportedProtocolVersion>, WebConfigError> {
    let number = |key: &str, value: &Option<String>, unless: u8| match value.as_deref() {
        None => Ok(unless),
        Some("TLS12") => Ok(2),
        Some("TLS13") => Ok(3),
        Some(other) => Err(file.wrong(key, format!("{other}: only TLS12 and TLS13 are spoken"))),
    };
    let least = number("min_version", &tls.min_version, 2)?;
    let most = number("max_version", &tls.max_version, 3)?;
    let known = [(2, &TLS12), (3, &TLS13)].into_iter();
    let chosen = known.filter(|(version, _)| (least..=most).contains(version));
    let chosen: Vec<_> = chosen.map(|(_, version)| version).collect();
    if chosen.is_empty() {
        return Err(file.wrong("max_version", "lower than min_version"));
    }
    Ok(chosen)
}

/// Cipher suites and curves by the names that Go gives them.
fn provider(file: &File, tls: &Tls) -> Result<CryptoProvider, WebConfigError> {
    let mut provider = ring::default_provider();
    if !tls.cipher_suites.is_empty() {
        let name = |suite: &rustls::SupportedCipherSuite| {
            format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
        };
        for wanted in &tls.cipher_suites {
            if !provider
                .cipher_suites
                .iter()
                .any(|suite| name(suite) == *wanted)
            {
                return Err(file.wrong("cipher_suites", format!("{wanted} is not spoken")));
            }
        }
        // As in Go, the list is for TLS 1.2: all of TLS 1.3 stay.
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some() || tls.cipher_suites.contains(&name(suite)));
    }
    if !tls.curve_preferences.is_empty() {
        let mut groups = Vec::new();
        for wanted in &tls.curve_preferences {
            let name = match wanted.as_str() {
                "CurveP256" => "secp256r1",
                "CurveP384" => "secp384r1",
                other => other,
            };
            let known = provider
                .kx_groups
                .iter()
                .find(|group| format!("{:?}", group.name()) == name);
            match known {
                Some(group) => groups.push(*group),
                None => {
                    return Err(file.wrong("curve_preferences", format!("{wanted} is not spoken")));
                }
            }
        }
        provider.kx_groups = groups;
    }
    Ok(provider)
}

/// What is asked of clients, by Go's names for it.
fn verifier(
    file: &File,
    tls: &Tls,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, WebConfigError> {
    let wanted = tls.client_auth_type.as_deref().unwrap_or_default();
    let given = tls.client_ca.is_some() || tls.client_ca_file.is_some();
    let mandatory = match wanted {
        "" | "NoClientCert" => {
            if given {
                let key = if tls.client_ca.is_some() {
                    "client_ca"
                } else {
                    "client_ca_file"
                };
                return Err(file.wrong(key, "of no use without client_auth_type"));
            }
            return Ok(None);
        }
        "RequestClientCert" | "RequireAnyClientCert" => {
            let mandatory = wanted == "RequireAnyClientCert";
            return Ok(Some(Arc::new(Anybody {
                mandatory,
                provider,
            })));
        }
        "VerifyClientCertIfGiven" => false,
        "RequireAndVerifyClientCert" => true,
        other => return Err(file.wrong("client_auth_type", format!("{other} is unknown"))),
    };
    let ca = pem(
        file,
        "client_ca",
        &tls.client_ca,
        "client_ca_file",
        &tls.client_ca_file,
    )?;
    let (at, text) = ca;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, at, &text)? {
        roots
            .add(certificate)
            .map_err(|error| file.wrong(at, error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if mandatory {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    let verifier = builder
        .build()
        .map_err(|error| file.wrong(at, error.to_string()))?;
    Ok(Some(verifier))
}

/// Takes any certificate whose key the client has.
#[derive(Debug)]
struct Anybody {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Subject alternative names of a certificate, as text.
pub(in crate::views::http) fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
                Some((*text).to_owned())
            }
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::IpAddr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::IpAddr::from(bytes).to_string())
}
