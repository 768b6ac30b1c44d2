//! Users, passwords, databases, sockets, and the rights that docs/redis.md says are enough.

use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::config::target::Target;
use posthog_flag_cache::config::target::{Address, Endpoint, Login, Topology};
use posthog_flag_cache::definitions::codec::Encoded;
use posthog_flag_cache::error::{Code, Error};
use posthog_flag_cache::store::Store;
use redis::Commands;

use crate::support::content::{self, published, state};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{connected, heal, read_error, store_at};
use crate::support::users::{allow, documented_user};

fn endpoint(url: &str, more: &[(&str, Given)]) -> Endpoint {
    let given = [&[("url", Given::Text(url.into()))], more].concat();
    let Options { target: Target::Redis(endpoint), .. } = content::options(&given) else { panic!("{url}") };
    *endpoint
}

#[tokio::test]
async fn a_password_and_a_user_come_from_the_url_or_the_options() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let secret = "p@ss/w:rd %41ü,?#";
    let rules = ["on", "resetpass", "~*", "&*", "+@all", &format!(">{secret}")];
    redis::cmd("ACL").arg("SETUSER").arg("us:er").arg(&rules).exec(&mut client).unwrap();
    let port = server.port;
    let encoded = "p%40ss%2Fw%3Ard%20%2541%C3%BC%2C%3F%23";
    heal(&store_at(&endpoint(&format!("redis://us%3Aer:{encoded}@127.0.0.1:{port}"), &[]))).await;
    let text = |text: &str| Given::Text(text.into());
    let given = [("username", text("us:er")), ("password", text(secret))];
    heal(&store_at(&endpoint(&format!("valkey://other:other@127.0.0.1:{port}"), &given))).await;
    for wrong in ["redis://us%3Aer:wrong@", "redis://us%3Aer@", "redis://nobody@"] {
        let error = read_error(&store_at(&endpoint(&format!("{wrong}127.0.0.1:{port}"), &[]))).await;
        assert_eq!(error.code(), Code::Auth, "{wrong}: {error}");
    }
    redis::cmd("ACL").arg("SETUSER").arg("us:er").arg("nopass").exec(&mut client).unwrap();
    heal(&store_at(&endpoint(&format!("redis://us%3Aer@127.0.0.1:{port}"), &[]))).await;
}

#[tokio::test]
async fn a_database_and_a_socket_can_be_named() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let socket = server.socket();
    let socket = socket.to_str().unwrap();
    for (url, database) in [
        (format!("redis://127.0.0.1:{}/3", server.port), 3),
        (format!("redis+unix://{socket}"), 0),
        (format!("valkey+unix://{socket}?db=5"), 5),
    ] {
        let endpoint = endpoint(&url, &[]);
        assert_eq!(endpoint.database, database);
        heal(&store_at(&endpoint)).await;
        redis::cmd("SELECT").arg(database).exec(&mut client).unwrap();
        assert!(client.exists::<_, bool>("posthog:flags:{phc_test}").unwrap(), "{url}");
        redis::cmd("FLUSHALL").exec(&mut client).unwrap();
    }
    let error =
        read_error(&store_at(&endpoint(&format!("redis://127.0.0.1:{}/999", server.port), &[]))).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let nowhere = Topology::Server(Address::Unix("/nonexistent/socket".into()));
    let error = read_error(&store_at(&Endpoint { topology: nowhere, ..server.endpoint() })).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
}

#[tokio::test]
async fn a_reader_needs_no_more_than_its_documented_permissions() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    heal(&store_at(&server.endpoint())).await;
    allow(&mut client, &documented_user("reader"));
    let login = Login { username: Some("reader".into()), password: Some("password".into()) };
    let reader = store_at(&Endpoint { login, ..server.endpoint() });
    assert_eq!(reader.load(None).await.unwrap().1, Some(published(1).1));
    let error = reader.commit(1, &state(2, None), None).await.unwrap_err();
    assert_eq!(error.code(), Code::Auth, "{error}");
    let mut notices = reader.watch();
    heal(&store_at(&server.endpoint())).await;
    connected(&mut notices).await;
}

/// Each right taken away makes something fail, so that the line names none too many.
#[tokio::test]
async fn each_documented_permission_is_needed() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let line = documented_user("flags");
    let rights: Vec<_> = line.iter().filter(|word| word.starts_with('+')).collect();
    assert!(rights.len() > 10);
    for right in rights {
        redis::cmd("FLUSHALL").exec(&mut client).unwrap();
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).unwrap();
        let fewer: Vec<_> = line.iter().filter(|word| *word != right).cloned().collect();
        allow(&mut client, &fewer);
        let login = Login { username: Some("flags".into()), password: Some("password".into()) };
        let store = store_at(&Endpoint { login, ..server.endpoint() });
        let outcome = publish_and_drop(&store).await;
        if right == "+subscribe" {
            outcome.unwrap();
            let channels: Vec<String> = redis::cmd("PUBSUB").arg("CHANNELS").query(&mut client).unwrap();
            assert!(channels.is_empty(), "{channels:?}");
        } else if right == "+publish" {
            outcome.unwrap();
            assert_eq!(store.trouble().unwrap().borrow().as_ref().map(Error::code), Some(Code::Auth));
        } else {
            assert!(outcome.is_err(), "{right} is not needed");
        }
        redis::cmd("ACL").arg("DELUSER").arg("flags").exec(&mut client).unwrap();
    }
}

async fn publish_and_drop(store: &impl Store) -> Result<(), Error> {
    let (info, bytes) = published(1);
    let encoded = Encoded { bytes, patch: Some("short".into()) };
    store.commit(0, &state(1, Some(info.clone())), Some(encoded)).await?;
    store.commit(1, &state(2, Some(info)), None).await?;
    store.load(None).await?;
    // Reads the patch.
    store.load(Some("another version")).await?;
    store.commit(2, &state(3, None), None).await?;
    Ok(())
}
