//! Whom a store trusts, and as whom it appears.

use std::process::Command;

use posthog_flag_cache::config::target::{Address, Endpoint, Topology};
use posthog_flag_cache::config::tls::Tls;
use posthog_flag_cache::error::Code;
use tempfile::TempDir;

use crate::support::authority::Authority;
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{heal, read_error, store_at};

const NO_CLIENT: [&str; 2] = ["--tls-auth-clients", "no"];

/// A server with a certificate for this name.
fn server(authority: &Authority, name: &str, more: &[&str]) -> RedisServer {
    let certificate = authority.server_arguments(name);
    let certificate: Vec<_> = certificate.iter().map(String::as_str).collect();
    RedisServer::start_with_tls(&[&certificate, more].concat())
}

fn endpoint(server: &RedisServer, tls: Tls) -> Endpoint {
    Endpoint { tls: Some(tls), ..server.endpoint() }
}

/// With TLS 1.3 the connection may break before the server's alert is read.
const REJECTED: &str = "rejected the TLS connection|cannot be reached";

/// `why`: one of these texts, separated by `|`.
async fn refused(endpoint: &Endpoint, why: &str) {
    let error = read_error(&store_at(endpoint)).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(why.split('|').any(|why| error.to_string().contains(why)), "{error}");
}

#[tokio::test]
async fn a_server_with_a_certificate_of_the_given_ca_is_trusted() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", &NO_CLIENT);
    heal(&store_at(&endpoint(&server, authority.trusted()))).await;
    let by_name = Topology::Server(Address::Tcp("localhost".into(), server.port));
    let by_name = Endpoint { topology: by_name, ..endpoint(&server, authority.trusted()) };
    refused(&by_name, "not valid for name \"localhost\"").await;
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let authority = Authority::new();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let server =
            server(&authority, "127.0.0.1", &["--tls-auth-clients", "no", "--tls-protocols", version]);
        heal(&store_at(&endpoint(&server, authority.trusted()))).await;
    }
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused_and_so_is_one_without_tls() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = server(&authority, "127.0.0.1", &NO_CLIENT);
    refused(&endpoint(&server, other.trusted()), "UnknownIssuer").await;
    // Nor do the system's authorities know it.
    refused(&endpoint(&server, Tls::default()), "trust").await;
    let both = Tls { ca: Some(other.pem() + &authority.pem()), ..Tls::default() };
    heal(&store_at(&endpoint(&server, both))).await;

    // Redis without TLS waits for the end of what it takes for a line.
    let plain = RedisServer::start(&[]);
    let error = read_error(&store_at(&endpoint(&plain, authority.trusted()))).await;
    assert_eq!(error.code(), Code::Timeout, "{error}");
    refused(&server.endpoint(), "cannot be reached").await;
}

#[tokio::test]
async fn a_certificate_for_another_name_needs_that_name() {
    let authority = Authority::new();
    let server = server(&authority, "cache.example", &NO_CLIENT);
    refused(&endpoint(&server, authority.trusted()), "not valid for name").await;
    let named = |name: &str| Tls { server_name: Some(name.into()), ..authority.trusted() };
    heal(&store_at(&endpoint(&server, named("cache.example")))).await;
    refused(&endpoint(&server, named("other.example")), "not valid for name").await;
}

#[tokio::test]
async fn any_certificate_will_do_where_that_is_asked_for() {
    let server = server(&Authority::new(), "cache.example", &NO_CLIENT);
    for ca in [None, Some(Authority::new().pem())] {
        let tls = Tls { insecure_skip_verify: true, ca, ..Tls::default() };
        heal(&store_at(&endpoint(&server, tls))).await;
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_one() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = server(&authority, "127.0.0.1", &["--tls-auth-clients", "yes"]);
    let shown = |identity| Tls { identity, ..authority.trusted() };
    heal(&store_at(&endpoint(&server, shown(Some(authority.identity("worker")))))).await;
    refused(&endpoint(&server, shown(None)), REJECTED).await;
    refused(&endpoint(&server, shown(Some(other.identity("worker")))), REJECTED).await;
}

/// The name of the test that runs in a process of its own.
const IN_CHILD: &str = "topologies::tls::in_a_process_of_its_own";

/// Environment variables are of the whole process: each case gets one. It connects with the
/// authority given, and without.
#[tokio::test]
async fn with_a_given_ca_none_of_the_system_is_needed() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", &NO_CLIENT);
    let empty = TempDir::new().unwrap();
    let bundle = empty.path().join("bundle.pem");
    let empty_directory = TempDir::new().unwrap();
    std::fs::write(&bundle, authority.pem()).unwrap();
    let none = ("SSL_CERT_FILE", "/nonexistent/file".to_owned());
    let directory = |path: &str| ("SSL_CERT_DIR", path.to_owned());
    for (variables, without) in [
        (
            vec![none.clone(), directory(empty_directory.path().to_str().unwrap())],
            "no trusted CA certificates",
        ),
        (vec![none, directory("/nonexistent/:nonsense")], "no trusted CA certificates"),
        (vec![("SSL_CERT_FILE", bundle.to_str().unwrap().to_owned()), directory("/nonexistent")], ""),
    ] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", IN_CHILD, "--ignored", "--nocapture"])
            .env("TEST_PORT", server.port.to_string())
            .env("TEST_CA", authority.pem())
            .env("TEST_WITHOUT", without)
            .envs(variables.clone())
            .output()
            .unwrap();
        assert!(output.status.success(), "{variables:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{IN_CHILD} has another name");
    }
}

#[tokio::test]
#[ignore = "run by with_a_given_ca_none_of_the_system_is_needed"]
async fn in_a_process_of_its_own() {
    let variable = |name| std::env::var(name).unwrap();
    let at = |tls| Endpoint {
        topology: Topology::Server(Address::Tcp("127.0.0.1".into(), variable("TEST_PORT").parse().unwrap())),
        tls: Some(tls),
        database: 0,
        login: Default::default(),
        credentials: None,
        client_name: None,
    };
    heal(&store_at(&at(Tls { ca: Some(variable("TEST_CA")), ..Tls::default() }))).await;
    heal(&store_at(&at(Tls { insecure_skip_verify: true, ..Tls::default() }))).await;
    match variable("TEST_WITHOUT").as_str() {
        "" => heal(&store_at(&at(Tls::default()))).await,
        why => refused(&at(Tls::default()), why).await,
    }
}

#[tokio::test]
async fn a_key_is_in_no_error() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = server(&authority, "127.0.0.1", &["--tls-auth-clients", "yes"]);
    let (certificate, key) = other.identity("worker");
    let tls = Tls { identity: Some((certificate, key.clone())), ..authority.trusted() };
    let endpoint = endpoint(&server, tls);
    let error = read_error(&store_at(&endpoint)).await;
    let shown = format!("{error} {error:?} {endpoint} {endpoint:?} {:?}", endpoint.tls);
    for line in key.lines() {
        assert!(!shown.contains(line), "{shown}");
    }
}
