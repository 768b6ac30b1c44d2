//! Why an encrypted connection failed, and what to do.

use std::io;

use rustls::{CertificateError, Error as TlsError};

use crate::config::tls::NoAuthorities;

/// What to do if the server may ask for a certificate of the client.
pub const CLIENT_CERTIFICATE: &str = "If the server requires a client certificate, pass one that it trusts, with option 'tls.cert' and option 'tls.key'.";

const UNREACHABLE: &str = "cannot be reached over TLS";

/// The fault of a server, as the end of a sentence that begins with the server, and what to do.
pub struct TlsFault {
    pub what: &'static str,
    pub advice: &'static str,
}

/// `None` if the error is not about TLS.
pub fn tls_fault(cause: &io::Error) -> Option<TlsFault> {
    let fault = |what, advice| Some(TlsFault { what, advice });
    let cause = cause.get_ref()?;
    if cause.is::<NoAuthorities>() {
        return fault(
            UNREACHABLE,
            "Install the CA certificates of the system, or pass a CA with option 'tls.ca'.",
        );
    }
    match cause.downcast_ref()? {
        // A self-signed certificate may also count as a CA's own, which is one of the other faults.
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)) => fault(
            "has a certificate that this process does not trust",
            "Pass the CA that signed it with option 'tls.ca'. If it is self-signed, option 'tls.insecureSkipVerify' turns \
             the check off.",
        ),
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => fault(
            "has a certificate for another name",
            "Use the name in the certificate as the host in the URL, or pass it with option 'tls.serverName'.",
        ),
        TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            fault(
                "has a certificate that has expired",
                "Renew the certificate, or correct the clock of this host.",
            )
        }
        TlsError::InvalidCertificate(_) => {
            fault("has a certificate that cannot be used", "Check the server's certificate.")
        }
        TlsError::InvalidMessage(_) => {
            fault("does not use TLS on this port", "Use redis:// in the URL, or the server's TLS port.")
        }
        TlsError::AlertReceived(_) => fault("rejected the TLS connection", CLIENT_CERTIFICATE),
        _ => fault(UNREACHABLE, "Check that the server supports TLS 1.2 or 1.3 on this port."),
    }
}
