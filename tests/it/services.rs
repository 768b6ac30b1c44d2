//! What services and proxies refuse, or limit, that a server of one's own does not.

use std::io::Write;
use std::net::TcpListener;
use std::thread::spawn;
use std::time::Duration;

use bytes::Bytes;
use posthog_flag_cache::config::target::{Address, Endpoint, Login, Topology};
use posthog_flag_cache::config::tls::Tls;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::state::SnapshotInfo;
use posthog_flag_cache::store::redis::RedisStore;
use posthog_flag_cache::store::{Delivery, Store};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::authority::Authority;
use crate::support::content::{published, state};
use crate::support::older_protocol::Hello;
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{PATIENCE, connected, heal, read_error, store_at};
use crate::support::rewriting_proxy::{Change, NOTHING, rewriting_proxy};
use crate::support::users::{allow, documented_user};

/// A proxy to this server that changes each command.
fn behind(server: &RedisServer, change: Change) -> Endpoint {
    let address = rewriting_proxy(server.port, change, NOTHING);
    Endpoint { topology: Topology::Server(address), ..server.endpoint() }
}

/// How often the server was sent this command.
fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut server.client()).unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    calls.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
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
async fn if_scripts_may_not_publish_the_notice_is_a_separate_command() {
    // A server that refuses the command within scripts (it knows no script by the hash of ours), and a proxy that refuses
    // each script that contains it.
    let refusals: [(Change, u64); 2] = [
        ([b"redis.pcall('PUBLISH'", b"redis.pcall('PUBLISX'"], 2),
        ([b"redis.pcall('PUBLISH'", b"redis pcall('PUBLISH'"], 0),
    ];
    for (change, evals) in refusals {
        let server = RedisServer::start(&[]);
        let (publisher, follower) = (store_at(&behind(&server, change)), store_at(&server.endpoint()));
        follower.read().await.unwrap();
        let mut notices = follower.watch();
        let gaps = notices.borrow_and_update().gaps;
        for round in 1..=2 {
            let before = calls(&server, "eval");
            publish_and_release(&publisher, 2 * round - 2).await;
            let both = notices.wait_for(|notices| notices.count == gaps + 2 * round);
            let told = timeout(PATIENCE, both).await.expect("both notices").unwrap();
            assert_eq!(told.published.as_ref().map(|news| &news.info), Some(&published(1).0));
            assert_eq!(told.gaps, gaps);
            if round == 2 {
                assert_eq!(calls(&server, "eval") - before, evals, "a refusal is remembered");
            }
        }
        assert_eq!(calls(&server, "publish"), 4, "each notice is sent once");
        assert!(publisher.trouble().unwrap().borrow().is_none());
    }
}

