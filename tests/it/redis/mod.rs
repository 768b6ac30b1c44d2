//! The store in Redis when the server or the network misbehaves.

mod stored;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::config::target::Target;
use posthog_flag_cache::config::target::{Endpoint, Login};
use posthog_flag_cache::error::{Code, Error, Result};
use posthog_flag_cache::state::{SnapshotInfo, State};
use posthog_flag_cache::store::redis::RedisStore;
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::store::{Reading, Store};
use posthog_flag_cache::worker::provider::Provider;
use redis::Value;

use crate::support::content::{options, published, state};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{
    COMMAND_MS, LIMIT, PATIENCE, connected, fails_at_once, fails_within, heal, read_error, store_at,
};

#[tokio::test]
async fn a_flushed_script_cache_or_database_is_no_error() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    for _ in 0..2 {
        heal(&store).await;
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).unwrap();
        assert_eq!(store.load(None).await.unwrap().1, Some(published(1).1));
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).unwrap();
    }
    redis::cmd("FLUSHALL").exec(&mut client).unwrap();
    assert_eq!(store.load(None).await.unwrap().0.state, State::default());
}

#[tokio::test]
async fn a_connection_killed_between_two_calls_is_not_noticed() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    heal(&store).await;
    for _ in 0..20 {
        let [id] = connections(&mut client)[..] else { panic!("one connection") };
        redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).exec(&mut client).unwrap();
        assert_eq!(store.load(None).await.unwrap().1, Some(published(1).1));
        let [next] = connections(&mut client)[..] else { panic!("one connection") };
        assert!(next > id);
    }
}

#[tokio::test]
async fn a_stopped_server_fails_the_first_call_within_its_limit_the_others_at_once_and_comes_back() {
    let mut server = RedisServer::start(&[]);
    let store = store(&server);
    heal(&store).await;
    server.kill();
    let mut notices = store.watch();
    fails_within(LIMIT, Code::Unavailable, &store).await;
    fails_at_once(Code::Unavailable, &store).await;
    notices.mark_unchanged();
    server.restart();
    connected(&mut notices).await;
    heal(&store).await;
}

#[tokio::test]
async fn a_server_that_was_never_there_is_unavailable_and_found_when_it_starts() {
    let mut server = RedisServer::start(&[]);
    server.kill();
    let store = store(&server);
    let mut notices = store.watch();
    fails_within(LIMIT, Code::Unavailable, &store).await;
    fails_at_once(Code::Unavailable, &store).await;
    server.restart();
    connected(&mut notices).await;
    heal(&store).await;
}

#[tokio::test]
async fn a_frozen_server_times_out_then_fails_at_once_and_comes_back() {
    let server = RedisServer::start(&[]);
    let store = store(&server);
    heal(&store).await;
    let mut notices = store.watch();
    signal(&server, libc::SIGSTOP);
    fails_within(LIMIT, Code::Timeout, &store).await;
    fails_within(LIMIT, Code::Timeout, &store).await;
    fails_within(LIMIT, Code::Timeout, &store).await;
    fails_at_once(Code::Timeout, &store).await;
    notices.mark_unchanged();
    signal(&server, libc::SIGCONT);
    connected(&mut notices).await;
    heal(&store).await;
}

#[tokio::test]
async fn paused_clients_time_out_within_the_limit_and_go_on_afterwards() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    heal(&store).await;
    let pause = |client: &mut redis::Connection| {
        redis::cmd("CLIENT").arg("PAUSE").arg(600_000).arg("WRITE").exec(client).unwrap();
    };
    pause(&mut client);
    let started = Instant::now();
    fails_within(LIMIT, Code::Timeout, &store).await;
    assert!(started.elapsed() >= Duration::from_millis(COMMAND_MS), "the whole limit was waited for");
    redis::cmd("CLIENT").arg("UNPAUSE").exec(&mut client).unwrap();
    heal(&store).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_until_the_server_takes_it() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store_with(&server, None, Some("right")), server.client());
    let set = |client: &mut redis::Connection, password: &str| {
        redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(password).exec(client).unwrap();
    };
    set(&mut client, "other");
    let mut notices = store.watch();
    fails_within(LIMIT, Code::Auth, &store).await;
    fails_at_once(Code::Auth, &store).await;
    fails_within(LIMIT, Code::Auth, &self::store(&server)).await;
    notices.mark_unchanged();
    set(&mut client, "right");
    connected(&mut notices).await;
    heal(&store).await;
}

