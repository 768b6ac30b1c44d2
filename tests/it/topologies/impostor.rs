//! A sentinel or a cluster node that names a foreign server: who gets the password?

use std::io::Read;
use std::net::TcpListener;
use std::sync::{Arc, mpsc};

use posthog_flag_cache::config::target::{Endpoint, Login, Topology};
use posthog_flag_cache::config::tls::Tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::authority::Authority;
use crate::support::deployment::{MASTER, run};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{read_error, store_at};

const NAME: &str = "cache.example";
const ADDRESS: &str = "127.0.0.1";
const PASSWORD: &str = "s3cret";

/// A foreign server, which reports what it hears first on each connection, and hangs up.
struct Impostor {
    port: u16,
    heard: mpsc::Receiver<String>,
}

impl Impostor {
    /// `identity`: its certificate and key; `None`: it speaks no TLS.
    fn start(identity: Option<(String, String)>) -> Self {
        let config = identity.map(|(certificate, key)| {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let config = ServerConfig::builder().with_no_client_auth();
            Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
        });
        let listener = TcpListener::bind((ADDRESS, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (report, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let first = match &config {
                    None => read(stream),
                    Some(config) => {
                        let connection = ServerConnection::new(config.clone()).unwrap();
                        read(StreamOwned::new(connection, stream))
                    }
                };
                if report.send(first).is_err() {
                    break;
                }
            }
        });
        Impostor { port, heard }
    }

    /// Whether a store that a guide sends here tells the password; its call fails in any case. An
    /// impostor is for one store: it connects again until it is dropped.
    async fn hears_password(self, endpoint: &Endpoint) -> bool {
        read_error(&store_at(endpoint)).await;
        let first = self.heard.recv().unwrap();
        std::iter::once(first).chain(self.heard.try_iter()).any(|heard| heard.contains(PASSWORD))
    }
}

/// The first bytes; a refused handshake leaves none.
fn read(mut stream: impl Read) -> String {
    let mut bytes = [0; 1024];
    let length = stream.read(&mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// A server with a certificate for this name, or without TLS.
fn server(certified: Option<(&Authority, &str)>, arguments: &[&str]) -> RedisServer {
    let Some((authority, name)) = certified else { return RedisServer::start(arguments) };
    let certificate = authority.server_arguments(name);
    let certificate: Vec<_> = certificate.iter().map(String::as_str).collect();
    RedisServer::start_with_tls(&[&certificate, &["--tls-auth-clients", "no"][..], arguments].concat())
}

fn login() -> Login {
    Login { username: Some("worker".into()), password: Some(PASSWORD.into()) }
}

/// A sentinel that takes the impostor for the primary.
fn sentinel(certified: Option<(&Authority, &str)>, impostor: u16) -> (RedisServer, Endpoint) {
    let sentinel = server(certified, &["--sentinel"]);
    run(&sentinel, &["SENTINEL", "MONITOR", MASTER, ADDRESS, &impostor.to_string(), "1"]);
    let sentinels = vec![sentinel.address()];
    let topology = Topology::Sentinel { sentinels, master: MASTER.into(), login: Login::default() };
    let endpoint = Endpoint { topology, login: login(), ..sentinel.endpoint() };
    (sentinel, endpoint)
}

/// A node, with all slots, that announces the impostor's port as its own.
fn node(certified: Option<(&Authority, &str)>, impostor: u16) -> (RedisServer, Endpoint) {
    let port = impostor.to_string();
    let announced = ["--cluster-announce-port", &port, "--cluster-announce-tls-port", &port];
    let tls: &[_] = if certified.is_some() { &["--tls-cluster", "yes"] } else { &[] };
    let arguments = [&["--cluster-enabled", "yes", "--cluster-announce-ip", ADDRESS], &announced[..], tls];
    let node = server(certified, &arguments.concat());
    let slots: Vec<_> = (0..16_384).map(|slot: u16| slot.to_string()).collect();
    let slots: Vec<_> = slots.iter().map(String::as_str).collect();
    run(&node, &[&["CLUSTER", "ADDSLOTS"], &slots[..]].concat());
    run(&node, &["ACL", "SETUSER", "worker", "on", &format!(">{PASSWORD}"), "+@all", "~*", "&*"]);
    let topology = Topology::Cluster { seeds: vec![node.address()] };
    let endpoint = Endpoint { topology, login: login(), ..node.endpoint() };
    (node, endpoint)
}

type Guide = fn(Option<(&Authority, &str)>, u16) -> (RedisServer, Endpoint);
const GUIDES: [Guide; 2] = [sentinel, node];

#[tokio::test]
async fn without_tls_every_server_that_a_seed_names_gets_the_password() {
    for guide in GUIDES {
        let impostor = Impostor::start(None);
        let (_server, endpoint) = guide(None, impostor.port);
        assert!(impostor.hears_password(&endpoint).await);
    }
}

#[tokio::test]
async fn with_a_private_ca_a_server_of_another_ca_does_not_get_the_password() {
    let (authority, other) = (Authority::new(), Authority::new());
    // An authority that everybody can get a certificate from, such as the system's.
    let both = Tls { ca: Some(authority.pem() + &other.pem()), ..Tls::default() };
    let unchecked = Tls { insecure_skip_verify: true, ..Tls::default() };
    for guide in GUIDES {
        for (tls, is_told) in [(authority.trusted(), false), (both.clone(), true), (unchecked.clone(), true)]
        {
            let impostor = Impostor::start(Some(other.identity(ADDRESS)));
            let (_server, endpoint) = guide(Some((&authority, ADDRESS)), impostor.port);
            let endpoint = Endpoint { tls: Some(tls), ..endpoint };
            assert_eq!(impostor.hears_password(&endpoint).await, is_told);
        }
    }
}

#[tokio::test]
async fn with_a_server_name_a_server_of_another_name_does_not_get_the_password() {
    let authority = Authority::new();
    for guide in GUIDES {
        let named = Tls { server_name: Some(NAME.into()), ..authority.trusted() };
        for (name, is_told) in [(ADDRESS, false), (NAME, true)] {
            let impostor = Impostor::start(Some(authority.identity(name)));
            let (_server, endpoint) = guide(Some((&authority, NAME)), impostor.port);
            let endpoint = Endpoint { tls: Some(named.clone()), ..endpoint };
            assert_eq!(impostor.hears_password(&endpoint).await, is_told, "{name}");
        }
    }
}
