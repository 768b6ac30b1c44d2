//! What the options allow, what they default to, and what is documented of both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/authority.rs"]
#[allow(dead_code, reason = "tests/topologies uses all of it")]
mod authority;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use posthog_flag_cache::config::options::{
    COLD_START_WAIT_MS, COMMAND_TIMEOUT_MS, CONNECT_TIMEOUT_MS, Given, KEY_PREFIX, MAX_AGE_MS,
    MAX_DURATION_MS, MIN_REFRESH_INTERVAL_MS, Options, REFRESH_INTERVAL_MS, Role, WhenUnavailable,
};
use posthog_flag_cache::config::target::{Address, Directory, Endpoint, Login, Target, Topology};
use posthog_flag_cache::error::{Code, Error};
use posthog_flag_cache::snapshot::Compression;

use authority::Authority;

const PASSWORD: &str = "s3cr3t";

const NUMBERS: [&str; 6] = [
    "refreshIntervalMs",
    "leaseTtlMs",
    "maxAgeMs",
    "coldStartWaitMs",
    "connectTimeoutMs",
    "commandTimeoutMs",
];
const TEXTS: [&str; 12] = [
    "projectKey",
    "url",
    "keyPrefix",
    "role",
    "whenUnavailable",
    "whenRefused",
    "compression",
    "username",
    "password",
    "sentinelUsername",
    "sentinelPassword",
    "clientName",
];

#[test]
fn the_defaults_are_the_constants() {
    let options = parse(&[]).unwrap();
    assert_eq!(options.project_key, "phc_test");
    assert_eq!(options.key_prefix, KEY_PREFIX);
    assert_eq!(options.rule.refresh_interval, Duration::from_millis(REFRESH_INTERVAL_MS));
    assert_eq!(options.rule.lease_ttl, Duration::from_millis(REFRESH_INTERVAL_MS * 3 / 2));
    assert_eq!(options.rule.cold_start_wait, Duration::from_millis(COLD_START_WAIT_MS));
    assert_eq!(options.max_age, Duration::from_millis(MAX_AGE_MS));
    assert_eq!(options.connect_timeout, Duration::from_millis(CONNECT_TIMEOUT_MS));
    assert_eq!(options.command_timeout, Duration::from_millis(COMMAND_TIMEOUT_MS));
    assert_eq!(options.role, Role::Auto);
    assert_eq!(options.when_unavailable, WhenUnavailable::Fetch);
    assert_eq!(options.compression, Compression::Auto);
    let Target::Directory(directory) = options.target else { panic!("{:?}", options.target) };
    assert!(directory.is_default && directory.path.starts_with(std::env::temp_dir()), "{directory:?}");
}

#[test]
fn defaults_follow_the_refresh_interval() {
    let long = MAX_AGE_MS as f64 * 2.0;
    let options = parse(&[("refreshIntervalMs", Given::Number(long))]).unwrap();
    assert_eq!(options.rule.lease_ttl, options.rule.refresh_interval * 3 / 2);
    assert_eq!(options.max_age, options.rule.refresh_interval);
}

#[test]
fn every_duration_takes_whole_milliseconds_within_its_bounds() {
    for name in NUMBERS {
        let min = match name {
            "coldStartWaitMs" => 0.0,
            "refreshIntervalMs" => MIN_REFRESH_INTERVAL_MS as f64,
            "leaseTtlMs" | "maxAgeMs" => REFRESH_INTERVAL_MS as f64,
            _ => 1.0,
        };
        let max = MAX_DURATION_MS as f64;
        for good in [min, min + 1.0, if name == "refreshIntervalMs" { min * 2.0 } else { max }] {
            assert!(parse(&[(name, Given::Number(good))]).is_ok(), "{name}: {good}");
        }
        let bad = [min - 1.0, -1.0, 0.5, max + 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300];
        for bad in bad {
            let message = fault(&[(name, Given::Number(bad))], name);
            assert!(message.contains(&format!("is {bad}")), "{message}");
            let bounds = message.contains(&MAX_DURATION_MS.to_string());
            assert!(bounds || message.contains("at least refreshIntervalMs"), "{message}");
        }
    }
}

