//! The option `tls`: which certificates to trust, and which one to show.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

/// How connections are encrypted.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The certificate authorities to trust, in PEM; `None`: those of the system.
    pub ca: Option<String>,
    /// The client certificate and its key, in PEM.
    pub identity: Option<(String, String)>,
    /// The name that the server's certificate must have; `None`: the name of the host.
    pub server_name: Option<String>,
    /// Accepts any certificate.
    pub insecure_skip_verify: bool,
}

/// An option of [`Tls`] and its fault. It never quotes the value, which may be a key.
#[derive(Debug)]
pub struct Fault(pub &'static str, pub String);

/// The system has no CA certificate that can be read, and why.
#[derive(Debug)]
pub struct NoAuthorities(String);

impl fmt::Display for NoAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this system has no trusted CA certificates: {}", self.0)
    }
}

impl std::error::Error for NoAuthorities {}

impl Tls {
    /// These settings, with the others for fields that are not set.
    pub fn or(self, others: Tls) -> Tls {
        Tls {
            ca: self.ca.or(others.ca),
            identity: self.identity.or(others.identity),
            server_name: self.server_name.or(others.server_name),
            insecure_skip_verify: self.insecure_skip_verify || others.insecure_skip_verify,
        }
    }

    /// Fails if one of the options cannot be used.
    pub fn check(&self) -> Result<(), Fault> {
        if self.server_name.as_deref().is_some_and(|name| ServerName::try_from(name).is_err()) {
            return Err(Fault("tls.serverName", "is neither a host name nor an IP address".into()));
        }
        let authorities = self.authorities()?.unwrap_or_else(RootCertStore::empty);
        self.config(authorities).map(drop)
    }

    /// The configuration for rustls. Reads the system's certificates if `ca` is `None`.
    pub fn client_config(&self) -> io::Result<ClientConfig> {
        let refused = |Fault(option, fault)| io::Error::other(format!("option '{option}' {fault}"));
        let authorities = match self.authorities().map_err(refused)? {
            Some(authorities) => authorities,
            None if self.insecure_skip_verify => RootCertStore::empty(),
            None => system_authorities()?,
        };
        self.config(authorities).map_err(refused)
    }

    fn authorities(&self) -> Result<Option<RootCertStore>, Fault> {
        let Some(pem) = &self.ca else { return Ok(None) };
        let mut authorities = RootCertStore::empty();
        for certificate in certificates("tls.ca", pem)? {
            authorities.add(certificate).map_err(|cause| {
                Fault("tls.ca", format!("has a certificate that cannot be used: {cause}"))
            })?;
        }
        Ok(Some(authorities))
    }

    fn config(&self, authorities: RootCertStore) -> Result<ClientConfig, Fault> {
        // The process-wide default belongs to the host process and to other addons in it.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|cause| Fault("tls", format!("cannot be used: {cause}")))?;
        let config: ConfigBuilder<ClientConfig, WantsClientCert> = if self.insecure_skip_verify {
            config.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            config.with_root_certificates(authorities)
        };
        let Some((certificate, key)) = &self.identity else { return Ok(config.with_no_client_auth()) };
        let chain = certificates("tls.cert", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| Fault("tls.key", "has no private key that can be read".into()))?;
        config
            .with_client_auth_cert(chain, key)
            .map_err(|cause| Fault("tls.key", format!("cannot be used with option 'tls.cert': {cause}")))
    }
}

fn certificates(option: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    match CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Fault(option, "has no certificate that can be read".into())),
    }
}

/// Skips unreadable certificates: one corrupt file must not make the others useless.
fn system_authorities() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(found.certs);
    if authorities.is_empty() {
        let causes: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let causes = causes.join(", ");
        return Err(io::Error::other(NoAuthorities(causes)));
    }
    Ok(authorities)
}

/// `insecureSkipVerify`: accepts any certificate, but verifies that the server has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tls { ca, identity, server_name, insecure_skip_verify } = self;
        f.debug_struct("Tls")
            .field("ca", &ca.is_some())
            .field("identity", &identity.is_some())
            .field("server_name", server_name)
            .field("insecure_skip_verify", insecure_skip_verify)
            .finish()
    }
}
