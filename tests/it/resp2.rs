//! The store in Redis where the server lacks RESP3, so that notices need a connection of their own.

use std::time::Duration;

use posthog_flag_cache::config::target::{Endpoint, Login, Topology};
use posthog_flag_cache::error::Code;
use posthog_flag_cache::store::redis::RedisStore;
use posthog_flag_cache::store::{Delivery, Link, Store};
use tokio::time::timeout;

use crate::support::authority::Authority;
use crate::support::content::{published, state};
use crate::support::deployment::{Cluster, Watched};
use crate::support::older_protocol::{Hello, WITHOUT_HELLO, server_without_resp3};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{PATIENCE, connected, fails_at_once, heal, read_error, store_at};
use crate::support::users::{allow, documented_user};

fn endpoint(server: &RedisServer, hello: Hello) -> Endpoint {
    Endpoint { topology: Topology::Server(server_without_resp3(server.port, hello)), ..server.endpoint() }
}

fn login(username: Option<&str>, password: &str) -> Login {
    Login { username: username.map(str::to_owned), password: Some(password.into()) }
}

/// Waits until this is known of the connection.
async fn until(store: &RedisStore, is_so: impl Fn(&Link) -> bool) -> Link {
    let so = async {
        loop {
            let link = store.backend().link;
            if is_so(&link) {
                return link;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, so).await.expect("it becomes so")
}

async fn subscribed(store: &RedisStore) {
    let link = until(store, |link| link.notices == Some(Delivery::SecondConnection)).await;
    assert_eq!(link.protocol, Some("RESP2"));
}

/// The ids of the connections that have subscribed, and of those that have not.
fn connections(server: &RedisServer) -> (Vec<u64>, Vec<u64>) {
    let mut client = server.client();
    let own: u64 = redis::cmd("CLIENT").arg("ID").query(&mut client).unwrap();
    let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut client).unwrap();
    let id = |line: &str| line.split([' ', '=']).nth(1).unwrap().parse().unwrap();
    let lines = list.lines().filter(|line| id(line) != own);
    let (with, without): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains(" sub=1 "));
    (with.into_iter().map(id).collect(), without.into_iter().map(id).collect())
}

/// An edit by another process arrives as a notice.
async fn is_told(store: &RedisStore, publisher: &RedisStore) {
    let mut notices = store.watch();
    let before = notices.borrow_and_update().gaps;
    heal(publisher).await;
    timeout(PATIENCE, notices.changed()).await.expect("a notice").unwrap();
    let told = notices.borrow();
    assert_eq!(told.published.as_ref().map(|news| &news.info), Some(&published(1).0));
    assert_eq!(told.gaps, before);
}

#[tokio::test]
async fn each_way_of_refusing_resp3_leaves_everything_working() {
    for hello in Hello::ALL {
        let server = RedisServer::start(&[]);
        let store = store_at(&endpoint(&server, hello));
        heal(&store).await;
        subscribed(&store).await;
        is_told(&store, &store_at(&server.endpoint())).await;
        let name = store.backend().link.server;
        assert_eq!(name.is_some(), hello != Hello::Unknown, "{hello:?}: {name:?}");
    }
}

#[tokio::test]
async fn a_server_with_resp3_pushes_notices_on_its_one_connection() {
    let server = RedisServer::start(&[]);
    let store = store_at(&server.endpoint());
    heal(&store).await;
    let link = until(&store, |link| link.notices.is_some()).await;
    assert_eq!((link.protocol, link.notices), (Some("RESP3"), Some(Delivery::Push)));
    let (with, without) = connections(&server);
    assert_eq!((with.len(), without.len()), (1, 0));
}

#[tokio::test]
async fn the_connection_for_commands_does_not_subscribe_and_both_are_closed_together() {
    let server = RedisServer::start(&[]);
    let store = store_at(&endpoint(&server, Hello::Proto2));
    heal(&store).await;
    subscribed(&store).await;
    let (with, without) = connections(&server);
    assert_eq!((with.len(), without.len()), (1, 1));
    store.close();
    let closed = async {
        while connections(&server) != (vec![], vec![]) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, closed).await.expect("nothing stays open");
    heal(&store).await;
    subscribed(&store).await;
}