#[test]
fn a_zero_is_allowed_for_the_cold_start_wait_only() {
    for name in NUMBERS {
        for zero in [0.0, -0.0] {
            let options = parse(&[(name, Given::Number(zero))]);
            assert_eq!(options.is_ok(), name == "coldStartWaitMs", "{name}");
        }
    }
}

#[test]
fn a_lease_or_an_age_shorter_than_the_interval_is_refused() {
    for name in ["leaseTtlMs", "maxAgeMs"] {
        let interval = ("refreshIntervalMs", Given::Number(60_000.0));
        let message = fault(&[interval.clone(), (name, Given::Number(59_999.0))], name);
        assert!(message.contains("59999") && message.contains("refreshIntervalMs"), "{message}");
        assert!(parse(&[interval, (name, Given::Number(60_000.0))]).is_ok());
    }
}

#[test]
fn every_option_refuses_every_other_type() {
    for (name, other) in NUMBERS.map(|name| (name, text("1"))).into_iter().chain(
        // What a JavaScript caller would write by mistake.
        TEXTS.map(|name| (name, Given::Number(1.0))),
    ) {
        let kind = if other == text("1") { "is a string" } else { "is a number" };
        assert!(fault(&[(name, other)], name).contains(kind));
        for kind in ["null", "a boolean", "an object", "a function", "a symbol", "a bigint"] {
            assert!(fault(&[(name, Given::Other(kind))], name).contains(&format!("is {kind};")));
        }
    }
}

#[test]
fn every_text_refuses_to_be_empty() {
    for name in TEXTS {
        assert!(fault(&[(name, text(""))], name).contains("is empty"));
    }
}

#[test]
fn choices_take_their_words_only_and_list_them() {
    let choices: [(&str, &[&str]); 4] = [
        ("role", &["auto", "reader"]),
        ("whenUnavailable", &["fetch", "stale"]),
        ("whenRefused", &["keep", "clear"]),
        ("compression", &["auto", "zstd", "none"]),
    ];
    for (name, words) in choices {
        let mut chosen = BTreeSet::new();
        for word in words {
            let options = parse(&[(name, text(word))]).unwrap();
            let all = (options.role, options.when_unavailable, options.when_refused, options.compression);
            assert!(chosen.insert(format!("{all:?}")), "{name}: {word} means something of its own");
        }
        for wrong in ["Auto", " auto", "gzip"] {
            let message = fault(&[(name, text(wrong))], name);
            assert!(message.contains(&format!("is '{wrong}'")), "{message}");
            assert!(words.iter().all(|word| message.contains(&format!("'{word}'"))), "{message}");
        }
    }
}

#[test]
fn names_that_would_break_a_key_are_refused() {
    for name in ["projectKey", "keyPrefix"] {
        for bad in ["a b", "a\tb", "a\n", "\0", "a\u{a0}b", "{a", "a}", "\u{7f}", &"x".repeat(201)] {
            assert!(fault(&[(name, text(bad))], name).contains("at most 200 characters"), "{bad:?}");
        }
        for good in ["phc_aB0-_", "ключ", &"😀".repeat(200)] {
            assert!(parse(&[(name, text(good))]).is_ok(), "{good}");
        }
    }
}

#[test]
fn a_client_name_that_redis_would_refuse_is_refused_first() {
    for bad in ["a b", "a\nb", " ", "é", "\u{7f}"] {
        assert!(fault(&[("clientName", text(bad))], "clientName").contains("without blanks"), "{bad:?}");
    }
    assert!(parse(&[("clientName", text("web-1!~"))]).is_ok());
}

