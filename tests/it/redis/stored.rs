//! What the store keeps in Redis, and what it makes of damaged content.

use std::sync::Arc;
use std::time::Duration;

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::state::State;
use posthog_flag_cache::store::redis::RedisStore;
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::store::{Commit, Store};
use posthog_flag_cache::worker::provider::Provider;
use redis::Commands;

use super::store;
use crate::support::content::{definitions, options};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{LIMIT, PATIENCE, heal};

const DATA: &str = "posthog:flags:{phc_test}";
const STATE: &str = "posthog:flags:{phc_test}:state";
const CHANNEL: &str = "posthog:flags:{phc_test}:updates";

/// So large that they are compressed; one flag differs from those of another number.
fn large_definitions(number: u64) -> Arc<Snapshot> {
    let flag = |id: u64| format!(r#"{{"id":{id},"key":"flag {}"}}"#, id * 7_919 % 10_007);
    let mut flags: Vec<_> = (0..5_000).map(flag).collect();
    flags[2_500] = format!(r#"{{"key":"{number}"}}"#);
    Arc::new(Snapshot::new(format!(r#"{{"flags":[{}]}}"#, flags.join(","))).unwrap())
}

/// Dragonfly's Lua 5.4 has no global `unpack`, and Alibaba's proxy refuses it.
#[test]
fn the_scripts_need_neither_unpack_nor_the_permission_to_publish() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut run = |script: &str, arguments: &[&str]| -> Vec<redis::Value> {
        let without = "local table, unpack\nlocal function publish() return false end\n";
        let code = [without, include_str!("../../../src/store/redis/state.lua"), script].concat();
        let mut command = redis::cmd("EVAL");
        command.arg(code).arg(2).arg(DATA).arg(STATE).arg(arguments).query(&mut client).unwrap()
    };
    let read = include_str!("../../../src/store/redis/read.lua");
    let commit = include_str!("../../../src/store/redis/commit.lua");
    assert_eq!(
        run(commit, &["0", "60000", CHANNEL, "drop", "", "", "revision", "1"])[2],
        redis::Value::Int(1)
    );
    assert_eq!(run(read, &["load", "", "100"]).len(), 5);
    assert_eq!(client.hget::<_, _, u64>(STATE, "revision").unwrap(), 1);
}

#[tokio::test]
async fn keys_of_another_type_count_as_absent_and_are_replaced() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    for (key, command) in [(DATA, "LPUSH"), (STATE, "SET"), (STATE, "LPUSH"), (DATA, "HSET")] {
        heal(&store).await;
        let _: () = client.del(key).unwrap();
        let arguments: &[&str] = if command == "HSET" { &["revision", "5"] } else { &["x"] };
        redis::cmd(command).arg(key).arg(arguments).exec(&mut client).unwrap();
        let (reading, bytes) = store.load(None).await.unwrap();
        assert_eq!((reading.state.snapshot, bytes), (None, None), "{command} {key}");
        if key == STATE {
            assert_eq!(store.read().await.unwrap().state, State::default(), "{command} {key}");
        }
        heal(&store).await;
    }
}

#[tokio::test]
async fn garbage_in_any_field_of_the_state_is_replaced_by_the_next_commit() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    let numbers = ["revision", "fence", "bytes", "published_at", "granted_at", "confirmed_at", "retry_at"];
    let garbage: [&[u8]; 12] = [
        b"",
        b"x",
        b"-1",
        b"+5",
        b"007",
        b"0x10",
        b"1.5",
        b"1e3",
        b" 1",
        b"9999999999999999",
        b"10000000000000000",
        b"\xff\0",
    ];
    for field in numbers.into_iter().chain(["owner", "expires_at", "version", "etag"]) {
        for value in garbage.into_iter().chain([&b"99999999999999999999"[..]]) {
            heal(&store).await;
            let _: () = client.hset(STATE, field, value).unwrap();
            println!("{field}: {:?}", String::from_utf8_lossy(value));
            assert!(tokio::time::timeout(LIMIT, store.read()).await.unwrap().is_ok());
            keeps_what_it_reads(&store).await;
            heal(&store).await;
        }
    }
}

/// A worker commits again over what a refused commit returned: this must end.
async fn keeps_what_it_reads(store: &RedisStore) {
    let mut state = store.read().await.unwrap().state;
    for _ in 0..2 {
        let next = State { revision: state.revision + 1, ..state.clone() };
        match store.commit(state.revision, &next, None).await.unwrap() {
            Commit::Committed(_) => return,
            Commit::Conflict(found) => state = found.state,
        }
    }
    panic!("refused again: {state:?}");
}

#[tokio::test]
async fn a_state_that_names_empty_definitions_or_an_unreadable_version_is_replaced() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    for (field, value) in [("bytes", &b"0"[..]), ("bytes", b"00"), ("version", b"\xff"), ("version", b"")] {
        heal(&store).await;
        let _: () = client.hset(STATE, field, value).unwrap();
        if field == "bytes" {
            let _: () = client.del(DATA).unwrap();
        }
        keeps_what_it_reads(&store).await;
        heal(&store).await;
    }
}

#[tokio::test]
async fn definitions_that_are_gone_or_of_another_length_count_as_none() {
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    let text = definitions(1).text().to_owned();
    for damaged in [None, Some(String::new()), Some(text[..text.len() - 1].to_owned()), Some(text + " ")] {
        heal(&store).await;
        let _: () = match &damaged {
            Some(damaged) => client.set(DATA, damaged).unwrap(),
            None => client.del(DATA).unwrap(),
        };
        assert_eq!(store.read().await.unwrap().state.snapshot, None, "{damaged:?}");
        let (reading, bytes) = store.load(None).await.unwrap();
        assert_eq!((reading.state.snapshot, bytes), (None, None), "{damaged:?}");
        heal(&store).await;
    }
}

#[tokio::test]
async fn what_is_longer_than_it_may_be_is_not_read_and_is_replaced() {
    const MICROS: u64 = 20_000;
    let server = RedisServer::start(&[]);
    let (store, mut client) = (store(&server), server.client());
    let field = vec![b'x'; 100_000_000];
    for name in ["owner", "etag", "version", "revision", "fence", "patch", "definitions"] {
        heal(&store).await;
        let _: () = if name == "definitions" {
            let length = 255 * 1024 * 1024;
            let _: () = client.setrange(DATA, length - 1, "x").unwrap();
            client.hset(STATE, "bytes", length).unwrap()
        } else {
            client.hset(STATE, name, &field).unwrap()
        };
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut client).unwrap();
        let (reading, bytes) = store.load(Some("known")).await.unwrap();
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut client).unwrap();
        let micros = stats.split_once("cmdstat_evalsha:calls=1,usec=").unwrap().1.split(',').next().unwrap();
        println!("{name}: {micros} µs");
        assert!(micros.parse::<u64>().unwrap() < MICROS, "{name}: {micros} µs");
        assert_eq!(reading.state.snapshot.is_some(), name == "patch", "{name}");
        assert_eq!(bytes.is_some(), name == "patch", "{name}");
        assert_eq!(reading.state.revision > 0, name != "revision", "{name}");
    }
    heal(&store).await;
}

