//! A cluster, in which one node has our slot.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::config::target::{Address, Endpoint, Login};
use posthog_flag_cache::error::Code;
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::redis::RedisStore;

use crate::support::authority::Authority;
use crate::support::content::{options, published, state};
use crate::support::deployment::{Cluster, connects_to, is_connected_to, run, text};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{LIMIT, connected, heal, read_error, store_at};
use crate::support::users::{allow, documented_user};

const DATA: &str = "posthog:flags:{phc_test}";
const STATE: &str = "posthog:flags:{phc_test}:state";

fn seeds(cluster: &Cluster) -> Vec<Address> {
    cluster.servers.iter().map(RedisServer::address).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_leads_to_the_one_with_our_slot_and_hanging_ones_do_not_matter() {
    let cluster = Cluster::start(false);
    let owner = cluster.owner(DATA);
    for seed in seeds(&cluster) {
        let store = store_at(&cluster.endpoint(vec![seed]));
        heal(&store).await;
        let connected: Vec<_> = (0..3).filter(|&node| is_connected_to(&cluster.servers[node])).collect();
        assert_eq!(connected, [owner], "to no other node");
    }
    let store = store_at(&cluster.endpoint(seeds(&cluster)));
    heal(&store).await;
    let hung = [(owner + 1) % 3, (owner + 2) % 3];
    hung.iter().for_each(|&node| signal(&cluster.servers[node], libc::SIGSTOP));
    let started = Instant::now();
    heal(&store).await;
    run(&cluster.servers[owner], &["SCRIPT", "FLUSH"]);
    heal(&store).await;
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());

    // Nor for a new connection, whichever is asked first.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut all = seeds(&cluster);
    all.push(Address::Tcp("127.0.0.1".into(), 1));
    all.push(Address::Tcp("127.0.0.1".into(), socket.local_addr().unwrap().port()));
    let started = Instant::now();
    store_at(&cluster.endpoint(all)).read().await.unwrap();
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    hung.iter().for_each(|&node| signal(&cluster.servers[node], libc::SIGCONT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_can_move_while_it_is_used() {
    let cluster = Cluster::start(false);
    let (slot, from) = (cluster.slot(DATA).to_string(), cluster.owner(DATA));
    let to = (from + 1) % 3;
    let (source, target) = (&cluster.servers[from], &cluster.servers[to]);
    let store = store_at(&cluster.endpoint(vec![source.address()]));
    let bystander = store_at(&cluster.endpoint(vec![target.address()]));
    let user = [documented_user("flags"), vec!["+cluster|slots".into(), "+asking".into()]].concat();
    cluster.servers.iter().for_each(|server| allow(&mut server.client(), &user));
    let login = Login { username: Some("flags".into()), password: Some("password".into()) };
    let limited = store_at(&Endpoint { login, ..cluster.endpoint(vec![source.address()]) });
    heal(&store).await;
    heal(&bystander).await;
    heal(&limited).await;

    run(target, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &cluster.id(from)]);
    run(source, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &cluster.id(to)]);
    heal(&store).await;
    heal(&limited).await;
    let migrate = |key: &str| {
        run(source, &["MIGRATE", "127.0.0.1", &target.port.to_string(), key, "0", "5000"]);
    };
    // Between the two keys neither node can serve us: the command waits.
    migrate(DATA);
    let reading = async {
        let started = Instant::now();
        store.read().await.unwrap();
        started.elapsed()
    };
    let second_half = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        migrate(STATE);
    };
    let (waited, ()) = tokio::join!(reading, second_half);
    assert!(waited >= Duration::from_millis(250), "{waited:?}");
    heal(&store).await;
    assert!(is_connected_to(target));
    heal(&limited).await;

    for server in [target, source] {
        run(server, &["CLUSTER", "SETSLOT", &slot, "NODE", &cluster.id(to)]);
    }
    for store in [&store, &bystander, &limited] {
        heal(store).await;
        announces(&bystander, store).await;
    }
}

