//! What the doctor finds, wherever the servers are, and with whatever rights.

use std::time::{Duration, Instant};

use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::config::target::{Address, Endpoint, Login, Target, Topology};
use posthog_flag_cache::config::tls::Tls;
use posthog_flag_cache::doctor;
use posthog_flag_cache::doctor::finding::{Finding, Verdict};
use posthog_flag_cache::inspector::Inspector;

use crate::support::authority::Authority;
use crate::support::content::options;
use crate::support::deployment::{Cluster, Watched, run};
use crate::support::older_protocol::{Hello, WITHOUT_HELLO, server_without_resp3};
use crate::support::redis_server::RedisServer;
use crate::support::redis_store::{heal, store_at};
use crate::support::rewriting_proxy::{NOTHING, rewriting_proxy};
use crate::support::users::{allow, documented_user};

async fn examine_as(endpoint: &Endpoint, role: &str) -> Vec<Finding> {
    let given = options(&[("role", Given::Text(role.into())), ("commandTimeoutMs", Given::Number(500.0))]);
    let target = Target::Redis(Box::new(endpoint.clone()));
    doctor::examine(&Inspector::new(Options { target, ..given })).await
}

async fn examine(endpoint: &Endpoint) -> Vec<Finding> {
    examine_as(endpoint, "auto").await
}

/// The checks that did not end well. A busy machine may take long to answer.
fn troubles(findings: &[Finding]) -> Vec<(&str, Verdict)> {
    let bad = findings.iter().filter(|finding| finding.verdict != Verdict::Ok && finding.check != "latency");
    bad.map(|finding| (finding.check, finding.verdict)).collect()
}

fn the<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
    findings
        .iter()
        .find(|finding| finding.check == check)
        .unwrap_or_else(|| panic!("{check} in {findings:#?}"))
}

/// The verdict of a check, something that its message says, and something of the advice.
fn assert_finds(findings: &[Finding], check: &str, verdict: Verdict, message: &str, advice: &str) {
    let finding = the(findings, check);
    assert_eq!(finding.verdict, verdict, "{findings:#?}");
    assert!(finding.message.contains(message), "{finding:?}");
    assert!(finding.advice.as_deref().unwrap_or_default().contains(advice), "{finding:?}");
}

