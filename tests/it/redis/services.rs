//! What some services and proxies refuse.

use std::time::Duration;

use bytes::Bytes;
use posthog_flag_cache::config::target::{Endpoint, Topology};
use posthog_flag_cache::error::Code;
use posthog_flag_cache::state::SnapshotInfo;
use posthog_flag_cache::store::{Delivery, Store};

use crate::support::content::{published, state};
use crate::support::older_protocol::rewriting;
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{PATIENCE, heal, read_error, store_at};

#[tokio::test]
async fn where_a_script_may_not_publish_the_store_does_it_itself() {
    let server = RedisServer::start(&[]);
    let refusing = rewriting(server.port, [b"'PUBLISH'", b"'PUBLISX'"], [b"unused", b"unused"]);
    let store = store_at(&Endpoint { topology: Topology::Server(refusing), ..server.endpoint() });
    let listener = store_at(&server.endpoint());
    heal(&listener).await;
    let mut notices = listener.watch();
    for _ in 0..2 {
        notices.mark_unchanged();
        heal(&store).await;
        tokio::time::timeout(PATIENCE, notices.changed()).await.expect("a notice").unwrap();
        let told = notices.borrow().published.clone().expect("it says what is new");
        assert_eq!(told.info, published(1).0);
    }
    // The first commit tried in the script, the others knew.
    let mut client = server.client();
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut client).unwrap();
    assert!(stats.contains("cmdstat_publish:calls=3,"), "listener's one, and two apart: {stats}");
}

#[tokio::test]
async fn a_server_without_scripts_is_named_as_such() {
    let server = RedisServer::start(&["--rename-command", "EVALSHA", "", "--rename-command", "EVAL", ""]);
    let garnet = RedisServer::start(&[]);
    let refusal = rewriting(
        garnet.port,
        [b"\r\nEVALSHA\r\n", b"\r\nEVALSHX\r\n"],
        // As long as what Redis says, and what Garnet says as far as it matters.
        [b"unknown command 'EVALSHX', with args ", b"Lua scripting support disabled, args "],
    );
    for endpoint in [server.endpoint(), Endpoint { topology: Topology::Server(refusal), ..garnet.endpoint() }]
    {
        let error = read_error(&store_at(&endpoint)).await;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.to_string().contains("runs no Lua scripts"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_what_is_not_needed_is_as_good_as_another() {
    let refused = ["CLIENT", "INFO", "SELECT", "CONFIG", "HELLO"];
    let refused: Vec<_> = refused.iter().flat_map(|name| ["--rename-command", name, ""]).collect();
    let server = RedisServer::start(&refused);
    heal(&store_at(&server.endpoint())).await;
}

#[tokio::test]
async fn a_request_that_is_too_long_is_an_error_and_the_state_stays() {
    // Longer than the server's query buffer may be, it closes the connection.
    let server = RedisServer::start(&["--proto-max-bulk-len", "1mb"]);
    let store = store_at(&server.endpoint());
    heal(&store).await;
    let before = store.read().await.unwrap().state;
    let bytes = Bytes::from(vec![b' '; 2 * 1024 * 1024]);
    let (info, _) = published(2);
    let info = SnapshotInfo { bytes: bytes.len() as u64, ..info };
    let next = state(2, Some(info));
    let error = store.commit(1, &next, Some(bytes.into())).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert_eq!(store.read().await.unwrap().state, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_at_first_sends_notices_later() {
    let server = RedisServer::start(&["--lua-time-limit", "50"]);
    let mut endless = server.client();
    let running = std::thread::spawn(move || {
        let _ = redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut endless);
    });
    let mut client = server.client();
    while redis::cmd("PING").exec(&mut client).is_ok() {}
    let store = store_at(&server.endpoint());
    let error = read_error(&store).await;
    assert!(error.to_string().contains("BUSY"), "{error}");
    redis::cmd("SCRIPT").arg("KILL").exec(&mut client).unwrap();
    running.join().unwrap();

    let subscribed = async {
        while store.backend().link.notices != Some(Delivery::Push) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, subscribed).await.expect("it subscribes by itself");
    let mut notices = store.watch();
    notices.mark_unchanged();
    heal(&store_at(&server.endpoint())).await;
    tokio::time::timeout(PATIENCE, notices.changed()).await.expect("a notice").unwrap();
}