#[test]
fn a_missing_project_key_is_named() {
    let error = Options::from_given(BTreeMap::new()).unwrap_err();
    let message = checked(&error, "projectKey");
    assert!(message.contains("is required") && message.contains("phc_"), "{message}");
}

#[test]
fn an_unknown_option_is_named_with_all_that_exist() {
    for name in ["projectkey", "refreshInterval", "", "tlS"] {
        let message = fault(&[(name, Given::Number(1.0))], name);
        assert!(message.contains("is not an option"), "{message}");
    }
    let all: BTreeSet<_> = NUMBERS.into_iter().chain(TEXTS).chain(["tls"]).map(str::to_owned).collect();
    assert_eq!(names_in_messages(), all);
    for name in all {
        let value = if NUMBERS.contains(&&*name) { Given::Number(-1.0) } else { Given::Other("null") };
        assert!(!fault(&[(&name, value)], &name).contains("is not an option"), "{name} exists");
    }
}

#[test]
fn urls_name_a_server_a_directory_or_memory() {
    assert_eq!(target("memory:"), Target::Memory);
    for (url, path) in [
        ("file:///a%20b/c", "/a b/c"),
        ("file:///a/", "/a"),
        ("file:///a%23b", "/a#b"),
        ("file:///a%3Fb", "/a?b"),
    ] {
        let directory = Directory { path: path.into(), is_default: false };
        assert_eq!(target(url), Target::Directory(directory), "{url}");
    }
    for (url, host, port, database) in [
        ("redis://cache", "cache", 6379, 0),
        ("redis://cache/", "cache", 6379, 0),
        ("valkey://cache:1/15", "cache", 1, 15),
        ("redis://127.0.0.1:6380/2", "127.0.0.1", 6380, 2),
        ("redis://[::1]:6380", "::1", 6380, 0),
    ] {
        let topology = Topology::Server(Address::Tcp(host.into(), port));
        let expected = Endpoint { topology, database, ..endpoint("redis://cache", &[]) };
        assert_eq!(endpoint(url, &[]), expected, "{url}");
    }
}

#[test]
fn urls_name_sockets_sentinels_and_clusters_with_and_without_tls() {
    let tcp = |host: &str, port| Address::Tcp(host.into(), port);
    for name in ["redis", "valkey", "REDIS"] {
        for (s, is_tls) in [("", false), ("s", true)] {
            let cluster = Topology::Cluster { seeds: vec![tcp("a", 6379), tcp("::1", 7), tcp("b.c", 6379)] };
            let sentinel = Topology::Sentinel {
                sentinels: vec![tcp("a", 26379), tcp("::1", 7), tcp("b.c", 26379)],
                master: "my/master".into(),
                login: Login::default(),
            };
            for (url, database, topology) in [
                (format!("{name}{s}://a"), 0, Topology::Server(tcp("a", 6379))),
                (format!("{name}{s}-cluster://a,[::1]:7,b.c"), 0, cluster.clone()),
                (format!("{name}{s}-cluster://a,[::1]:7,b.c/0"), 0, cluster),
                (format!("{name}{s}-sentinel://a,[::1]:7,b.c/2?master=my%2Fmaster"), 2, sentinel),
            ] {
                let endpoint = endpoint(&url, &[]);
                assert!(endpoint.topology == topology, "{url}: {endpoint}");
                assert_eq!((endpoint.database, endpoint.tls.is_some()), (database, is_tls), "{url}");
            }
        }
        let unix = endpoint(&format!("{name}+unix:///run/my%20redis.sock?db=3"), &[]);
        assert!(unix.topology == Topology::Server(Address::Unix("/run/my redis.sock".into())));
        assert_eq!((unix.database, unix.tls), (3, None));
    }
}

