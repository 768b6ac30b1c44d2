//! A certificate authority of the test's own, and files as redis-server wants them.

use std::sync::atomic::{AtomicU64, Ordering};

use posthog_flag_cache::config::tls::Tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut params = named(&format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed)), Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, directory: TempDir::new().unwrap() }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Trust in this authority alone.
    pub fn trusted(&self) -> Tls {
        Tls { ca: Some(self.pem()), ..Tls::default() }
    }

    /// A certificate for this name or address, and its key.
    pub fn identity(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = named(name, vec![name.to_owned()]).signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The arguments of a server with such a certificate.
    pub fn server_arguments(&self, name: &str) -> Vec<String> {
        let (certificate, key) = self.identity(name);
        let file = |option: &str, text: String| {
            let path = self.directory.path().join(format!("{name}{option}"));
            std::fs::write(&path, text).unwrap();
            [option.to_owned(), path.to_str().unwrap().to_owned()]
        };
        let files =
            [("--tls-cert-file", certificate), ("--tls-key-file", key), ("--tls-ca-cert-file", self.pem())];
        files.into_iter().flat_map(|(option, text)| file(option, text)).collect()
    }
}

/// OpenSSL takes a certificate with the name of its authority for that authority.
fn named(name: &str, of: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(of).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
