//! The option `credentials`: a function that returns how to log in, before every login.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use posthog_flag_cache::config::credentials::{CredentialsFunction, CredentialsProvider};
use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::config::target::{Endpoint, Login, Topology};
use posthog_flag_cache::error::{Code, Result};
use posthog_flag_cache::store::Store;
use tokio::time::sleep;

use crate::support::authority::Authority;
use crate::support::content::options;
use crate::support::deployment::{Cluster, Watched};
use crate::support::older_protocol::{Hello, server_without_resp3};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{PATIENCE, connected, heal, read_error, store_at};

type Answer = Result<Given, Box<dyn StdError + Send + Sync>>;

/// What the function returns at its call of this number, which begins with 0.
struct Function(Box<dyn Fn(u32) -> Answer + Send + Sync>, AtomicU32);

impl Function {
    fn new(answer: impl Fn(u32) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Function(Box::new(answer), AtomicU32::new(0)))
    }

    fn calls(&self) -> u32 {
        self.1.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl CredentialsProvider for Function {
    async fn call(&self) -> Answer {
        // A test that wants it to hang throws this.
        match self.0(self.1.fetch_add(1, Ordering::Relaxed)) {
            Err(cause) if cause.to_string() == "hang" => std::future::pending().await,
            answer => answer,
        }
    }
}

fn with(endpoint: Endpoint, function: &Arc<Function>) -> Endpoint {
    Endpoint { login: Login::default(), credentials: Some(CredentialsFunction(function.clone())), ..endpoint }
}

fn fields(fields: &[(&str, Given)]) -> Given {
    Given::Fields(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn text(text: &str) -> Given {
    Given::Text(text.into())
}

fn password(password: &str) -> Answer {
    Ok(fields(&[("password", text(password))]))
}

/// Milliseconds since 1970, this long from now.
fn after(duration: Duration) -> Given {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Given::Number((now + duration).as_secs_f64() * 1e3)
}

fn set_password(server: &RedisServer, password: &str) {
    redis::cmd("CONFIG").arg(&["SET", "requirepass", password]).exec(&mut server.client()).unwrap();
}

fn run(client: &mut redis::Connection, command: &str) {
    let words: Vec<_> = command.split(' ').collect();
    redis::cmd(words[0]).arg(&words[1..]).exec(client).unwrap();
}

#[tokio::test]
async fn it_is_called_before_every_login() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    run(&mut client, "ACL SETUSER worker on >p0 ~* &* +@all");
    let function = Function::new(|call| {
        Ok(fields(&[("username", text("worker")), ("password", text(&format!("p{call}")))]))
    });
    let store = store_at(&with(server.endpoint(), &function));
    heal(&store).await;
    heal(&store).await;
    assert_eq!(function.calls(), 1, "one login");
    for call in 1..3 {
        run(&mut client, &format!("ACL SETUSER worker resetpass >p{call}"));
        let mut notices = store.watch();
        run(&mut client, "CLIENT KILL USER worker");
        connected(&mut notices).await;
        heal(&store).await;
        assert_eq!(function.calls(), call + 1);
    }
}

#[tokio::test]
async fn the_user_may_come_from_the_options() {
    let server = RedisServer::start(&[]);
    run(&mut server.client(), "ACL SETUSER worker on >p ~* &* +@all");
    let function = Function::new(|_| password("p"));
    let url = format!("redis://worker@127.0.0.1:{}", server.port);
    let given = Given::Credentials(CredentialsFunction(function));
    let Options { target, .. } = options(&[("url", text(&url)), ("credentials", given)]);
    let posthog_flag_cache::config::target::Target::Redis(endpoint) = target else { panic!() };
    heal(&store_at(&endpoint)).await;
}

#[tokio::test]
async fn a_password_that_has_just_changed_is_asked_for_again() {
    let server = RedisServer::start(&["--requirepass", "new"]);
    let function = Function::new(|call| password(if call == 0 { "old" } else { "new" }));
    heal(&store_at(&with(server.endpoint(), &function))).await;
    assert_eq!(function.calls(), 2);

    let function = Function::new(|_| password("old"));
    let error = read_error(&store_at(&with(server.endpoint(), &function))).await;
    assert_eq!(error.code(), Code::Auth, "{error}");
    assert!(error.to_string().contains("WRONGPASS"), "{error}");
    assert_eq!(function.calls(), 2, "the same is not tried again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_is_replaced_before_and_no_call_notices() {
    for hello in [None, Some(Hello::NoProto)] {
        let server = RedisServer::start(&[]);
        let endpoint = match hello {
            None => server.endpoint(),
            Some(hello) => Endpoint {
                topology: Topology::Server(server_without_resp3(server.port, hello)),
                ..server.endpoint()
            },
        };
        let mut client = server.client();
        let first = "ACL SETUSER worker on >p ~* &* +@all";
        run(&mut client, first);
        let expiring = move |_| {
            let lifetime = after(Duration::from_secs(2));
            Ok(fields(&[("username", text("worker")), ("password", text("p")), ("expiresAt", lifetime)]))
        };
        let function = Function::new(expiring);
        let store = store_at(&with(endpoint, &function));
        heal(&store).await;
        let before = function.calls();
        let calling = async {
            while function.calls() < before + 3 {
                store.read().await.unwrap();
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, calling).await.expect("it is called again");
        heal(&store).await;
        let closed = async {
            let list = || -> String { redis::cmd("CLIENT").arg("LIST").query(&mut server.client()).unwrap() };
            while list().matches(" user=worker ").count() > if hello.is_some() { 2 } else { 1 } {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.expect("the connections before are closed");
        assert!(store.trouble().unwrap().borrow().is_none(), "nothing is reported");
    }
}

#[tokio::test]
async fn while_no_new_credentials_can_be_had_the_connection_stays() {
    let server = RedisServer::start(&["--requirepass", "p"]);
    let function = Function::new(|call| match call {
        0 => Ok(fields(&[("password", text("p")), ("expiresAt", after(Duration::from_secs(2)))])),
        1 => Err("no network".into()),
        _ => password("p"),
    });
    let store = store_at(&with(server.endpoint(), &function));
    let mut trouble = store.trouble().unwrap();
    heal(&store).await;
    tokio::time::timeout(PATIENCE, trouble.changed()).await.expect("it is reported").unwrap();
    let told = trouble.borrow().clone().unwrap();
    assert_eq!((told.code(), told.to_string().contains("no network")), (Code::Auth, true), "{told}");
    heal(&store).await;
    let mut notices = store.watch();
    connected(&mut notices).await;
    assert_eq!(function.calls(), 3);
    heal(&store).await;
}

#[tokio::test]
async fn what_cannot_be_used_is_an_error_that_says_so() {
    let server = RedisServer::start(&["--requirepass", "p"]);
    let tls = Given::Fields(BTreeMap::from([("ca".to_owned(), text("x"))]));
    let cases: [(Answer, &str); 8] = [
        (Err("no network".into()), "cannot get a login from option 'credentials': no network"),
        (Err("hang".into()), "cannot get a login from option 'credentials': no answer within 2000 ms"),
        (Ok(Given::Other("null")), "'credentials()' is null"),
        (Ok(fields(&[])), "'credentials().password' is missing"),
        (Ok(fields(&[("password", Given::Flag(true))])), "'credentials().password' is a boolean"),
        (
            Ok(fields(&[("password", text("p")), ("token", text("t"))])),
            "unknown option 'credentials().token'",
        ),
        (
            Ok(fields(&[("password", text("p")), ("expiresAt", Given::Number(1_764_000_000.0))])),
            "milliseconds since 1970",
        ),
        (Ok(fields(&[("password", text("p")), ("tls", tls)])), "'tls.ca' has no certificate"),
    ];
    for (answer, message) in cases {
        let answer = std::sync::Mutex::new(Some(answer));
        let function = Function::new(move |_| answer.lock().unwrap().take().unwrap());
        let error = read_error(&store_at(&with(server.endpoint(), &function))).await;
        assert_eq!(error.code(), Code::Auth, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[tokio::test]
async fn any_time_of_expiry_can_be_used() {
    let server = RedisServer::start(&["--requirepass", "p"]);
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let times = [Given::Number(1e12), after(Duration::from_millis(1)), after(year), Given::Number(f64::MAX)];
    for time in times {
        let function =
            Function::new(move |_| Ok(fields(&[("password", text("p")), ("expiresAt", time.clone())])));
        let store = store_at(&with(server.endpoint(), &function));
        heal(&store).await;
        sleep(Duration::from_millis(100)).await;
        heal(&store).await;
        assert_eq!(function.calls(), 1, "not in a tight loop");
    }
}

#[tokio::test]
async fn no_message_holds_what_it_returned() {
    let server = RedisServer::start(&["--rename-command", "HELLO", "", "--rename-command", "AUTH", ""]);
    let secret = "s3cr3t-token-of-this-hour";
    let function = Function::new(move |call| match call {
        0 => password(secret),
        _ => Err(format!("the service took {secret} for expired").into()),
    });
    let store = store_at(&with(server.endpoint(), &function));
    for _ in 0..2 {
        let error = read_error(&store).await;
        assert!(!error.to_string().contains("cr3t"), "{error}");
        let error: &dyn StdError = &error;
        assert!(!error.source().unwrap().to_string().contains("cr3t"));
        sleep(Duration::from_millis(500)).await;
    }
    assert!(function.calls() > 1);

    let function = Function::new(move |call| match call {
        0 => Ok(fields(&[("password", text(secret)), ("token", text("unknown"))])),
        _ => Err(format!("the service took {secret} for expired").into()),
    });
    let store = store_at(&with(server.endpoint(), &function));
    read_error(&store).await;
    sleep(Duration::from_millis(500)).await;
    let error = read_error(&store).await;
    assert!(error.to_string().contains("the service") && !error.to_string().contains("cr3t"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_of_a_deployment_takes_them() {
    let function = Function::new(|_| password("p"));
    let watched = Watched::start(1, &[]);
    for server in &watched.servers {
        set_password(server, "p");
    }
    heal(&store_at(&with(watched.endpoint(), &function))).await;
    assert_eq!(function.calls(), 1, "once for the sentinels and the master");

    let cluster = Cluster::start(false);
    let seeds = cluster.servers.iter().map(RedisServer::address).collect();
    for server in &cluster.servers {
        set_password(server, "p");
    }
    heal(&store_at(&with(cluster.endpoint(seeds), &function))).await;
    assert_eq!(function.calls(), 2);
}

#[tokio::test]
async fn a_certificate_can_come_with_them() {
    let authority = Authority::new();
    let arguments = authority.server_arguments("127.0.0.1");
    let server = RedisServer::start_with_tls(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let plain = Endpoint { tls: Some(authority.trusted()), ..server.endpoint() };
    let refused = Function::new(|_| password("unused"));
    assert!(store_at(&with(plain.clone(), &refused)).read().await.is_err(), "the server wants a certificate");
    let (certificate, key) = authority.identity("worker");
    let tls = fields(&[("cert", text(&certificate)), ("key", text(&key))]);
    let function = Function::new(move |_| Ok(fields(&[("password", text("any")), ("tls", tls.clone())])));
    heal(&store_at(&with(plain, &function))).await;

    let error = read_error(&store_at(&with(RedisServer::start(&[]).endpoint(), &function))).await;
    assert_eq!(error.code(), Code::Auth, "{error}");
    assert!(error.to_string().contains("tls, which needs rediss://"), "{error}");
}