#[test]
fn an_endpoint_is_shown_as_the_url_that_names_it() {
    for url in [
        "redis://cache:6379/0",
        "rediss://[::1]:6380/2",
        "redis+unix:///run/redis.sock?db=1",
        "redis-sentinel://a:26379,[::1]:7/1?master=mymaster",
        "rediss-cluster://a:6379,b:7",
    ] {
        assert_eq!(endpoint(url, &[]).to_string(), url);
        let with_login = url.replacen("://", "://user:s3cr3t%2Fp%40ss@", 1);
        if !url.contains("unix") {
            let endpoint = endpoint(&with_login, &[]);
            assert_eq!(endpoint.login.password.as_deref(), Some("s3cr3t/p@ss"), "{url}");
            assert_eq!((endpoint.to_string(), format!("{endpoint:?}")), (url.to_owned(), url.to_owned()));
        }
    }
}

#[test]
fn sentinels_have_a_login_of_their_own() {
    let given = [("sentinelUsername", text("guide")), ("sentinelPassword", text(PASSWORD))];
    let endpoint = endpoint("redis-sentinel://u:p@a?master=m", &given);
    let Topology::Sentinel { login, .. } = &endpoint.topology else { panic!("{endpoint}") };
    let own = Login { username: Some("guide".into()), password: Some(PASSWORD.into()) };
    assert!(*login == own && endpoint.login.username.as_deref() == Some("u"));
    assert!(!format!("{endpoint} {endpoint:?}").contains(PASSWORD));
    for (name, value) in given {
        for url in ["redis://h", "rediss-cluster://h"] {
            let message = fault(&[("url", text(url)), (name, value.clone())], name);
            assert!(message.contains("redis-sentinel://"), "{message}");
        }
        assert!(parse(&[("url", text("memory:")), (name, value)]).is_ok(), "for development");
    }
}

#[test]
fn tls_takes_certificates_that_can_be_used() {
    let authority = Authority::new();
    let (cert, key) = authority.identity("worker");
    let all = [
        ("ca", text(&(authority.pem() + &authority.pem()))),
        ("cert", text(&(cert.clone() + &authority.pem()))),
        ("key", text(&key)),
        ("serverName", text("cache.example")),
        ("insecureSkipVerify", Given::Flag(true)),
    ];
    let tls = endpoint("rediss://h", &[fields(&all)]).tls.unwrap();
    assert!(tls.ca.is_some() && tls.identity.is_some() && tls.insecure_skip_verify);
    assert_eq!(tls.server_name.as_deref(), Some("cache.example"));
    assert!(!format!("{tls:?}").contains(key.lines().nth(1).unwrap()));
    assert!(endpoint("rediss://h", &[fields(&[])]).tls == endpoint("rediss://h", &[]).tls);
    for name in ["127.0.0.1", "::1"] {
        endpoint("rediss://h", &[fields(&[("serverName", text(name))])]);
    }
    for url in ["memory:", "file:///directory"] {
        assert!(parse(&[("url", text(url)), fields(&all)]).is_ok(), "for development");
    }
}

