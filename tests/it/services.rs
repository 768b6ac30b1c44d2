//! What services and proxies refuse, or limit, that a server of one's own does not.

use posthog_flag_cache::config::target::{Endpoint, Login, Topology};
use posthog_flag_cache::error::Code;
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::redis::RedisStore;
use tokio::time::timeout;

use crate::support::content::{published, state};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{PATIENCE, heal, store_at};
use crate::support::rewriting_proxy::{Change, NOTHING, rewriting_proxy};
use crate::support::users::{allow, documented_user};

/// A proxy to this server that changes each command.
fn behind(server: &RedisServer, change: Change) -> Endpoint {
    let address = rewriting_proxy(server.port, change, NOTHING);
    Endpoint { topology: Topology::Server(address), ..server.endpoint() }
}

fn calls(server: &RedisServer, command: &str, of: &str) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut server.client()).unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")));
    let value = line.and_then(|line| line.split(',').find_map(|part| part.strip_prefix(&format!("{of}="))));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Publishes the definitions over this revision, and then releases the lease: both are announced.
async fn publish_and_release(store: &RedisStore, revision: u64) {
    let (info, bytes) = published(1);
    let next = state(revision + 1, Some(info.clone()));
    assert!(store.commit(revision, &next, Some(bytes.into())).await.unwrap().is_committed());
    let next = state(revision + 2, Some(info));
    assert!(store.commit(revision + 1, &next, None).await.unwrap().is_committed());
}

#[tokio::test]
async fn where_scripts_may_not_publish_the_notice_is_a_command_of_its_own() {
    // As a server that refuses the command within scripts, and as a proxy that refuses each script that contains it.
    let refused: [Change; 2] = [
        [b"redis.pcall('PUBLISH'", b"redis.pcall('PUBLISX'"],
        [b"redis.pcall('PUBLISH'", b"redis,pcall('PUBLISH'"],
    ];
    for change in refused {
        let server = RedisServer::start(&[]);
        let (publisher, follower) = (store_at(&behind(&server, change)), store_at(&server.endpoint()));
        follower.read().await.unwrap();
        let mut notices = follower.watch();
        let gaps = notices.borrow_and_update().gaps;
        for round in 1..=2 {
            let failed = calls(&server, "eval", "failed_calls");
            publish_and_release(&publisher, 2 * round - 2).await;
            let both = notices.wait_for(|notices| notices.count == gaps + 2 * round);
            let told = timeout(PATIENCE, both).await.expect("both notices").unwrap();
            assert_eq!(told.published.as_ref().map(|news| &news.info), Some(&published(1).0));
            assert_eq!(told.gaps, gaps);
            if round == 2 {
                assert_eq!(calls(&server, "eval", "failed_calls"), failed, "a refusal is remembered");
            }
        }
        assert_eq!(calls(&server, "publish", "calls"), 4, "each notice is sent once");
        assert!(publisher.trouble().unwrap().borrow().is_none());
    }
}

#[tokio::test]
async fn without_the_right_to_publish_definitions_are_shared_and_the_missing_right_is_reported() {
    let server = RedisServer::start(&[]);
    let user = documented_user("flags").into_iter().filter(|word| word != "+publish");
    allow(&mut server.client(), &user.collect::<Vec<_>>());
    let login = Login { username: Some("flags".into()), password: Some("password".into()) };
    let store = store_at(&Endpoint { login, ..server.endpoint() });
    publish_and_release(&store, 0).await;
    let error = store.trouble().unwrap().borrow().clone().expect("a report");
    assert_eq!(error.code(), Code::Auth, "{error}");
    assert!(error.to_string().contains("publish") && error.to_string().contains("next poll"), "{error}");
    heal(&store_at(&server.endpoint())).await;
    assert_eq!(store.load(None).await.unwrap().1, Some(published(1).1));
}
