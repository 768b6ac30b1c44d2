//! A master that sentinels name.

use std::net::TcpListener;
use std::time::Instant;

use posthog_flag_cache::config::target::{Address, Endpoint, Login, Topology};
use posthog_flag_cache::error::Code;
use redis::Commands;

use crate::support::authority::Authority;
use crate::support::deployment::{MASTER, Watched, connects_to, is_connected_to, run, until};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{LIMIT, heal, read_error, store_at};
use crate::support::users::{allow, documented_user};

fn with_sentinels(endpoint: &Endpoint, sentinels: Vec<Address>, login: Login) -> Endpoint {
    let topology = Topology::Sentinel { sentinels, master: MASTER.into(), login };
    Endpoint { topology, ..endpoint.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_on_command_is_followed() {
    let watched = Watched::start(1, &[]);
    let store = store_at(&watched.endpoint());
    heal(&store).await;
    assert!(is_connected_to(&watched.servers[0]));
    // It refuses until it has looked at the replica.
    let mut sentinel = watched.sentinels[0].client();
    until(|| redis::cmd("SENTINEL").arg("FAILOVER").arg(MASTER).exec(&mut sentinel).is_ok());
    connects_to(&watched.servers[1]).await;
    heal(&store).await;
    let other: bool = watched.servers[1].client().exists("posthog:flags:{phc_test}").unwrap();
    assert!(other, "the new master has it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_primary_is_replaced_even_if_a_sentinel_died_with_it() {
    let mut watched = Watched::start(3, &[]);
    let store = store_at(&watched.endpoint());
    heal(&store).await;
    watched.servers[0].kill();
    watched.sentinels[0].kill();
    connects_to(&watched.servers[1]).await;
    heal(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_are_gone_or_hang_cost_a_moment() {
    let watched = Watched::start(1, &[]);
    let hanging: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let mut sentinels = vec![Address::Tcp("127.0.0.1".into(), 1), Address::Tcp("sentinel.invalid".into(), 1)];
    sentinels.extend(
        hanging.iter().map(|socket| Address::Tcp("127.0.0.1".into(), socket.local_addr().unwrap().port())),
    );
    sentinels.push(watched.sentinels[0].address());
    let started = Instant::now();
    heal(&store_at(&with_sentinels(&watched.endpoint(), sentinels, Login::default()))).await;
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_server_that_is_not_a_primary_or_unknown_is_not_used() {
    let (server, master, sentinel) =
        (RedisServer::start(&[]), RedisServer::start(&[]), RedisServer::start(&["--sentinel"]));
    run(&server, &["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    let endpoint = with_sentinels(&server.endpoint(), vec![sentinel.address()], Login::default());
    let error = read_error(&store_at(&endpoint)).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.to_string().contains("knows no primary with this name"), "{error}");

    // Sentinels believe what they are told until they have looked.
    run(&sentinel, &["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &server.port.to_string(), "1"]);
    let store = store_at(&endpoint);
    let error = read_error(&store).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.to_string().contains("it is not the primary"), "{error}");
    run(&server, &["REPLICAOF", "NO", "ONE"]);
    connects_to(&server).await;
    heal(&store).await;
}

#[tokio::test]
async fn sentinels_and_servers_have_their_own_logins_with_documented_permissions() {
    let watched = Watched::start(1, &[]);
    let docs = include_str!("../../../docs/redis.md");
    let (_, line) = docs.split_once("`sentinelUsername` | `").unwrap();
    let line = line
        .split_once('`')
        .unwrap()
        .0
        .replace("\\|", "|")
        .replace("flags", "asker")
        .replace(">password", ">other");
    let line: Vec<_> = line.split(' ').map(str::to_owned).collect();
    allow(&mut watched.sentinels[0].client(), &line);
    let user = [documented_user("flags"), vec!["+role".to_owned()]].concat();
    for server in &watched.servers {
        allow(&mut server.client(), &user);
    }
    let login = |username: &str, password: &str| Login {
        username: Some(username.into()),
        password: Some(password.into()),
    };
    let sentinels = || watched.sentinels.iter().map(RedisServer::address).collect();
    let with = |own, sentinel| {
        let login = Endpoint { login: own, ..watched.endpoint() };
        store_at(&with_sentinels(&login, sentinels(), sentinel))
    };
    heal(&with(login("flags", "password"), login("asker", "other"))).await;
    for (own, sentinel) in [
        (login("flags", "password"), login("asker", "s3cr3t")),
        (login("flags", "s3cr3t"), login("asker", "other")),
    ] {
        let error = read_error(&with(own, sentinel)).await;
        assert_eq!(error.code(), Code::Auth, "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
    }
}

#[tokio::test]
async fn sentinels_speak_tls_too_and_one_name_does_for_all() {
    let authority = Authority::new();
    let certificate = authority.server_arguments("cache.example");
    let certificate: Vec<_> = certificate.iter().map(String::as_str).collect();
    let arguments = [&certificate[..], &["--tls-auth-clients", "no", "--tls-replication", "yes"]].concat();
    let server = RedisServer::start_with_tls(&arguments);
    let sentinel = RedisServer::start_with_tls(&[&arguments[..], &["--sentinel"]].concat());
    run(&sentinel, &["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &server.port.to_string(), "1"]);
    let mut tls = authority.trusted();
    let at = |tls| {
        let endpoint = Endpoint { tls: Some(tls), ..server.endpoint() };
        with_sentinels(&endpoint, vec![sentinel.address()], Login::default())
    };
    let error = read_error(&store_at(&at(tls.clone()))).await;
    assert!(error.to_string().contains("not valid for name"), "{error}");
    tls.server_name = Some("cache.example".into());
    heal(&store_at(&at(tls))).await;
}