#[test]
fn tls_that_cannot_be_used_is_refused_without_its_secrets() {
    let authority = Authority::new();
    let (cert, key) = authority.identity("worker");
    let (_, other_key) = Authority::new().identity("worker");
    let (cert, key, other_key) = (text(&cert), text(&key), text(&other_key));
    let secret = text("-----BEGIN s3cr3t");
    let broken = text("-----BEGIN CERTIFICATE-----\ns3cr3t\n-----END CERTIFICATE-----\n");
    for (name, given, what) in [
        ("tls.ca", vec![("ca", text("s3cr3t"))], "holds no certificate"),
        ("tls.ca", vec![("ca", secret.clone())], "holds no certificate"),
        ("tls.ca", vec![("ca", key.clone())], "holds no certificate"),
        ("tls.ca", vec![("ca", broken)], "is refused"),
        ("tls.ca", vec![("ca", text(""))], "is empty"),
        ("tls.ca", vec![("ca", Given::Other("an object"))], "is an object"),
        ("tls.key", vec![("cert", cert.clone())], "is missing"),
        ("tls.cert", vec![("key", key.clone())], "is missing"),
        ("tls.key", vec![("cert", cert.clone()), ("key", cert.clone())], "holds no private key"),
        ("tls.key", vec![("cert", cert.clone()), ("key", secret)], "holds no private key"),
        ("tls.key", vec![("cert", cert.clone()), ("key", other_key)], "does not work with the certificate"),
        ("tls.cert", vec![("cert", key.clone()), ("key", key)], "holds no certificate"),
        ("tls.serverName", vec![("serverName", text("no name"))], "is neither a host name nor an address"),
        ("tls.insecureSkipVerify", vec![("insecureSkipVerify", text("yes"))], "is a string"),
        ("tls.rejectUnauthorized", vec![("rejectUnauthorized", Given::Flag(false))], "is not an option"),
    ] {
        let message = fault(&[("url", text("rediss://h")), fields(&given)], name);
        assert!(message.contains(what), "{name}: {message}");
    }
    for wrong in [Given::Flag(true), text("s3cr3t"), Given::Number(1.0), Given::Other("null")] {
        let message = fault(&[("url", text("rediss://h")), ("tls", wrong)], "tls");
        assert!(message.contains("insecureSkipVerify"), "{message}");
    }
    for url in ["redis://h", "redis+unix:///s", "redis-sentinel://h?master=m", "valkey-cluster://h"] {
        let message = fault(&[("url", text(url)), fields(&[])], "tls");
        assert!(message.contains("has no effect on this url"), "{message}");
    }
}

#[test]
fn credentials_are_decoded_from_the_url_and_overridden_by_the_options() {
    let login = |endpoint: Endpoint| (endpoint.login.username, endpoint.login.password);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(login(endpoint("redis://h", &[])), (None, None));
    assert_eq!(login(endpoint("redis://:p%40%2F@h", &[])), (None, some("p@/")));
    assert_eq!(login(endpoint("redis://u%3A:p@h", &[])), (some("u:"), some("p")));
    let given = [("username", text("x")), ("password", text("p%40"))];
    assert_eq!(login(endpoint("redis://u:p@h", &given)), (some("x"), some("p%40")));
    assert_eq!(endpoint("redis://h", &[("clientName", text("web"))]).client_name, some("web"));
}

