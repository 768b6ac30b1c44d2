//! What some services and proxies refuse.

use posthog_flag_cache::config::target::{Endpoint, Topology};
use posthog_flag_cache::error::Code;
use posthog_flag_cache::store::Store;

use crate::support::content::published;
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
    let error = read_error(&store_at(&server.endpoint())).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.to_string().contains("runs no Lua scripts"), "{error}");
}
