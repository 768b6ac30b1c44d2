//! The whole contract, wherever Redis is.

use posthog_flag_cache::config::target::{Address, Endpoint, Login, Topology};
use posthog_flag_cache::config::tls::Tls;

use super::{concurrent_ones, simple_ones};
use crate::support::authority::Authority;
use crate::support::deployment::{Cluster, Watched};
use crate::support::older_protocol::{Hello, server_without_resp3};
use crate::support::redis_server::RedisServer;
use crate::support::users::{allow, documented_user};

/// The whole contract, one after another: these places take their time to start.
async fn holds_at(endpoint: &Endpoint) {
    simple_ones(endpoint).await;
    concurrent_ones(endpoint).await;
}

fn user(server: &RedisServer, more: &[&str]) -> Login {
    let line = documented_user("flags").into_iter().chain(more.iter().map(|&right| right.to_owned()));
    allow(&mut server.client(), &line.collect::<Vec<_>>());
    Login { username: Some("flags".into()), password: Some("password".into()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_behind_tls_with_the_documented_permissions() {
    let authority = Authority::new();
    let arguments = authority.server_arguments("127.0.0.1");
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let server = RedisServer::start_with_tls(&arguments);
    let tls = Tls { identity: Some(authority.identity("worker")), ..authority.trusted() };
    holds_at(&Endpoint { tls: Some(tls), login: user(&server, &[]), ..server.endpoint() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_in_another_database_at_a_socket_with_the_documented_permissions() {
    let server = RedisServer::start(&[]);
    let topology = Topology::Server(Address::Unix(server.socket()));
    let login = user(&server, &["+select"]);
    holds_at(&Endpoint { topology, login, database: 7, ..server.endpoint() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_with_sentinel_and_the_documented_permissions() {
    let watched = Watched::start(1, &[]);
    let login = user(&watched.servers[0], &["+role"]);
    holds_at(&Endpoint { login, ..watched.endpoint() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_in_a_cluster_with_the_documented_permissions() {
    let cluster = Cluster::start(false);
    let users: Vec<_> = cluster.servers.iter().map(|server| user(server, &["+cluster|slots"])).collect();
    let seeds = vec![cluster.servers[0].address()];
    holds_at(&Endpoint { login: users[0].clone(), ..cluster.endpoint(seeds) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_without_resp3_and_with_the_documented_permissions() {
    for hello in Hello::ALL {
        let server = RedisServer::start(&[]);
        let topology = Topology::Server(server_without_resp3(server.port, hello));
        holds_at(&Endpoint { topology, login: user(&server, &[]), ..server.endpoint() }).await;
    }
}