#[test]
fn a_bad_url_is_refused_without_its_password() {
    for (url, what) in [
        ("cache:6379", "has an unknown scheme"),
        ("cache", "is not a URL"),
        ("http://u:s3cr3t@cache", "has an unknown scheme"),
        ("s3cr3t:", "has an unknown scheme"),
        ("redis://u:s3cr3t@cache:port", "is not a URL"),
        ("redis://u:s3cr3t@cache:65536", "is not a URL"),
        ("redis://u:s3cr3t@cache/s3cr3t", "has a database that is not a number"),
        ("redis://u:s3cr3t@cache/-1", "has a database that is not a number"),
        ("redis://u:s3cr3t@cache/1/2", "has a database that is not a number"),
        ("redis://u:s3cr3t@cache/65536", "has a database that is not a number"),
        ("redis://u:s3cr3t@cache?s3cr3t", "has a query or a fragment"),
        ("redis://u:s3cr3t@cache#s3cr3t", "has a query or a fragment"),
        ("redis://u:s3cr3t%ff@cache", "has a bad percent-encoding"),
        ("redis:///0", "has no host"),
        ("redis:", "has no host"),
        ("redis://u:s3cr3t@a,b", "has several hosts"),
        ("redis-cluster://u:s3cr3t@", "has no host"),
        ("redis-cluster://u:s3cr3t@a,", "has no host"),
        ("redis-cluster://u:s3cr3t@a,:1", "is not a URL"),
        ("redis-cluster://u:s3cr3t@a,b:0", "has the port 0"),
        ("redis-cluster://u:s3cr3t@a/1", "has a database, but a cluster has only 0"),
        ("redis-cluster://u:s3cr3t@a?master=m", "has a query or a fragment"),
        ("redis-sentinel://u:s3cr3t@a", "does not say which master"),
        ("redis-sentinel://u:s3cr3t@a?master=", "has an unknown query"),
        ("redis-sentinel://u:s3cr3t@a?master=m&password=s3cr3t", "has an unknown query"),
        ("redis-sentinel://u:s3cr3t@a?master=m#s3cr3t", "has an unknown query"),
        ("rediss+unix:///socket", "has an unknown scheme"),
        ("redis+unix://u:s3cr3t@host/socket", "has a host before the socket"),
        ("redis+unix:///", "has no path of a socket"),
        ("redis+unix:///socket?db=s3cr3t", "has a database that is not a number"),
        ("redis+unix:///socket?password=s3cr3t", "has an unknown query"),
        ("redis-s3cr3t://host", "has an unknown scheme"),
        ("file://elsewhere/directory", "does not name a directory of this host"),
        ("file:///directory#1", "has a '?' or a '#', which would end the path: write %3F or %23 instead"),
        ("file:///directory?x", "has a '?' or a '#', which would end the path: write %3F or %23 instead"),
        ("file:///directory?", "has a '?' or a '#'"),
        ("file:///directory#", "has a '?' or a '#'"),
        ("file:///", "names the root directory"),
        ("file:///..", "names the root directory"),
        ("file:////", "names the root directory"),
        ("file:///a%00b", "has a control character"),
        ("file:///a\tb", "has a control character"),
        ("file:///a\nb", "has a control character"),
        ("file:", "does not name a directory of this host"),
        ("file:directory", "does not name a directory of this host"),
        ("file:/directory", "does not name a directory of this host"),
    ] {
        let message = fault(&[("url", text(url))], "url");
        assert!(message.contains(what), "{url}: {message}");
        assert!(message.contains("redis://host:port/db") && message.contains("memory:"), "{message}");
    }
}

#[test]
fn options_can_be_printed_without_their_password() {
    let url = ("url", text("redis://u:s3cr3t@h"));
    let options = parse(std::slice::from_ref(&url)).unwrap();
    let overridden = parse(&[url, ("password", text("s3cr3t2"))]).unwrap();
    let Target::Redis(endpoint) = &options.target else { panic!("{options:?}") };
    let shown = format!("{options:?} {overridden:?} {endpoint} {endpoint:?}");
    assert!(!shown.contains(PASSWORD), "{shown}");
}

#[test]
fn the_typings_document_exactly_the_options_that_exist() {
    let documented: BTreeSet<_> = documented_options().into_keys().collect();
    assert_eq!(documented, names_in_messages());
}

#[test]
fn the_typings_document_the_defaults_of_the_code() {
    let options = parse(&[]).unwrap();
    let word = |debug: String| format!("'{}'", debug.to_lowercase());
    let expected = [
        ("keyPrefix", format!("'{KEY_PREFIX}'")),
        ("refreshIntervalMs", grouped(REFRESH_INTERVAL_MS)),
        ("leaseTtlMs", "1.5 times `refreshIntervalMs`".into()),
        (
            "maxAgeMs",
            format!("{} (24 hours), or `refreshIntervalMs` where that is longer", grouped(MAX_AGE_MS)),
        ),
        ("coldStartWaitMs", grouped(COLD_START_WAIT_MS)),
        ("connectTimeoutMs", grouped(CONNECT_TIMEOUT_MS)),
        ("commandTimeoutMs", grouped(COMMAND_TIMEOUT_MS)),
        ("role", word(format!("{:?}", options.role))),
        ("whenUnavailable", word(format!("{:?}", options.when_unavailable))),
        ("whenRefused", word(format!("{:?}", options.when_refused))),
        ("compression", word(format!("{:?}", options.compression))),
    ];
    let documented = documented_options();
    for (name, default) in expected {
        assert_eq!(default_of(&documented[name]), default, "@default of {name}");
    }
    for (name, text) in &documented {
        let required = name == "projectKey";
        assert_eq!(text.contains("@default"), !required, "{name} has a default, unless it is required");
        assert_eq!(text.contains("Required."), required, "{name}");
        assert_eq!(NUMBERS.contains(&name.as_str()), text.contains("Milliseconds"), "{name} states its unit");
    }
}

