//! TLS configuration of a file, for rustls, which supports versions 1.2 and 1.3.

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
    error::WebConfigError,
    file::{File, Tls},
};

/// TLS configuration; `None` if the file has none.
pub(super) fn acceptor(file: &File) -> Result<Option<TlsAcceptor>, WebConfigError> {
    let Some(tls) = file.tls() else {
        return Ok(None);
    };
    let provider = Arc::new(provider(file, tls)?);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(file, tls)?)
        .map_err(|error| file.invalid("cipher_suites", error.to_string()))?;
    let builder = match verifier(file, tls, provider)? {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let (at, text) = pem(file, "cert", &tls.cert, "cert_file", &tls.cert_file)?;
    let chain = certificates(file, at, &text)?;
    let (at, text) = pem(file, "key", &tls.key, "key_file", &tls.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&text);
    let key = key.map_err(|error| file.invalid(at, format!("no private key: {error}")))?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| file.invalid(at, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// PEM text in the file itself or in a file that it names, with the key that gives it.
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
                .map_err(|error| file.invalid(named, format!("{}: {error}", path.display())))?;
            Ok((named, text))
        }
        (Some(_), Some(_)) => Err(file.invalid(named, format!("{inline} is set, too"))),
        (None, None) => Err(file.invalid("tls_server_config", format!("{named} is missing"))),
    }
}

fn certificates(
    file: &File,
    key: &str,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, WebConfigError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|error| file.invalid(key, format!("no certificate: {error}")))?;
    if chain.is_empty() {
        return Err(file.invalid(key, "no certificate in the file"));
    }
    Ok(chain)
}

fn versions(
    file: &File,
    tls: &Tls,
) -> Result<Vec<&'static SupportedProtocolVersion>, WebConfigError> {
    let number = |key: &str, value: &Option<String>, default: u8| match value.as_deref() {
        None => Ok(default),
        Some("TLS12") => Ok(2),
        Some("TLS13") => Ok(3),
        Some(other) => Err(file.invalid(
            key,
            format!("{other} is not supported, only TLS12 and TLS13"),
        )),
    };
    let minimum = number("min_version", &tls.min_version, 2)?;
    let maximum = number("max_version", &tls.max_version, 3)?;
    let known = [(2, &TLS12), (3, &TLS13)].into_iter();
    let chosen = known.filter(|(version, _)| (minimum..=maximum).contains(version));
    let chosen: Vec<_> = chosen.map(|(_, version)| version).collect();
    if chosen.is_empty() {
        return Err(file.invalid("max_version", "lower than min_version"));
    }
    Ok(chosen)
}

/// Cipher suites and curves, by their names in Go.
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
                return Err(file.invalid("cipher_suites", format!("{wanted} is not supported")));
            }
        }
        // As in Go, the list is for TLS 1.2; all suites of TLS 1.3 remain.
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
                    return Err(
                        file.invalid("curve_preferences", format!("{wanted} is not supported"))
                    );
                }
            }
        }
        provider.kx_groups = groups;
    }
    Ok(provider)
}

/// Client certificate requirements, by their names in Go.
fn verifier(
    file: &File,
    tls: &Tls,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, WebConfigError> {
    let wanted = tls.client_auth_type.as_deref().unwrap_or_default();
    let has_ca = tls.client_ca.is_some() || tls.client_ca_file.is_some();
    let mandatory = match wanted {
        "" | "NoClientCert" => {
            if has_ca {
                let key = if tls.client_ca.is_some() {
                    "client_ca"
                } else {
                    "client_ca_file"
                };
                return Err(file.invalid(key, "has no effect without client_auth_type"));
            }
            return Ok(None);
        }
        "RequestClientCert" | "RequireAnyClientCert" => {
            let mandatory = wanted == "RequireAnyClientCert";
            return Ok(Some(Arc::new(AnyCertificate {
                mandatory,
                provider,
            })));
        }
        "VerifyClientCertIfGiven" => false,
        "RequireAndVerifyClientCert" => true,
        other => return Err(file.invalid("client_auth_type", format!("{other} is unknown"))),
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
            .map_err(|error| file.invalid(at, error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if mandatory {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    let verifier = builder
        .build()
        .map_err(|error| file.invalid(at, error.to_string()))?;
    Ok(Some(verifier))
}

/// Accepts any certificate whose private key the client has.
#[derive(Debug)]
struct AnyCertificate {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
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
pub(in crate::views::http) fn subject_names(certificate: &CertificateDer<'_>) -> Vec<String> {
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
