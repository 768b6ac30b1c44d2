//! Checks whether the servers can be reached, step by step.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustls::ProtocolVersion;
use tokio::time::timeout;

use crate::config::target::Address;
use crate::doctor::finding::{Finding, in_ms};
use crate::error::Error;
use crate::store::redis::access::Access;
use crate::store::redis::dial::{connect, encrypt, resolve};
use crate::store::redis::discovery::Discovery;
use crate::store::redis::errors::tls_advice;
use crate::store::redis::tls_fault::{TlsFault, tls_fault};

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
            let advice = "Check the host in the URL, and the DNS of this machine.";
            return vec![Finding::error("address", format!("cannot resolve {host}: {cause}"), advice)];
        }
    };
    if host.parse::<IpAddr>().is_err() {
        let list = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
        findings.push(Finding::ok(
            "address",
            format!("{host} is {list}, resolved in {}", in_ms(asked_at.elapsed())),
        ));
    }
    let is_public = addresses.iter().any(is_public);
    let asked_at = Instant::now();
    let stream = match within(limit, connect(addresses)).await {
        Ok(stream) => stream,
        Err(cause) => {
            let advice = match cause.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "Nothing listens there. Check the host and the port, and the server's `bind` and `protected-mode`."
                }
                _ => "Check that the server runs, and that no firewall or security group blocks this port.",
            };
            findings.push(Finding::error(
                "connection",
                format!("{address} cannot be reached: {cause}"),
                advice,
            ));
            return findings;
        }
    };
    findings
        .push(Finding::ok("connection", format!("connected to {address} in {}", in_ms(asked_at.elapsed()))));
    let encryption = match within(limit, access.encryption()).await {
        Ok(encryption) => encryption,
        Err(cause) => {
            findings.push(unencrypted(address, &cause));
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
                Err(cause) => unencrypted(address, &cause),
            }
        }
        None if is_public => Finding::warning(
            "tls",
            "not encrypted, at a public address: others can read the password and the definitions",
            "Enable TLS on the server, and use rediss:// in the URL.",
        ),
        None => Finding::ok("tls", "not encrypted: the URL does not ask for TLS"),
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
            Ok(answer) => answer.map_err(|cause| discovery.described(&seed.to_string(), cause)),
            Err(_) => Err(Error::timeout(seed, limit)),
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
    let counted = format!("{found} of {all} {kind} in the URL answered");
    let message = match failures.first() {
        None => format!("{counted} within {}, and named {list} as the primary", in_ms(slowest)),
        Some(failure) if found == 0 => format!("{counted}: {}", failure.fault()),
        Some(failure) => format!("{counted}, and named {list} as the primary; {}", failure.fault()),
    };
    vec![match (found, failures.is_empty(), named.len()) {
        (0, ..) => {
            let advice = "Check the hosts, the ports and the login (sentinels have their own), and that the scheme of the URL is right.";
            let of_tls = failures.first().and_then(|failure| tls_advice(failure));
            Finding::error("guides", message, of_tls.unwrap_or(advice))
        }
        (_, true, 1) => Finding::ok("guides", message),
        (_, true, _) => Finding::warning(
            "guides",
            message,
            "They disagree. If this persists after a failover, check their configuration.",
        ),
        _ => Finding::warning(
            "guides",
            message,
            "Repair the others: if the last one fails, no process can connect.",
        ),
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
        return Finding::ok("tls", format!("{version}, with a trusted certificate for {name}, in {took}"));
    }
    Finding::warning(
        "tls",
        format!(
            "{version}, but any certificate is accepted, so an attacker on the network can read and change everything"
        ),
        "Remove option 'tls.insecureSkipVerify', and pass the CA with option 'tls.ca'.",
    )
}

fn version(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS",
    }
}

fn unencrypted(address: &Address, cause: &io::Error) -> Finding {
    match tls_fault(cause) {
        Some(TlsFault { what, advice }) => {
            Finding::error("tls", format!("{address} {what}: {cause}"), advice)
        }
        None => {
            let advice = "Check that the server supports TLS on this port, and that no firewall closes the connection.";
            Finding::error("tls", format!("{address} cannot be reached over TLS: {cause}"), advice)
        }
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