fn login(server: &RedisServer, name: &str, change: impl Fn(&mut Vec<String>)) -> Login {
    let mut line = documented_user(name);
    change(&mut line);
    allow(&mut server.client(), &line);
    Login { username: Some(name.into()), password: Some("password".into()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_well_with_a_sound_server_and_nothing_is_left_behind() {
    let server = RedisServer::start(&[]);
    heal(&store_at(&server.endpoint())).await;
    let findings = examine(&server.endpoint()).await;
    assert_eq!(troubles(&findings), [], "{findings:#?}");
    let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    let expected = [
        "connection",
        "tls",
        "login",
        "server",
        "topology",
        "role",
        "rights",
        "keys",
        "notices",
        "eviction",
        "latency",
        "definitions",
    ];
    assert_eq!(checks, expected);
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut server.client()).unwrap();
    assert_eq!(keys.len(), 2, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_is_told_and_how_notices_arrive() {
    let server = RedisServer::start(&[]);
    heal(&store_at(&server.endpoint())).await;
    let findings = examine(&server.endpoint()).await;
    assert_finds(&findings, "login", Verdict::Ok, "accepted with RESP3", "");
    assert_finds(&findings, "notices", Verdict::Ok, "on the main connection", "");
    for hello in Hello::ALL {
        let topology = Topology::Server(server_without_resp3(server.port, hello));
        let endpoint = Endpoint { topology, ..server.endpoint() };
        let silent = [("server", Verdict::Unchecked)];
        for (name, role) in [("flags", "auto"), ("reader", "reader")] {
            let findings = examine_as(&endpoint, role).await;
            let expected = if hello == Hello::Unknown { &silent[..] } else { &[] };
            assert_eq!(troubles(&findings), expected, "{findings:#?}");
            assert_finds(&findings, "login", Verdict::Ok, "accepted with RESP2", "");
            assert_finds(&findings, "notices", Verdict::Ok, "on a second connection", "");
            let login = login(&server, name, |line| line.retain(|word| word != "+subscribe"));
            let findings = examine_as(&Endpoint { login, ..endpoint.clone() }, role).await;
            assert_finds(&findings, "notices", Verdict::Warning, "permission to subscribe", "+subscribe");
        }
    }
    let server = RedisServer::start(&[&WITHOUT_HELLO[..], &["--requirepass", "s3cr3t"]].concat());
    let findings = examine(&server.endpoint()).await;
    assert_finds(&findings, "login", Verdict::Error, "NOAUTH", "'password'");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_publish_in_scripts_is_told_of() {
    let server = RedisServer::start(&[]);
    let refusing = rewriting_proxy(server.port, [b"redis.call('PUBLISH'", b"redis.call('PUBLISX'"], NOTHING);
    let findings = examine(&Endpoint { topology: Topology::Server(refusing), ..server.endpoint() }).await;
    assert_eq!(troubles(&findings), [], "{findings:#?}");
    assert_finds(&findings, "notices", Verdict::Ok, "the server rejects PUBLISH in scripts", "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_permissions_are_enough_for_doctor() {
    let server = RedisServer::start(&[]);
    for (name, role) in [("flags", "auto"), ("reader", "reader")] {
        let endpoint = Endpoint { login: login(&server, name, |_| ()), ..server.endpoint() };
        let findings = examine_as(&endpoint, role).await;
        assert_eq!(troubles(&findings), [("eviction", Verdict::Unchecked)], "{findings:#?}");
        assert!(the(&findings, "eviction").message.contains("permission +info"));
    }
}

/// As `each_documented_permission_is_needed` takes them away, the doctor names them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_missing_permission_is_named_and_nothing_is_written_to_test_it() {
    let server = RedisServer::start(&[]);
    for (name, role) in [("flags", "auto"), ("reader", "reader")] {
        let line = documented_user(name);
        for right in line.iter().filter(|word| word.starts_with('+')) {
            let login = login(&server, name, |line| line.retain(|word| word != right));
            let findings = examine_as(&Endpoint { login, ..server.endpoint() }, role).await;
            let (check, verdict) = match right.as_str() {
                "+subscribe" | "+publish" => ("notices", Verdict::Warning),
                _ => ("rights", Verdict::Error),
            };
            assert_finds(&findings, check, verdict, &right[1..], &format!("ACL SETUSER <user> {right}"));
            run(&server, &["ACL", "DELUSER", name]);
            let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut server.client()).unwrap();
            assert!(keys.is_empty(), "without {right}: {keys:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_remove_nothing_leaves_nothing() {
    let server = RedisServer::start(&[]);
    let login = login(&server, "flags", |line| line.retain(|word| word != "+del" && word != "+hdel"));
    let findings = examine(&Endpoint { login, ..server.endpoint() }).await;
    assert_finds(&findings, "rights", Verdict::Error, "hdel, del", "ACL SETUSER <user> +hdel +del");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut server.client()).unwrap();
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_channels_out_of_reach_are_named() {
    let server = RedisServer::start(&[]);
    let elsewhere = |sign: char| {
        move |line: &mut Vec<String>| {
            let pattern = line.iter_mut().find(|word| word.starts_with(sign)).unwrap();
            *pattern = format!("{sign}other:*");
        }
    };
    for (name, role) in [("flags", "auto"), ("reader", "reader")] {
        let endpoint = Endpoint { login: login(&server, name, elsewhere('~')), ..server.endpoint() };
        let findings = examine_as(&endpoint, role).await;
        assert_finds(&findings, "keys", Verdict::Error, "posthog:flags:{phc_test}", "~posthog:flags:*");
        assert_eq!(the(&findings, "rights").verdict, Verdict::Ok);
    }
    let endpoint = Endpoint { login: login(&server, "flags", elsewhere('&')), ..server.endpoint() };
    let findings = examine(&endpoint).await;
    assert_finds(&findings, "notices", Verdict::Warning, "permission to subscribe", "&posthog:flags:*");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_are_switched_off_are_named() {
    let server = RedisServer::start(&["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]);
    let findings = examine(&server.endpoint()).await;
    assert_finds(&findings, "rights", Verdict::Error, "does not know evalsha, eval", "or a directory");
    let server = RedisServer::start(&["--rename-command", "SELECT", ""]);
    let findings = examine(&Endpoint { database: 3, ..server.endpoint() }).await;
    assert_finds(&findings, "login", Verdict::Error, "does not allow this database", "database 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_or_forgetful_server_is_warned_of() {
    let server = RedisServer::start(&["--maxmemory", "100mb"]);
    for policy in ["allkeys-lru", "allkeys-random", "volatile-ttl"] {
        run(&server, &["CONFIG", "SET", "maxmemory-policy", policy]);
        let findings = examine(&server.endpoint()).await;
        assert_finds(&findings, "eviction", Verdict::Warning, policy, "noeviction");
    }
    run(&server, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    assert_eq!(the(&examine(&server.endpoint()).await, "eviction").verdict, Verdict::Ok);
    run(&server, &["CONFIG", "SET", "maxmemory", "500kb"]);
    let findings = examine(&server.endpoint()).await;
    assert_finds(&findings, "eviction", Verdict::Warning, "rejects new definitions", "more memory");
    assert_eq!(the(&findings, "rights").verdict, Verdict::Ok, "a full server has the rights all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_an_error_except_for_a_reader() {
    let watched = Watched::start(0, &[]);
    let replica = watched.servers[1].endpoint();
    let findings = examine(&replica).await;
    assert_finds(&findings, "role", Verdict::Error, "does not accept writes", "address of the primary");
    assert_eq!(the(&findings, "rights").verdict, Verdict::Ok);
    assert_eq!(troubles(&examine_as(&replica, "reader").await), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_login_says_what_is_missing() {
    let server = RedisServer::start(&["--requirepass", "s3cr3t-password"]);
    let findings = examine(&server.endpoint()).await;
    assert_finds(&findings, "login", Verdict::Error, "NOAUTH", "'password'");
    let login = Login { username: None, password: Some("wr0ng-password".into()) };
    let findings = examine(&Endpoint { login, ..server.endpoint() }).await;
    assert_finds(&findings, "login", Verdict::Error, "WRONGPASS", "user name and the password");
    assert!(!format!("{findings:?}").contains("wr0ng"));
    assert_eq!(troubles(&findings).len(), 2, "the rest is not tried: {findings:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_absent_or_hangs_is_reported_within_the_timeouts() {
    let mut server = RedisServer::start(&[]);
    let endpoint = server.endpoint();
    let started = Instant::now();
    // SAFETY: sends a signal to a child that was not waited for, so that its id is its own.
    let signal = |signal| assert_eq!(unsafe { libc::kill(server.pid(), signal) }, 0);
    signal(libc::SIGSTOP);
    let findings = examine(&endpoint).await;
    assert_finds(&findings, "login", Verdict::Error, "did not answer within", "load of the server");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    signal(libc::SIGCONT);
    server.kill();
    let findings = examine(&endpoint).await;
    assert_finds(&findings, "connection", Verdict::Error, "refused", "Nothing listens there");
    let topology = Topology::Server(Address::Tcp("redis.invalid".into(), 6379));
    let findings = examine(&Endpoint { topology, ..endpoint }).await;
    assert_finds(&findings, "address", Verdict::Error, "cannot resolve redis.invalid", "DNS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_tls_has_its_own_advice() {
    let authority = Authority::new();
    let start = |name: &str, more: &[&str]| {
        let arguments = authority.server_arguments(name);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        RedisServer::start_with_tls(&[&arguments, more].concat())
    };
    let server = start("127.0.0.1", &["--tls-auth-clients", "no"]);
    let at = |server: &RedisServer, tls: Tls| Endpoint { tls: Some(tls), ..server.endpoint() };

    let findings = examine(&at(&server, authority.trusted())).await;
    assert_eq!(troubles(&findings), [], "{findings:#?}");
    assert!(
        the(&findings, "tls").message.contains("TLS 1.3, with a trusted certificate for 127.0.0.1"),
        "{findings:#?}"
    );

    let findings = examine(&at(&server, Authority::new().trusted())).await;
    assert_finds(&findings, "tls", Verdict::Error, "UnknownIssuer", "'tls.ca'");
    let other = Tls { server_name: Some("cache.example".into()), ..authority.trusted() };
    let findings = examine(&at(&server, other)).await;
    assert_finds(&findings, "tls", Verdict::Error, "not valid for name", "'tls.serverName'");
    let blind = Tls { insecure_skip_verify: true, ..Tls::default() };
    let findings = examine(&at(&server, blind)).await;
    assert_finds(&findings, "tls", Verdict::Warning, "any certificate", "insecureSkipVerify");

    let plain = RedisServer::start(&[]);
    let findings = examine(&at(&plain, authority.trusted())).await;
    assert_eq!(the(&findings, "tls").verdict, Verdict::Error, "{findings:#?}");
    let findings = examine(&server.endpoint()).await;
    assert_finds(&findings, "login", Verdict::Error, "", "rediss://");

    let strict = start("127.0.0.1", &[]);
    let findings = examine(&at(&strict, authority.trusted())).await;
    let error = findings.iter().find(|finding| finding.verdict == Verdict::Error).unwrap();
    assert!(error.advice.as_deref().is_some_and(|advice| advice.contains("'tls.cert'")), "{findings:#?}");
    let known = Tls { identity: Some(authority.identity("worker")), ..authority.trusted() };
    assert_eq!(troubles(&examine(&at(&strict, known)).await), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sentinel_is_asked_and_must_lead_to_a_primary() {
    let watched = Watched::start(1, &[]);
    let endpoint = watched.endpoint();
    let findings = examine(&endpoint).await;
    assert_eq!(troubles(&findings), [], "{findings:#?}");
    let master = watched.servers[0].address().to_string();
    assert!(the(&findings, "guides").message.contains("1 of 1 sentinels in the URL answer"), "{findings:#?}");
    assert!(the(&findings, "topology").message.contains(&master), "{findings:#?}");

    let Topology::Sentinel { mut sentinels, master, login } = endpoint.topology.clone() else { panic!() };
    sentinels.push(Address::Tcp("127.0.0.1".into(), 1));
    let topology = Topology::Sentinel { sentinels, master: master.clone(), login: login.clone() };
    let findings = examine(&Endpoint { topology, ..endpoint.clone() }).await;
    assert_finds(&findings, "guides", Verdict::Warning, "1 of 2 sentinels", "Repair");
    assert!(!findings.iter().any(|finding| finding.verdict == Verdict::Error), "{findings:#?}");

    let sentinels = vec![Address::Tcp("127.0.0.1".into(), 1)];
    let topology = Topology::Sentinel { sentinels, master, login };
    let findings = examine(&Endpoint { topology, ..endpoint.clone() }).await;
    assert_finds(&findings, "guides", Verdict::Error, "0 of 1 sentinels", "Check the hosts");

    let topology = Topology::Server(watched.sentinels[0].address());
    let findings = examine(&Endpoint { topology, ..endpoint }).await;
    let hint = findings
        .iter()
        .any(|finding| finding.advice.as_deref().is_some_and(|advice| advice.contains("redis-sentinel://")));
    assert!(hint, "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_examined_at_the_node_with_our_slot() {
    let cluster = Cluster::start(false);
    let owner = cluster.owner("posthog:flags:{phc_test}");
    let other = cluster.servers[(owner + 1) % 3].address();
    let endpoint = cluster.endpoint(vec![other.clone()]);
    let findings = examine(&endpoint).await;
    assert_eq!(troubles(&findings), [], "{findings:#?}");
    let address = cluster.servers[owner].address().to_string();
    assert!(the(&findings, "topology").message.contains(&format!("{address} has the slot")), "{findings:#?}");

    let user = [documented_user("flags"), vec!["+cluster|slots".into()]].concat();
    cluster.servers.iter().for_each(|server| allow(&mut server.client(), &user));
    let login = Login { username: Some("flags".into()), password: Some("password".into()) };
    let findings = examine(&Endpoint { login, ..endpoint.clone() }).await;
    let expected = [("rights", Verdict::Warning), ("eviction", Verdict::Unchecked)];
    assert_eq!(troubles(&findings), expected, "{findings:#?}");
    assert!(
        findings.iter().any(|finding| finding.advice.as_deref() == Some("Run: ACL SETUSER <user> +asking"))
    );

    let right = Endpoint { topology: Topology::Server(cluster.servers[owner].address()), ..endpoint.clone() };
    assert_finds(&examine(&right).await, "topology", Verdict::Warning, "one node", "redis-cluster://");
    let wrong = Endpoint { topology: Topology::Server(other), ..endpoint };
    let findings = examine(&wrong).await;
    assert_eq!(the(&findings, "definitions").verdict, Verdict::Error, "{findings:#?}");
}