#[tokio::test]
async fn missing_permissions_are_reported_as_such() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let rules = ["on", ">secret", "~*", "+@all", "-evalsha"];
    redis::cmd("ACL").arg("SETUSER").arg("weak").arg(&rules).exec(&mut client).unwrap();
    fails_within(LIMIT, Code::Auth, &store_with(&server, Some("weak"), Some("secret"))).await;
    // The right to listen is a luxury.
    let rules = ["on", ">secret", "~*", "+@all", "resetchannels"];
    redis::cmd("ACL").arg("SETUSER").arg("deaf").arg(&rules).exec(&mut client).unwrap();
    let deaf = store_with(&server, Some("deaf"), Some("secret"));
    assert_eq!(deaf.read().await.unwrap().state, State::default());
}

#[tokio::test]
async fn a_replica_is_read_only_until_it_is_promoted() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    heal(&store).await;
    let replicate = |client: &mut redis::Connection, of: [&str; 2]| {
        redis::cmd("REPLICAOF").arg(&of).exec(client).unwrap();
    };
    // Nobody listens there: it keeps what it has.
    replicate(&mut client, ["127.0.0.1", "1"]);
    let before = received(&mut client);
    let error = store.commit(1, &state(2, None), None).await.unwrap_err();
    assert_eq!(error.code(), Code::ReadOnly, "{error}");
    store.read().await.unwrap();
    assert_eq!(received(&mut client), before + 1, "the name may lead to the new master by now");
    replicate(&mut client, ["NO", "ONE"]);
    heal(&store).await;
}

#[tokio::test]
async fn a_replica_that_lost_its_master_is_not_asked_faster() {
    let server = RedisServer::start(&["--replica-serve-stale-data", "no"]);
    let (store, mut client) = (store(&server), server.client());
    heal(&store).await;
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec(&mut client).unwrap();
    let before = received(&mut client);
    fails_at_every_notice(&store, || store.read()).await;
    let attempts = received(&mut client) - before;
    assert!((2..=10).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn a_command_that_breaks_two_connections_in_a_row_is_given_up() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    refuses_large_replies(&store, &mut client).await;
    redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut client).unwrap();
    let error = store.load(None).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut client).unwrap();
    assert!(stats.contains("cmdstat_evalsha:calls=2,"), "it was sent twice: {stats}");

    let mut notices = store.watch();
    assert_eq!(read_error(&store).await.code(), Code::Unavailable, "there is no third connection yet");
    connected(&mut notices).await;
    store.read().await.expect("what is smaller comes through");
    assert_eq!(received(&mut client), 2, "the second one, and the third");
}

#[tokio::test]
async fn a_command_that_breaks_every_connection_breaks_no_more_for_being_sent_at_every_notice() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    refuses_large_replies(&store, &mut client).await;
    let before = received(&mut client);
    // Small replies come through all the time, and make each connection look well.
    fails_at_every_notice(&store, async || {
        let _ = store.read().await;
        store.load(None).await.map(|(reading, _)| reading)
    })
    .await;
    let attempts = received(&mut client) - before;
    assert!((2..=10).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn stores_of_one_identity_share_one_connection() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let options = server.target(options(&[]));
    let shared = [(); 3].map(|()| SharedStore::open(&options));
    for shared in &shared {
        shared.load(None).await.unwrap();
    }
    assert_eq!(connections(&mut client).len(), 1);
    let others = [
        Options { project_key: "other".into(), ..options.clone() },
        Options { max_age: options.max_age * 2, ..options.clone() },
        Options {
            target: Target::Redis(Box::new(Endpoint {
                login: login(None, Some("other")),
                ..server.endpoint()
            })),
            ..options.clone()
        },
    ];
    for options in others {
        assert!(!Arc::ptr_eq(&shared[0], &SharedStore::open(&options)));
    }
    drop(shared);
    closed(&mut client).await;
}

#[tokio::test]
async fn the_last_shutdown_closes_the_connection_and_a_later_cache_opens_another() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let options = server.target(options(&[]));
    let shared = SharedStore::open(&options);
    let [first, last, late] = [(); 3].map(|()| Provider::new(&options, shared.clone()));
    drop(late);
    assert!(first.get(None).await.unwrap().is_none());
    let id = connections(&mut client);
    first.shutdown().await;
    assert!(last.get(None).await.unwrap().is_none());
    assert_eq!(connections(&mut client), id);
    last.shutdown().await;
    closed(&mut client).await;
    let newcomer = Provider::new(&options, shared);
    let (found, ()) = tokio::join!(newcomer.get(None), newcomer.shutdown());
    assert!(found.unwrap().is_none(), "what is under way is not cut off");
    closed(&mut client).await;
}