#[tokio::test]
async fn without_the_permission_to_publish_definitions_are_shared_and_the_missing_permission_is_reported() {
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

#[tokio::test]
async fn a_server_without_scripts_is_named_as_such() {
    let renamed = ["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""];
    let server = RedisServer::start(&renamed);
    // As Garnet without `--lua` says it.
    let disabled: Change = [
        b"unknown command 'EVALSHA', with args beginning with:",
        b"This instance has Lua scripting support disabled ...",
    ];
    let garnet = Topology::Server(rewriting_proxy(server.port, NOTHING, disabled));
    for endpoint in [server.endpoint(), Endpoint { topology: garnet, ..server.endpoint() }] {
        let error = read_error(&store_at(&endpoint)).await;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.to_string().contains("does not run Lua scripts (EVAL)"), "{error}");
    }
}

#[tokio::test]
async fn client_and_info_are_not_needed() {
    let server = RedisServer::start(&["--rename-command", "CLIENT", "", "--rename-command", "INFO", ""]);
    for endpoint in [server.endpoint(), behind(&server, Hello::Proto2.command())] {
        let store = store_at(&endpoint);
        let notices = store.watch();
        let told = async {
            while notices.borrow().published.is_none() {
                heal(&store).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, told).await.expect("a notice");
    }
}

#[tokio::test]
async fn where_select_is_refused_the_error_says_to_use_database_0() {
    let server = RedisServer::start(&["--rename-command", "SELECT", ""]);
    heal(&store_at(&server.endpoint())).await;
    let cluster = RedisServer::start(&["--cluster-enabled", "yes"]);
    for server in [server, cluster] {
        let error = read_error(&store_at(&Endpoint { database: 3, ..server.endpoint() })).await;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.to_string().contains("/3 does not allow this database"), "{error}");
        assert!(error.to_string().contains("Use database 0"), "{error}");
    }
}

#[tokio::test]
async fn definitions_that_exceed_the_limit_of_a_request_are_named_with_their_size_and_small_ones_pass() {
    // One server refuses the command and closes the connection, the other one only closes it.
    for limit in ["--proto-max-bulk-len", "--client-query-buffer-limit"] {
        let server = RedisServer::start(&[limit, "1mb"]);
        let store = store_at(&server.endpoint());
        heal(&store).await;
        let bytes = Bytes::from(vec![b'x'; 3 << 20]);
        let info = SnapshotInfo { bytes: bytes.len() as u64, ..published(1).0 };
        let error = store.commit(1, &state(2, Some(info)), Some(bytes.into())).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(
            error.to_string().contains("did not accept 3145728 bytes of definitions"),
            "{limit}: {error}"
        );
        let mut notices = store.watch();
        if store.read().await.is_err() {
            connected(&mut notices).await;
        }
        heal(&store).await;
    }
}

#[tokio::test]
async fn a_server_with_too_many_clients_says_so() {
    let server = RedisServer::start(&["--maxclients", "1"]);
    let _only = server.client();
    for _ in 0..20 {
        let error = read_error(&store_at(&server.endpoint())).await;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.to_string().contains("has too many clients"), "{error}");
    }
}

#[tokio::test]
async fn a_server_in_protected_mode_says_so() {
    // It refuses no client on its own host.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = Endpoint {
        topology: Topology::Server(Address::Tcp("127.0.0.1".into(), listener.local_addr().unwrap().port())),
        ..RedisServer::start(&[]).endpoint()
    };
    spawn(move || {
        for client in listener.incoming() {
            let refusal =
                "-DENIED Redis is running in protected mode because protected mode is enabled. \r\n";
            client.unwrap().write_all(refusal.as_bytes()).unwrap();
        }
    });
    let error = read_error(&store_at(&endpoint)).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let message = error.to_string();
    assert!(message.contains("is in protected mode") && !message.contains("DENIED"), "{message}");
}

#[tokio::test]
async fn connections_that_the_server_cuts_when_idle_are_replaced_without_a_failed_call() {
    let server = RedisServer::start(&["--timeout", "1"]);
    // With RESP3 the connection has subscribed, so the server does not take it for idle.
    let store = store_at(&behind(&server, Hello::Proto2.command()));
    heal(&store).await;
    let mut notices = store.watch();
    for _ in 0..2 {
        let gaps = notices.borrow_and_update().gaps;
        let cut = notices.wait_for(|notices| notices.gaps > gaps);
        timeout(PATIENCE, cut).await.expect("it is cut, and comes back by itself").unwrap();
        heal(&store).await;
    }
    assert!(store.trouble().unwrap().borrow().is_none());
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused_with_advice_and_taken_if_asked_for() {
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let directory = TempDir::new().unwrap();
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (pem, key) = (file("certificate", certificate.pem()), file("key", key.serialize_pem()));
        let files = ["--tls-cert-file", &pem, "--tls-key-file", &key, "--tls-ca-cert-file", &pem];
        let server = RedisServer::start_with_tls(&[&files[..], &["--tls-auth-clients", "no"]].concat());
        let at = |tls: Tls| Endpoint { tls: Some(tls), ..server.endpoint() };
        let error = read_error(&store_at(&at(Authority::new().trusted()))).await;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        for advice in ["tls.ca", "tls.insecureSkipVerify", "does not trust"] {
            assert!(error.to_string().contains(advice), "{error}");
        }
        heal(&store_at(&at(Tls { insecure_skip_verify: true, ..Tls::default() }))).await;
    }
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