#[tokio::test]
async fn every_login_works_and_a_wrong_one_is_refused() {
    for hello in Hello::ALL {
        let server = RedisServer::start(&["--requirepass", "default's"]);
        let mut client = redis::Client::open(format!("redis://:default's@127.0.0.1:{}", server.port))
            .unwrap()
            .get_connection()
            .unwrap();
        let endpoint = endpoint(&server, hello);
        let user = documented_user("flags").into_iter().chain(["+select".to_owned()]);
        allow(&mut client, &user.collect::<Vec<_>>());
        for (login, database) in [(login(None, "default's"), 0), (login(Some("flags"), "password"), 7)] {
            let store = store_at(&Endpoint { login, database, ..endpoint.clone() });
            heal(&store).await;
            subscribed(&store).await;
            redis::cmd("SELECT").arg(database).exec(&mut client).unwrap();
            let found: u64 = redis::cmd("DBSIZE").query(&mut client).unwrap();
            assert_eq!(found, 2, "{hello:?}");
            redis::cmd("FLUSHALL").exec(&mut client).unwrap();
        }
        for wrong in [login(None, "wrong"), login(Some("flags"), "wrong"), Login::default()] {
            let store = store_at(&Endpoint { login: wrong, ..endpoint.clone() });
            let error = read_error(&store).await;
            assert_eq!(error.code(), Code::Auth, "{hello:?}: {error}");
            fails_at_once(Code::Auth, &store).await;
        }
    }
}

#[tokio::test]
async fn without_the_permission_to_subscribe_edits_arrive_at_the_next_poll() {
    let server = RedisServer::start(&[]);
    let user = documented_user("flags").into_iter().filter(|word| word != "+subscribe");
    allow(&mut server.client(), &user.collect::<Vec<_>>());
    let login = login(Some("flags"), "password");
    let store = store_at(&Endpoint { login, ..endpoint(&server, Hello::Proto2) });
    heal(&store).await;
    until(&store, |link| link.notices == Some(Delivery::None)).await;
    let before = received(&server);
    // Longer than the first retries would take.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(received(&server) - before, 1, "only that of the test itself");
    let (with, without) = connections(&server);
    assert_eq!((with.len(), without.len()), (0, 1), "the second connection is given up");
    let publisher = store_at(&server.endpoint());
    let (info, bytes) = published(2);
    assert!(publisher.commit(1, &state(2, Some(info)), Some(bytes.into())).await.unwrap().is_committed());
    assert_eq!(store.load(None).await.unwrap().1, Some(published(2).1));
}

#[tokio::test]
async fn a_lost_second_connection_is_replaced_and_what_it_missed_counts_as_a_notice() {
    let server = RedisServer::start(&[]);
    let store = store_at(&endpoint(&server, Hello::NoProto));
    heal(&store).await;
    subscribed(&store).await;
    for _ in 0..3 {
        let (with, without) = connections(&server);
        let mut notices = store.watch();
        let gaps = notices.borrow_and_update().gaps;
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").exec(&mut server.client()).unwrap();
        connected(&mut notices).await;
        assert_eq!(notices.borrow().gaps, gaps + 1);
        let (next, same) = connections(&server);
        assert!(next.len() == 1 && next != with, "{next:?} after {with:?}");
        assert_eq!(same, without, "that for commands stays");
        subscribed(&store).await;
        is_told(&store, &store_at(&server.endpoint())).await;
    }
    assert!(store.trouble().unwrap().borrow().is_none());
}

#[tokio::test]
async fn if_there_is_no_room_for_a_second_connection_it_is_reported_once_and_calls_go_on() {
    let server = RedisServer::start(&[]);
    let store = store_at(&endpoint(&server, Hello::Proto2));
    heal(&store).await;
    subscribed(&store).await;
    let mut client = server.client();
    let limit = |client: &mut redis::Connection, connections: u32| {
        redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(connections).exec(client).unwrap();
    };
    limit(&mut client, 1);
    let mut trouble = store.trouble().unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").exec(&mut client).unwrap();
    timeout(PATIENCE, trouble.changed()).await.expect("it is told").unwrap();
    let error = trouble.borrow_and_update().clone().unwrap().to_string();
    assert!(error.contains("connection for update notifications"), "{error}");
    while stat(&mut client, "rejected_connections") < 3 {
        heal(&store).await;
    }
    assert!(!trouble.has_changed().unwrap());
    limit(&mut client, 100);
    subscribed(&store).await;
}

#[tokio::test]
async fn a_reconnect_does_not_ask_for_resp3_again() {
    let server = RedisServer::start(&[]);
    let store = store_at(&endpoint(&server, Hello::Unknown));
    heal(&store).await;
    subscribed(&store).await;
    // A test's own connection each.
    let (before, own) = (received(&server), 2);
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut server.client()).unwrap();
    heal(&store).await;
    subscribed(&store).await;
    assert_eq!(received(&server) - before - own, 2, "one for commands, one for notices");
}

