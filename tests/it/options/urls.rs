//! What a URL names.

use posthog_flag_cache::config::target::{Address, Endpoint, Login, Topology};
use posthog_flag_cache::config::target::{Directory, Target};

use super::{endpoint, fault, parse, target, text};

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
fn a_database_may_be_a_parameter_too() {
    for (url, database) in [
        ("redis://h?db=3", 3),
        ("redis://h/?db=3", 3),
        ("redis://h/3?db=3", 3),
        ("redis-sentinel://h?master=m&db=2", 2),
        ("redis-sentinel://h/2?sentinelMasterId=m", 2),
        ("redis-sentinel://h?master_name=m&database=2", 2),
    ] {
        assert_eq!(endpoint(url, &[]).database, database, "{url}");
    }
}

#[test]
fn parameters_of_other_clients_are_ignored_where_that_is_safe_and_named() {
    let warning = |url: &str| parse(&[("url", text(url))]).unwrap().warning();
    for url in [
        "redis://h",
        "rediss://h?ssl=true&tls=1",
        "redis://h?tls=false&ssl=0",
        "memory:",
        "file:///directory",
    ] {
        assert!(warning(url).is_none(), "{url}");
    }
    let told = warning("redis://h?family=0&socket_timeout=5&protocol=3").unwrap();
    let expected = "option 'url' has parameters without effect: family, socket_timeout, protocol";
    assert_eq!(told.fault(), expected);
    for name in ["ssl_cert_reqs=none", "rejectUnauthorized=false", "skip_verify=true", "verifyPeer=NONE"] {
        let told = warning(&format!("rediss://h?{name}")).unwrap();
        assert!(told.to_string().contains("'tls.insecureSkipVerify'"), "{told}");
    }
    assert!(warning("redis-cluster://h?pool_size=5").is_some());
    assert!(warning("redis-sentinel://h?master=m&family=4").is_some());
    assert!(warning("redis+unix:///socket?db=1&timeout=5").is_some());
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
        ("redis://u:s3cr3t@cache?s3cr3t", "has an unknown parameter, or a fragment"),
        ("redis://u:s3cr3t@cache#s3cr3t", "has an unknown parameter, or a fragment"),
        ("redis://cache?password=s3cr3t", "has a login in its parameters"),
        ("redis://cache?user=s3cr3t", "has a login in its parameters"),
        ("redis://u:s3cr3t@cache?ssl_cert_reqs=required", "has a parameter about certificates, but no TLS"),
        ("redis://u:s3cr3t@cache?rejectUnauthorized=false", "has a parameter about certificates, but no TLS"),
        ("redis-cluster://u:s3cr3t@cache?verifyPeer=FULL", "has a parameter about certificates, but no TLS"),
        ("redis://u:s3cr3t%ff@cache", "has an invalid percent-encoding"),
        ("redis:///0", "has no host"),
        ("redis:", "has no host"),
        ("redis://u:s3cr3t@a,b", "has several hosts"),
        ("redis-cluster://u:s3cr3t@", "has no host"),
        ("redis-cluster://u:s3cr3t@a,", "has no host"),
        ("redis-cluster://u:s3cr3t@a,:1", "is not a URL"),
        ("redis-cluster://u:s3cr3t@a,b:0", "has port 0"),
        ("redis-cluster://u:s3cr3t@a/1", "names a database, but a cluster has only database 0"),
        ("redis://u:s3cr3t@cache?password=s3cr3t", "has a login in its parameters"),
        ("redis://u:s3cr3t@cache/1?db=2", "names two different databases"),
        ("redis://u:s3cr3t@cache?db=s3cr3t", "has a database that is not a number"),
        ("redis://u:s3cr3t@cache?db=1&db=1", "has an unknown parameter, or a fragment"),
        ("redis://u:s3cr3t@cache?master=m", "has an unknown parameter, or a fragment"),
        ("redis://u:s3cr3t@cache?tls=true", "asks for TLS"),
        ("redis://u:s3cr3t@cache?ssl", "asks for TLS"),
        ("rediss://u:s3cr3t@cache?ssl_ca_certs=/s3cr3t.pem", "names files with certificates"),
        ("redis-cluster://u:s3cr3t@cache?db=1", "names a database, but a cluster has only database 0"),
        ("redis+unix:///socket?master=m", "has an unknown parameter, or a fragment"),
        ("redis-cluster://u:s3cr3t@a?master=m", "has an unknown parameter, or a fragment"),
        ("redis-sentinel://u:s3cr3t@a", "does not name the primary"),
        ("redis-sentinel://u:s3cr3t@a?master=", "has an unknown parameter"),
        ("redis-sentinel://u:s3cr3t@a?master=m&password=s3cr3t", "has a login in its parameters"),
        ("redis-sentinel://u:s3cr3t@a?master=m#s3cr3t", "has an unknown parameter"),
        ("rediss+unix:///socket", "has an unknown scheme"),
        ("redis+unix://u:s3cr3t@host/socket", "has a host before the path of the socket"),
        ("redis+unix:///", "has no path of a socket"),
        ("redis+unix:///socket?db=s3cr3t", "has a database that is not a number"),
        ("redis+unix:///socket?password=s3cr3t", "has a login in its parameters"),
        ("redis-s3cr3t://host", "has an unknown scheme"),
        ("file://elsewhere/directory", "does not name a directory on this host"),
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
        ("file:", "does not name a directory on this host"),
        ("file:directory", "does not name a directory on this host"),
        ("file:/directory", "does not name a directory on this host"),
    ] {
        let message = fault(&[("url", text(url))], "url");
        assert!(message.contains(what), "{url}: {message}");
        assert!(message.contains("redis://host:port/db") && message.contains("memory:"), "{message}");
    }
}