#[test]
fn the_typings_document_the_bounds_of_the_code() {
    let documented = documented_options();
    let interval = format!("at least {MIN_REFRESH_INTERVAL_MS}");
    assert!(documented["refreshIntervalMs"].contains(&interval));
    for name in NUMBERS {
        let zero_is_allowed = parse(&[(name, Given::Number(0.0))]).is_ok();
        let what = if zero_is_allowed { "0: " } else { "0 is not allowed" };
        assert!(documented[name].contains(what), "{name} says what 0 means");
    }
}

fn parse(given: &[(&str, Given)]) -> Result<Options, Error> {
    let mut all = BTreeMap::from([("projectKey".to_owned(), text("phc_test"))]);
    all.extend(given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Options::from_given(all)
}

fn text(text: &str) -> Given {
    Given::Text(text.into())
}

fn fields(given: &[(&str, Given)]) -> (&'static str, Given) {
    let fields = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    ("tls", Given::Fields(fields.collect()))
}

fn target(url: &str) -> Target {
    parse(&[("url", text(url))]).unwrap().target
}

fn endpoint(url: &str, given: &[(&str, Given)]) -> Endpoint {
    let all: Vec<_> = given.iter().cloned().chain([("url", text(url))]).collect();
    match parse(&all).unwrap().target {
        Target::Redis(endpoint) => *endpoint,
        other => panic!("{url}: {other:?}"),
    }
}

/// The message of the fault, which names the option, what is allowed, and never a password.
fn fault(given: &[(&str, Given)], name: &str) -> String {
    checked(&parse(given).expect_err(name), name)
}

fn checked(error: &Error, name: &str) -> String {
    let message = error.to_string();
    assert_eq!(error.code(), Code::Options, "{message}");
    assert!(message.starts_with(&format!("option '{name}' ")), "{message}");
    assert!(message.split_once("; allowed: ").is_some_and(|(_, allowed)| allowed.len() > 3), "{message}");
    assert!(!format!("{message} {error:?}").contains(PASSWORD), "{message}");
    message
}

fn names_in_messages() -> BTreeSet<String> {
    let message = fault(&[("?", Given::Number(1.0))], "?");
    let (_, names) = message.split_once("; allowed: ").unwrap();
    names.split(", ").map(str::to_owned).collect()
}

/// Each option of `index.d.ts` with its comment, as one line without asterisks.
fn documented_options() -> BTreeMap<String, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("index.d.ts");
    let typings = std::fs::read_to_string(file).unwrap();
    let (_, interface) = typings.split_once("export interface FlagDefinitionCacheOptions {").unwrap();
    let (interface, _) = interface.split_once("\n}").unwrap();
    let mut options = BTreeMap::new();
    for part in interface.split("/**").skip(1) {
        let (comment, declaration) = part.split_once("*/").unwrap();
        let lines = comment.lines().map(|line| line.trim().trim_start_matches('*').trim());
        let (name, _) = declaration.trim().split_once(':').unwrap();
        let words: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        options.insert(name.trim_end_matches('?').to_owned(), words.join(" "));
    }
    assert_eq!(interface.matches("\n  /**").count(), options.len(), "each option has a comment");
    options
}

fn default_of(comment: &str) -> &str {
    comment.split_once("@default ").map_or("", |(_, default)| default)
}

/// As numbers are written in the typings: 86_400_000.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join("_")
}