#[tokio::test]
async fn a_connection_that_ends_between_two_calls_is_replaced_without_a_call() {
    let server = RedisServer::start(&[]);
    for endpoint in [server.endpoint(), endpoint(&server, Hello::Proto2)] {
        let store = store_at(&endpoint);
        heal(&store).await;
        until(&store, |link| link.notices.is_some()).await;
        let mut notices = store.watch();
        notices.mark_unchanged();
        let (with, without) = connections(&server);
        let id = without.first().or(with.first()).unwrap();
        redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).exec(&mut server.client()).unwrap();
        connected(&mut notices).await;
        let (with, without) = connections(&server);
        assert!(with.iter().chain(&without).any(|next| next > id), "{with:?} {without:?}");
    }
}

#[tokio::test]
async fn both_connections_come_back_with_the_server() {
    let mut server = RedisServer::start(&[]);
    let store = store_at(&endpoint(&server, Hello::Proto2));
    heal(&store).await;
    subscribed(&store).await;
    let mut notices = store.watch();
    server.kill();
    assert_eq!(read_error(&store).await.code(), Code::Unavailable);
    fails_at_once(Code::Unavailable, &store).await;
    notices.mark_unchanged();
    server.restart();
    connected(&mut notices).await;
    heal(&store).await;
    subscribed(&store).await;
    is_told(&store, &store_at(&server.endpoint())).await;
}

#[tokio::test]
async fn a_second_connection_that_is_silent_is_given_up_and_replaced() {
    let server = RedisServer::start(&WITHOUT_HELLO);
    let store = store_at(&server.endpoint());
    heal(&store).await;
    subscribed(&store).await;
    let (with, without) = connections(&server);
    // SAFETY: sends a signal to a child that was not waited for, so that its id is its own.
    let signal = |signal| assert_eq!(unsafe { libc::kill(server.pid(), signal) }, 0);
    signal(libc::SIGSTOP);
    until(&store, |link| link.notices == Some(Delivery::None)).await;
    signal(libc::SIGCONT);
    subscribed(&store).await;
    let (next, same) = connections(&server);
    assert!(next != with, "{next:?} after {with:?}");
    assert_eq!(same, without, "no command found out");
    is_told(&store, &store_at(&server.endpoint())).await;
}

#[tokio::test]
async fn it_works_behind_tls() {
    let authority = Authority::new();
    let arguments = authority.server_arguments("127.0.0.1");
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let optional = ["--tls-auth-clients", "no"];
    let server = RedisServer::start_with_tls(&[&arguments, &optional[..], &WITHOUT_HELLO].concat());
    works_at(&Endpoint { tls: Some(authority.trusted()), ..server.endpoint() }).await;
}

#[tokio::test]
async fn it_works_with_sentinel() {
    let watched = Watched::start(1, &WITHOUT_HELLO);
    works_at(&watched.endpoint()).await;
}

#[tokio::test]
async fn it_works_in_a_cluster() {
    let start = |arguments: &[&str]| RedisServer::start(&[arguments, &WITHOUT_HELLO].concat());
    let cluster = Cluster::of(false, start);
    for server in &cluster.servers {
        works_at(&cluster.endpoint(vec![server.address()])).await;
    }
}

async fn works_at(endpoint: &Endpoint) {
    let [store, publisher] = [store_at(endpoint), store_at(endpoint)];
    heal(&store).await;
    subscribed(&store).await;
    is_told(&store, &publisher).await;
}

/// How often somebody has connected to the server.
fn received(server: &RedisServer) -> u64 {
    stat(&mut server.client(), "total_connections_received")
}

fn stat(client: &mut redis::Connection, name: &str) -> u64 {
    let stats: String = redis::cmd("INFO").arg("stats").query(client).unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_connection_for_notices_that_worked_is_replaced_at_once() {
    let server = RedisServer::start(&[]);
    let store = store_at(&endpoint(&server, Hello::NoProto));
    heal(&store).await;
    subscribed(&store).await;
    let started = tokio::time::Instant::now();
    let mut client = server.client();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let mut notices = store.watch();
        let (with, _) = connections(&server);
        redis::cmd("CLIENT").arg(&["KILL", "ID", &with[0].to_string()]).exec(&mut client).unwrap();
        connected(&mut notices).await;
        subscribed(&store).await;
    }
    // With the backoff it would take 9 s at least.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}