#[tokio::test]
async fn a_password_may_be_a_word_of_the_servers_own_errors() {
    let server = RedisServer::start(&["--requirepass", "script"]);
    let store = store_with(&server, None, Some("script"));
    assert_eq!(store.read().await.unwrap().state, State::default());
}

#[tokio::test]
async fn a_password_is_in_no_error() {
    const PASSWORD: &str = "s3cr3t/pass word";
    const ENCODED: &str = "s3cr3t%2Fpass%20word";
    let mut server = RedisServer::start(&["--requirepass", "right"]);
    let url = format!("redis://someone:{ENCODED}@127.0.0.1:{}/0", server.port);
    let from_url = options(&[("url", Given::Text(url))]);
    let shown = format!("{from_url:?} {:?} {}", server.endpoint(), server.endpoint());
    assert!(!shown.contains("s3cr3t"), "{shown}");

    let mut errors = Vec::new();
    for username in [None, Some("someone")] {
        errors.push(read_error(&store_with(&server, username, Some(PASSWORD))).await);
    }
    // It answers with what it was sent.
    let baffled = RedisServer::start(&["--rename-command", "HELLO", "", "--rename-command", "AUTH", ""]);
    errors.push(read_error(&store_with(&baffled, None, Some(PASSWORD))).await);
    signal(&server, libc::SIGSTOP);
    errors.push(read_error(&store_with(&server, None, Some(PASSWORD))).await);
    server.kill();
    errors.push(read_error(&store_with(&server, None, Some(PASSWORD))).await);
    let codes: Vec<_> = errors.iter().map(Error::code).collect();
    assert_eq!(codes, [Code::Auth, Code::Auth, Code::Auth, Code::Timeout, Code::Unavailable]);
    for error in errors {
        let mut shown = format!("{error} {error:?}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            shown += &format!(" {error} {error:?}");
            cause = error.source();
        }
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}

fn store(server: &RedisServer) -> RedisStore {
    store_with(server, None, None)
}

fn store_with(server: &RedisServer, username: Option<&str>, password: Option<&str>) -> RedisStore {
    store_at(&Endpoint { login: login(username, password), ..server.endpoint() })
}

fn login(username: Option<&str>, password: Option<&str>) -> Login {
    Login { username: username.map(str::to_owned), password: password.map(str::to_owned) }
}

/// Publishes definitions that are larger than any reply that this server will still send: it closes
/// the connection instead.
async fn refuses_large_replies(store: &RedisStore, client: &mut redis::Connection) {
    let bytes = Bytes::from(vec![b'x'; 1 << 20]);
    let info = SnapshotInfo { bytes: bytes.len() as u64, ..published(1).0 };
    assert!(store.commit(0, &state(1, Some(info)), Some(bytes.into())).await.unwrap().is_committed());
    store.load(None).await.unwrap();
    let limits = "normal 100000 0 0 pubsub 100000 0 0";
    redis::cmd("CONFIG").arg("SET").arg("client-output-buffer-limit").arg(limits).exec(client).unwrap();
}

/// As a listener does, for a while: each new connection is a notice, and each notice a reading.
async fn fails_at_every_notice(store: &RedisStore, read: impl AsyncFn() -> Result<Reading>) {
    let mut notices = store.watch();
    let reading_at_every_notice = async {
        loop {
            assert!(read().await.is_err());
            notices.changed().await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(2), reading_at_every_notice).await.is_err());
}

/// How often somebody has connected to the server.
fn received(client: &mut redis::Connection) -> u64 {
    let stats: String = redis::cmd("INFO").arg("stats").query(client).unwrap();
    let (_, number) = stats.split_once("total_connections_received:").unwrap();
    number.lines().next().unwrap().parse().unwrap()
}

/// The ids of the connections of the stores under test.
fn connections(client: &mut redis::Connection) -> Vec<u64> {
    let list: Value = redis::cmd("CLIENT").arg("LIST").query(client).unwrap();
    let list: String = redis::from_redis_value(list).unwrap();
    let ours = list.lines().filter(|line| line.contains(" name=store "));
    ours.map(|line| line.split([' ', '=']).nth(1).unwrap().parse().unwrap()).collect()
}

/// Waits until there is none.
async fn closed(client: &mut redis::Connection) {
    let closed = async {
        while !connections(client).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the last one closes it");
}

fn signal(server: &RedisServer, signal: i32) {
    // SAFETY: sends a signal to a child that was not waited for, so that its id is its own.
    assert_eq!(unsafe { libc::kill(server.pid(), signal) }, 0);
}
