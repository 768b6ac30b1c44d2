//! How many round trips a store in Redis waits for.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::config::target::{Address, Endpoint, Login, Target, Topology};
use posthog_flag_cache::store::redis::RedisStore;
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::worker::provider::Provider;
use redis::{FromRedisValue, Value};

use crate::support::authority::Authority;
use crate::support::content::{definitions, options};
use crate::support::deployment::MASTER;
use crate::support::distance::Distance;
use crate::support::older_protocol::WITHOUT_HELLO;
use crate::support::redis_server::RedisServer;

/// A process that polls as often as the link allows. Its timeouts are long: these tests count, they do not measure.
fn provider(endpoint: &Endpoint) -> Provider {
    let limits =
        [("connectTimeoutMs", 30_000.0), ("commandTimeoutMs", 30_000.0), ("refreshIntervalMs", 100.0)];
    let options = options(&limits.map(|(name, limit)| (name, Given::Number(limit))));
    let options = Options { target: Target::Redis(Box::new(endpoint.clone())), ..options };
    let store = RedisStore::new(endpoint, &options);
    Provider::new(&options, Arc::new(SharedStore::new(Arc::new(store))))
}

/// Publishes definitions, so that the server knows the scripts.
async fn publish(endpoint: &Endpoint) -> Provider {
    let leader = provider(endpoint);
    assert!(leader.poll(None).await.unwrap().fetches());
    leader.received(Arc::new(definitions(1)), None).await.unwrap();
    leader
}

/// The round trips until a new process has the definitions.
async fn first_read(endpoint: &Endpoint, distance: &Distance) -> usize {
    let reader = provider(endpoint);
    let found = reader.get(None).await.unwrap().unwrap();
    assert_eq!(found.snapshot().unwrap().version(), definitions(1).version());
    distance.round_trips()
}

#[tokio::test]
async fn the_first_definitions_take_tcp_the_login_and_a_script() {
    let (server, distance) = (RedisServer::start(&[]), Distance::default());
    publish(&server.endpoint()).await;
    let topology = Topology::Server(distance.to(server.port));
    assert_eq!(first_read(&Endpoint { topology, ..server.endpoint() }, &distance).await, 3);
}

#[tokio::test]
async fn the_first_lease_on_a_server_without_our_scripts_takes_one_more_for_both() {
    let (server, distance) = (RedisServer::start(&[]), Distance::default());
    let endpoint = Endpoint { topology: Topology::Server(distance.to(server.port)), ..server.endpoint() };
    assert!(provider(&endpoint).poll(None).await.unwrap().fetches());
    // TCP, the login, a script that is not there, the same in full, and the other one in full.
    assert_eq!(distance.round_trips(), 5);
}

#[tokio::test]
async fn tls_takes_one_more() {
    let (authority, distance) = (Authority::new(), Distance::default());
    let certificate = authority.server_arguments("127.0.0.1");
    let certificate: Vec<_> = certificate.iter().map(String::as_str).collect();
    let server = RedisServer::start_with_tls(&[&certificate, &["--tls-auth-clients", "no"][..]].concat());
    let near = Endpoint { tls: Some(authority.trusted()), ..server.endpoint() };
    publish(&near).await;
    let topology = Topology::Server(distance.to(server.port));
    assert_eq!(first_read(&Endpoint { topology, ..near }, &distance).await, 4);
}

#[tokio::test]
async fn without_resp3_the_refused_login_another_tcp_and_a_ping_are_added() {
    let (server, distance) = (RedisServer::start(&WITHOUT_HELLO), Distance::default());
    publish(&server.endpoint()).await;
    let topology = Topology::Server(distance.to(server.port));
    assert_eq!(first_read(&Endpoint { topology, ..server.endpoint() }, &distance).await, 3 + 3);
}

#[tokio::test]
async fn a_sentinel_takes_tcp_and_one_command_and_the_primary_one_for_its_role() {
    let (server, distance) = (RedisServer::start(&[]), Distance::default());
    publish(&server.endpoint()).await;
    let Address::Tcp(host, port) = distance.to(server.port) else { unreachable!() };
    let reply = format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.to_string().len());
    let sentinels = vec![distance.to(seed(reply))];
    let topology = Topology::Sentinel { sentinels, master: MASTER.into(), login: Login::default() };
    assert_eq!(first_read(&Endpoint { topology, ..server.endpoint() }, &distance).await, 2 + 4);
}

#[tokio::test]
async fn a_node_of_a_cluster_takes_tcp_and_one_command() {
    let (server, distance) = (RedisServer::start(&[]), Distance::default());
    publish(&server.endpoint()).await;
    let Address::Tcp(host, port) = distance.to(server.port) else { unreachable!() };
    let reply = format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n${}\r\n{host}\r\n:{port}\r\n", host.len());
    let topology = Topology::Cluster { seeds: vec![distance.to(seed(reply))] };
    assert_eq!(first_read(&Endpoint { topology, ..server.endpoint() }, &distance).await, 2 + 3);
}

#[tokio::test]
async fn a_poll_takes_one_and_the_leaders_poll_one_more_for_its_outcome() {
    let (server, distance) = (RedisServer::start(&[]), Distance::default());
    let endpoint = Endpoint { topology: Topology::Server(distance.to(server.port)), ..server.endpoint() };
    let leader = publish(&endpoint).await;
    let follower = provider(&endpoint);
    follower.get(None).await.unwrap();
    let before = distance.round_trips();
    follower.get(None).await.unwrap();
    assert_eq!(distance.round_trips() - before, 1);
    let before = distance.round_trips();
    assert!(leader.poll(None).await.unwrap().fetches());
    leader.confirmed(definitions(1).version()).await.unwrap();
    assert_eq!(distance.round_trips() - before, 2);
}

#[tokio::test]
async fn the_first_script_follows_the_subscription_so_that_no_notice_is_missed_after_it() {
    // Its slow log has every command, the latest first.
    let server = RedisServer::start(&["--slowlog-log-slower-than", "0"]);
    publish(&server.endpoint()).await;
    let log: Vec<Vec<Value>> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query(&mut server.client()).unwrap();
    let name = |entry: &Vec<Value>| Vec::<String>::from_redis_value_ref(&entry[3]).unwrap()[0].to_uppercase();
    let names: Vec<_> = log.iter().rev().map(name).collect();
    let at = |command: &str| names.iter().position(|name| name == command);
    assert!(at("SUBSCRIBE").is_some() && at("SUBSCRIBE") < at("EVALSHA"), "{names:?}");
}

/// The port of a server that answers every question with this reply.
fn seed(reply: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().try_for_each(|client| answer(client?, &reply)));
    port
}

fn answer(mut client: TcpStream, reply: &str) -> std::io::Result<()> {
    let mut asked = [0; 4_096];
    while let length @ 1.. = client.read(&mut asked)? {
        let names = String::from_utf8_lossy(&asked[..length]).matches("SETINFO").count();
        let reply = if names > 0 { "+OK\r\n".repeat(names) } else { reply.to_owned() };
        client.write_all(reply.as_bytes())?;
    }
    Ok(())
}