/// What one publishes the other hears of.
async fn announces(publisher: &RedisStore, listener: &RedisStore) {
    let mut notices = listener.watch();
    let reading = publisher.read().await.unwrap();
    let (info, bytes) = published(2);
    let next = state(reading.state.revision + 1, Some(info));
    assert!(
        publisher.commit(reading.state.revision, &next, Some(bytes.into())).await.unwrap().is_committed()
    );
    connected(&mut notices).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_is_found_though_the_only_seed_is_dead() {
    let mut cluster = Cluster::start(true);
    // The first master is the one with the replica.
    let project = (0..).map(|number| format!("phc_{number}"));
    let project = project.into_iter().find(|key| cluster.owner(&format!("x{{{key}}}")) == 0).unwrap();
    let endpoint = cluster.endpoint(vec![cluster.servers[0].address()]);
    let store = RedisStore::new(&endpoint, &options(&[("projectKey", Given::Text(project))]));
    heal(&store).await;
    cluster.servers[0].kill();
    connects_to(&cluster.servers[3]).await;
    heal(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_send_us_to_and_fro_are_not_asked_faster() {
    let cluster = Cluster::start(false);
    let (slot, owner) = (cluster.slot(DATA).to_string(), cluster.owner(DATA));
    let store = store_at(&cluster.endpoint(seeds(&cluster)));
    heal(&store).await;
    run(&cluster.servers[owner], &["FLUSHALL"]);
    // Nobody claims the slot: each holds another one for its node.
    for node in 0..3 {
        run(&cluster.servers[node], &["CLUSTER", "SETSLOT", &slot, "NODE", &cluster.id((node + 1) % 3)]);
    }
    let connections = || {
        let numbers = cluster.servers.iter().map(|server| {
            let stats = text(server, &["INFO", "stats"]);
            let (_, number) = stats.split_once("total_connections_received:").unwrap();
            number.lines().next().unwrap().parse::<u64>().unwrap()
        });
        numbers.sum::<u64>()
    };
    let before = connections();
    let mut notices = store.watch();
    let reading_at_every_notice = async {
        loop {
            assert!(store.read().await.is_err());
            notices.changed().await.unwrap();
        }
    };
    let over = tokio::time::timeout(Duration::from_secs(2), reading_at_every_notice).await;
    assert!(over.is_err());
    // Each attempt asks a node and goes to another; the counting itself connects three times.
    let attempts = connections() - before - 3;
    assert!((2..=30).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn a_cluster_without_a_node_for_our_slot_is_unavailable() {
    let server = RedisServer::start(&["--cluster-enabled", "yes"]);
    let alone = Cluster { servers: vec![server] };
    let error = read_error(&store_at(&alone.endpoint(seeds(&alone)))).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.to_string().contains("no node has the slot"), "{error}");
    let server = RedisServer::start(&[]);
    let endpoint = alone.endpoint(vec![server.address()]);
    let error = read_error(&store_at(&endpoint)).await;
    assert!(error.to_string().contains("cluster support disabled"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_of_a_cluster_are_held_to_one_name() {
    let authority = Authority::new();
    let certificate = authority.server_arguments("cache.example");
    let certificate: Vec<_> = certificate.iter().map(String::as_str).collect();
    let tls = ["--tls-auth-clients", "no", "--tls-cluster", "yes", "--tls-replication", "yes"];
    let cluster = Cluster::of(false, |arguments| {
        RedisServer::start_with_tls(&[&certificate, &tls[..], arguments].concat())
    });
    let mut tls = authority.trusted();
    let at = |tls| Endpoint { tls: Some(tls), ..cluster.endpoint(seeds(&cluster)) };
    let error = read_error(&store_at(&at(tls.clone()))).await;
    assert!(error.to_string().contains("not valid for name"), "{error}");
    tls.server_name = Some("cache.example".into());
    heal(&store_at(&at(tls))).await;
}

fn signal(server: &RedisServer, signal: i32) {
    // SAFETY: sends a signal to a child that was not waited for, so that its id is its own.
    assert_eq!(unsafe { libc::kill(server.pid(), signal) }, 0);
}
