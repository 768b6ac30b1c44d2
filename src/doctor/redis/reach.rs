//! Checks whether the servers can be reached, step by step.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustls::{CertificateError, Error as TlsError, ProtocolVersion};
use tokio::time::timeout;

use crate::config::target::Address;
use crate::doctor::finding::{Finding, in_ms};
use crate::store::redis::access::Access;
use crate::store::redis::dial::{connect, encrypt, resolve};
use crate::store::redis::discovery::Discovery;

/// Checks the host name, TCP and TLS.
pub async fn server(
    address: &Address,
    discovery: &Discovery,
    access: &Access,
    limit: Duration,
) -> Vec<Finding> {
    let Address::Tcp(host, port) = address else { return Vec::new() };
    let mut findings = Vec::new();
    let asked_at = Instant::now();
    let addresses = match within(limit, resolve(host, *port)).await {
        Ok(addresses) => addresses,
        Err(cause) => {
            let advice = "check the host in the url, and that this machine's name server knows it";
            return vec![Finding::error("address", format!("{host} is not found: {cause}"), advice)];
        }
    };
    if host.parse::<IpAddr>().is_err() {
        let list = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
        findings.push(Finding::ok(
            "address",
            format!("{host} is {list}, found in {}", in_ms(asked_at.elapsed())),
        ));
    }
    let is_public = addresses.iter().any(is_public);
    let asked_at = Instant::now();
    let stream = match within(limit, connect(addresses)).await {
        Ok(stream) => stream,
        Err(cause) => {
            let advice = match cause.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "nothing listens there: check host and port, and the server's `bind` and `protected-mode`"
                }
                _ => "check firewalls and security groups on the way, and that the server runs",
            };
            findings.push(Finding::error(
                "connection",
                format!("{address} cannot be reached: {cause}"),
                advice,
            ));
            return findings;
        }
    };
    findings.push(Finding::ok("connection", format!("{address} takes it in {}", in_ms(asked_at.elapsed()))));
    let encryption = match within(limit, access.encryption()).await {
        Ok(encryption) => encryption,
        Err(cause) => {
            let advice = "install the system's certificate authorities, or name one with --tls-ca";
            findings.push(Finding::error("tls", cause.to_string(), advice));
            return findings;
        }
    };
    findings.push(match encryption {
        Some(encryption) => {
            let is_verified = discovery.endpoint().tls.as_ref().is_none_or(|tls| !tls.insecure_skip_verify);
            let asked_at = Instant::now();
            match within(limit, encrypt(stream, host, encryption)).await {
                Ok(stream) => {
                    let version = version(stream.get_ref().1.protocol_version());
                    encrypted(version, encryption.server_name.as_ref().unwrap_or(host), is_verified, asked_at)
                }
                Err(cause) => Finding::error("tls", cause.to_string(), tls_advice(&cause)),
            }
        }
        None if is_public => Finding::warning(
            "tls",
            "not encrypted, at a public address: password and definitions can be read on the way",
            "let the server take TLS, and begin the url with rediss://",
        ),
        None => Finding::ok("tls", "not encrypted: the url does not ask for it"),
    });
    findings
}

/// Checks whether the sentinels, or the nodes, in the URL answer, and name the same primary.
pub async fn seeds(
    kind: &str,
    seeds: &[Address],
    discovery: &Discovery,
    access: &Access,
    limit: Duration,
) -> Vec<Finding> {
    let ask = async |seed: &Address| {
        let asked_at = Instant::now();
        let answer = match timeout(limit, discovery.ask(seed, access)).await {
            Ok(answer) => answer.map_err(|cause| discovery.described(&seed.to_string(), cause).to_string()),
            Err(_) => Err(format!("{seed} did not answer within {} ms", limit.as_millis())),
        };
        (answer, asked_at.elapsed())
    };
    let answers = join_all(seeds.iter().map(ask)).await;
    let slowest = answers.iter().map(|(_, took)| *took).max().unwrap_or_default();
    let mut named: Vec<_> = answers.iter().filter_map(|(answer, _)| answer.as_ref().ok()).collect();
    let failures: Vec<_> = answers.iter().filter_map(|(answer, _)| answer.as_ref().err()).collect();
    let (found, all) = (named.len(), seeds.len());
    named.sort_by_key(|address| address.to_string());
    named.dedup();
    let list = named.iter().map(|address| address.to_string()).collect::<Vec<_>>().join(" and ");
    let counted = format!("{found} of {all} {kind} in the url answer");
    let message = match failures.first() {
        None => format!("{counted}, in {} at most, and name {list}", in_ms(slowest)),
        Some(failure) if found == 0 => format!("{counted}: {failure}"),
        Some(failure) => format!("{counted}, and name {list}; {failure}"),
    };
    vec![match (found, failures.is_empty(), named.len()) {
        (0, ..) => {
            let advice =
                "check hosts, ports and logins (sentinels have their own), and that the url's kind fits";
            Finding::error("guides", message, advice)
        }
        (_, true, 1) => Finding::ok("guides", message),
        (_, true, _) => Finding::warning("guides", message, "they disagree: a failover may be under way"),
        _ => Finding::warning("guides", message, "one is enough, but while it lasts; repair the others"),
    }]
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", limit.as_millis())))
    })
}

fn encrypted(version: &str, name: &str, is_verified: bool, asked_at: Instant) -> Finding {
    if is_verified {
        let took = in_ms(asked_at.elapsed());
        return Finding::ok("tls", format!("{version}, a certificate for {name} that we trust, in {took}"));
    }
    Finding::warning(
        "tls",
        format!(
            "{version}, but any certificate is taken: whoever is in the way can read and change everything"
        ),
        "drop insecureSkipVerify, and name the authority with --tls-ca",
    )
}

fn version(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS",
    }
}

fn tls_advice(cause: &io::Error) -> &'static str {
    match cause.get_ref().and_then(|cause| cause.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(fault)) => match fault {
            CertificateError::UnknownIssuer | CertificateError::Other(_) => {
                "name the certificate of the authority that signed the server's with --tls-ca; for a self-signed one, \
                 --tls-insecure-skip-verify turns the check off"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "say which name the certificate is for with --tls-server-name, or use that name in the url"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew the server's certificate; or is this machine's clock wrong?"
            }
            _ => "check the server's certificate",
        },
        Some(TlsError::InvalidMessage(_)) => {
            "the server speaks no TLS at this port: redis:// or another port"
        }
        Some(TlsError::AlertReceived(_)) => {
            "if the server wants a certificate of ours, give one with --tls-cert and --tls-key"
        }
        _ => "check that the server speaks TLS 1.2 or 1.3 at this port",
    }
}

/// Whether the address is neither of this host nor of a private network.
fn is_public(address: &SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0b1100_0000 == 64;
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared)
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}