#[tokio::test]
async fn the_keys_are_the_documented_ones_and_uncompressed_definitions_are_plain_json() {
    let server = RedisServer::start(&[]);
    let options = server.target(options(&[("compression", Given::Text("none".into()))]));
    let (mut client, mut listener) = (server.client(), server.client());
    let mut channel = listener.as_pubsub();
    channel.subscribe(CHANNEL).unwrap();
    channel.set_read_timeout(Some(PATIENCE)).unwrap();

    let provider = Provider::new(&options, SharedStore::open(&options));
    provider.poll(None).await.unwrap();
    let large = format!(r#"{{"flags":[{{"key":"{}"}}]}}"#, "x".repeat(100_000));
    provider.received(Arc::new(Snapshot::new(large.clone()).unwrap()), None).await.unwrap();

    let mut keys: Vec<String> = client.keys("*").unwrap();
    keys.sort_unstable();
    assert_eq!(keys, [DATA, STATE]);
    assert_eq!(client.get::<_, String>(DATA).unwrap(), large);
    let version: String = client.hget(STATE, "version").unwrap();
    let notice: String = channel.get_message().unwrap().get_payload().unwrap();
    let header: serde_json::Value = serde_json::from_str(notice.strip_suffix('\n').unwrap()).unwrap();
    assert_eq!(header["version"], version);
    assert_eq!(header["bytes"], 100_022);
}

#[tokio::test]
async fn an_edit_reaches_a_follower_as_a_patch_and_any_other_worker_in_full() {
    let server = RedisServer::start(&[]);
    let options = server.target(options(&[("refreshIntervalMs", Given::Number(60_000.0))]));
    let mut client = server.client();
    let mut has_patch = || client.hexists::<_, _, bool>(STATE, "patch").unwrap();
    let leader = Provider::new(&options, SharedStore::open(&options));
    assert!(leader.poll(None).await.unwrap().fetches());
    let versions = [1, 2, 3].map(large_definitions);
    let store = RedisStore::new(&server.endpoint(), &options);
    leader.received(versions[0].clone(), None).await.unwrap();
    assert!(!has_patch(), "nothing came before");

    leader.received(versions[1].clone(), None).await.unwrap();
    let load = async |known: Option<&Snapshot>| {
        store.load(known.map(Snapshot::version)).await.unwrap().1.expect("the definitions are new")
    };
    let (patch, whole) = (load(Some(&versions[0])).await, load(None).await);
    assert!(patch.len() * 20 < whole.len(), "a patch of {} bytes for {}", patch.len(), whole.len());
    assert_eq!(*versions[1], Snapshot::decode(&patch, versions[1].version(), Some(&versions[0])).unwrap());
    assert_eq!(load(Some(&versions[2])).await, whole);
    leader.confirmed(versions[1].version()).await.unwrap();
    assert_eq!(load(Some(&versions[0])).await, patch, "other commits keep it");

    leader.received(versions[2].clone(), None).await.unwrap();
    let whole = load(None).await;
    assert_eq!(load(Some(&versions[0])).await, whole, "two versions behind");
    for damage in ["PATCH2:", &format!("PATCH2:{}", versions[1].version()), "", "x"] {
        let _: () = client.hset(STATE, "patch", damage).unwrap();
        let follower = SharedStore::new(Arc::new(RedisStore::new(&server.endpoint(), &options)));
        let found = follower.load(Some(&versions[1])).await.unwrap().1.unwrap();
        assert_eq!(found.unwrap(), versions[2], "{damage}");
    }
    let small = Arc::new(definitions(1));
    leader.received(small.clone(), None).await.unwrap();
    assert!(!client.hexists::<_, _, bool>(STATE, "patch").unwrap(), "it led to another version");
}

#[tokio::test]
async fn both_keys_expire_and_a_grant_renews_both() {
    let server = RedisServer::start(&[]);
    let options = server.target(options(&[("refreshIntervalMs", Given::Number(100.0))]));
    let max_age = i64::try_from(options.max_age.as_millis()).unwrap();
    let store = Arc::new(RedisStore::new(&server.endpoint(), &options));
    let (provider, mut client) =
        (Provider::new(&options, Arc::new(SharedStore::new(store))), server.client());
    assert!(provider.poll(None).await.unwrap().fetches());
    provider.received(Arc::new(definitions(1)), None).await.unwrap();
    for key in [DATA, STATE] {
        assert!((1..=max_age).contains(&client.pttl(key).unwrap()), "{key}");
        assert!(client.pexpire::<_, bool>(key, 60_000).unwrap());
    }
    while !provider.poll(None).await.unwrap().fetches() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for key in [DATA, STATE] {
        assert!((60_001..=max_age).contains(&client.pttl(key).unwrap()), "{key}");
    }
}
