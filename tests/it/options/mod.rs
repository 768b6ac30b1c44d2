//! What the options allow, and what they default to.

mod typings;
mod urls;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use posthog_flag_cache::config::options::{
    COLD_START_WAIT_MS, COMMAND_TIMEOUT_MS, CONNECT_TIMEOUT_MS, Given, KEY_PREFIX, MAX_AGE_MS,
    MAX_DURATION_MS, MIN_REFRESH_INTERVAL_MS, Options, REFRESH_INTERVAL_MS, Role, WhenUnavailable,
};
use posthog_flag_cache::config::target::{Directory, Endpoint, Login, Target, Topology};
use posthog_flag_cache::definitions::codec::Compression;
use posthog_flag_cache::error::{Code, Error};

use crate::support::authority::Authority;

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
    assert_eq!(options.local_copy, None);
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
        assert!(fault(&[("clientName", text(bad))], "clientName").contains("without spaces"), "{bad:?}");
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
        assert!(message.starts_with("unknown option"), "{message}");
    }
    let all: BTreeSet<_> = NUMBERS
        .into_iter()
        .chain(TEXTS)
        .chain(["tls", "localCopy", "credentials"])
        .map(str::to_owned)
        .collect();
    assert_eq!(names_in_messages(), all);
    for name in all {
        let value = if NUMBERS.contains(&&*name) { Given::Number(-1.0) } else { Given::Other("null") };
        assert!(!fault(&[(&name, value)], &name).starts_with("unknown option"), "{name} exists");
    }
}

#[test]
fn a_local_copy_is_off_or_on_or_in_a_given_directory() {
    let parsed =
        |value: Given, url: &str| parse(&[("localCopy", value), ("url", text(url))]).unwrap().local_copy;
    let redis = |value: Given| parsed(value, "redis://h");
    assert_eq!(redis(Given::Flag(false)), None);
    assert_eq!(redis(Given::Flag(true)), Some(Directory::default_of_this_user()));
    let own = Directory { path: "/var/cache/with blank".into(), is_default: false };
    assert_eq!(redis(text("/var/cache/with blank")), Some(own));
    for url in ["memory:", "file:///directory"] {
        assert_eq!(parsed(Given::Flag(true), url), None, "for development");
    }
    // Whatever the store is: the fault would show in production only.
    for url in ["memory:", "redis://h"] {
        for (bad, what) in [
            (text(""), "is not an absolute path"),
            (text("true"), "is not an absolute path"),
            (text("cache"), "is not an absolute path"),
            (text("file:///cache"), "is not an absolute path"),
            (text("/"), "names the root directory"),
            (text("/a\0b"), "has a control character"),
            (Given::Number(1.0), "is a number"),
            (Given::Other("null"), "is null"),
        ] {
            let message = fault(&[("localCopy", bad), ("url", text(url))], "localCopy");
            assert!(message.contains(what), "{message}");
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
        ("tls.ca", vec![("ca", text("s3cr3t"))], "has no certificate"),
        ("tls.ca", vec![("ca", secret.clone())], "has no certificate"),
        ("tls.ca", vec![("ca", key.clone())], "has no certificate"),
        ("tls.ca", vec![("ca", broken)], "cannot be used"),
        ("tls.ca", vec![("ca", text(""))], "is empty"),
        ("tls.ca", vec![("ca", Given::Other("an object"))], "is an object"),
        ("tls.key", vec![("cert", cert.clone())], "is missing"),
        ("tls.cert", vec![("key", key.clone())], "is missing"),
        ("tls.key", vec![("cert", cert.clone()), ("key", cert.clone())], "has no private key"),
        ("tls.key", vec![("cert", cert.clone()), ("key", secret)], "has no private key"),
        (
            "tls.key",
            vec![("cert", cert.clone()), ("key", other_key)],
            "cannot be used with option 'tls.cert'",
        ),
        ("tls.cert", vec![("cert", key.clone()), ("key", key)], "has no certificate"),
        ("tls.serverName", vec![("serverName", text("no name"))], "is neither a host name nor an IP address"),
        ("tls.insecureSkipVerify", vec![("insecureSkipVerify", text("yes"))], "is a string"),
        ("tls.rejectUnauthorized", vec![("rejectUnauthorized", Given::Flag(false))], "unknown option"),
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
        assert!(message.contains("has no effect with this URL"), "{message}");
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
    let (_, message_of_option) = message.split_at(if message.starts_with("unknown ") { 8 } else { 0 });
    assert!(message_of_option.starts_with(&format!("option '{name}'")), "{message}");
    assert!(message.split_once("; allowed: ").is_some_and(|(_, allowed)| allowed.len() > 3), "{message}");
    assert!(!format!("{message} {error:?}").contains(PASSWORD), "{message}");
    message
}

fn names_in_messages() -> BTreeSet<String> {
    let message = fault(&[("?", Given::Number(1.0))], "?");
    let (_, names) = message.split_once("; allowed: ").unwrap();
    names.split(", ").map(str::to_owned).collect()
}
