//! The option `url`.

use percent_encoding::percent_decode_str;
use url::Url;

use super::invalid;
use super::target::{Address, Directory, Endpoint, Login, Target, Topology};
use super::tls::Tls;
use crate::error::{Error, Result};

pub(super) const SCHEMES: &str = "redis://host:port/db, redis+unix:///socket?db=0, \
    redis-sentinel://host:port,host:port/db?master=name, redis-cluster://host:port,host:port \
    (also valkey instead of redis; rediss or valkeys with TLS), file:///directory, memory:";

/// Parameters that other clients put into a URL, and that are safe to ignore: the cache does the same anyway, has an
/// option for it, or lacks the feature (redis.io/docs/latest/develop/clients/connection-urls, and each client's own
/// page).
const IGNORED: [&str; 41] = [
    // ioredis and node-redis
    "family",
    "keepAlive",
    "connectTimeout",
    "commandTimeout",
    "connectionName",
    "maxRetriesPerRequest",
    "enableReadyCheck",
    "lazyConnect",
    "retryStrategy",
    "allowUsernameInURI",
    // redis-py, Celery and Django
    "protocol",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "retry_on_timeout",
    "health_check_interval",
    "max_connections",
    "decode_responses",
    "encoding",
    "client_name",
    "timeout",
    // go-redis
    "addr",
    "dial_timeout",
    "read_timeout",
    "write_timeout",
    "pool_size",
    "pool_timeout",
    "pool_fifo",
    "min_idle_conns",
    "max_idle_conns",
    "max_active_conns",
    "conn_max_idle_time",
    "conn_max_lifetime",
    "max_retries",
    "min_retry_backoff",
    "max_retry_backoff",
    // Lettuce
    "clientName",
    "libraryName",
    "libraryVersion",
    // Predis
    "persistent",
    "read_write_timeout",
];

/// Parameters about the verification of certificates: ignored too, if there is TLS.
pub(super) const VERIFICATION: [&str; 5] =
    ["rejectUnauthorized", "ssl_cert_reqs", "ssl_check_hostname", "skip_verify", "verifyPeer"];

/// Parameters that name certificates. They are not ignored, because the user does not want the system's CAs.
const CERTIFICATES: [&str; 4] = ["ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"];

/// The parameters in a URL's query.
#[derive(Default)]
struct Query {
    database: Option<i64>,
    master: Option<String>,
    ignored: Vec<&'static str>,
}

/// Parses the URL, and names the parameters in it that have no effect. The rest of the endpoint comes from other options.
pub(super) fn parse(text: &str) -> Result<(Target, Vec<&'static str>)> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once(':') else { return Err(bad("is not a URL")) };
    match scheme.to_ascii_lowercase().as_str() {
        "memory" if rest.is_empty() => Ok((Target::Memory, Vec::new())),
        "memory" => Err(bad("has text after memory:")),
        "file" => Ok((directory(text, rest)?, Vec::new())),
        scheme => {
            let kind = scheme.strip_prefix("redis").or_else(|| scheme.strip_prefix("valkey"));
            let (kind, tls) = match kind.map(|kind| (kind.strip_prefix('s'), kind)) {
                Some((Some(kind), _)) => (kind, Some(Tls::default())),
                Some((None, kind)) => (kind, None),
                None => ("?", None),
            };
            let ((topology, database, login), ignored) = match (kind, &tls) {
                ("+unix", None) => socket(text)?,
                ("" | "-sentinel" | "-cluster", _) => servers(kind, rest, tls.is_some())?,
                // The message must not quote the scheme: in a URL without slashes it can be a password.
                _ => return Err(bad("has an unknown scheme")),
            };
            let (credentials, client_name) = (None, None);
            let endpoint = Endpoint { topology, tls, database, login, credentials, client_name };
            Ok((Target::Redis(Box::new(endpoint)), ignored))
        }
    }
}

fn directory(text: &str, rest: &str) -> Result<Target> {
    let url = parsed(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("has a '?' or a '#', which would end the path: write %3F or %23 instead"));
    }
    // `Url` drops tabs and line breaks, and the system ends a path at a zero byte.
    if rest.contains(char::is_control) || percent_decode_str(url.path()).any(|byte| byte == 0) {
        return Err(bad("has a control character"));
    }
    match url.to_file_path() {
        // `Url` accepts `file:name`, as a path from the root.
        Ok(path) if rest.starts_with("///") => match path.parent() {
            Some(_) => Ok(Target::Directory(Directory { path, is_default: false })),
            // `file:///$DIRECTORY` with an empty variable ends up here.
            None => Err(bad("names the root directory")),
        },
        _ => Err(bad("does not name a directory on this host")),
    }
}

type Servers = ((Topology, i64, Login), Vec<&'static str>);

fn socket(text: &str) -> Result<Servers> {
    let url = parsed(text)?;
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err(bad("has a host before the path of the socket: write redis+unix:/// with three slashes"));
    }
    if !url.path().starts_with('/') || url.path().len() == 1 {
        return Err(bad("has no path of a socket"));
    }
    if cfg!(not(unix)) {
        return Err(bad("names a Unix socket, which this system does not support"));
    }
    let Query { database, master, ignored } = query(&url, false)?;
    if master.is_some() {
        return Err(bad(UNKNOWN));
    }
    let address = Address::Unix(decoded(url.path())?.into());
    Ok(((Topology::Server(address), database.unwrap_or(0), Login::default()), ignored))
}

fn servers(kind: &str, rest: &str, is_encrypted: bool) -> Result<Servers> {
    let rest = rest.strip_prefix("//").ok_or_else(|| bad("has no host"))?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (login, hosts) = authority
        .rsplit_once('@')
        .map_or(("", authority), |(_, hosts)| authority.split_at(authority.len() - hosts.len()));
    if hosts.contains(',') && kind.is_empty() {
        return Err(bad("has several hosts: begin it with redis-sentinel:// or redis-cluster://"));
    }
    let default_port = if kind == "-sentinel" { 26379 } else { 6379 };
    // `Url` accepts one host only, so each host gets a URL of its own.
    let urls = hosts.split(',').map(|host| match host {
        "" => Err(bad("has no host")),
        host => parsed(&format!("redis://{login}{host}{tail}")),
    });
    let urls = urls.collect::<Result<Vec<_>>>()?;
    let addresses = urls.iter().map(|url| match (url.host_str(), url.port()) {
        (None | Some(""), _) => Err(bad("has no host")),
        (_, Some(0)) => Err(bad("has port 0")),
        (Some(host), port) => {
            Ok(Address::Tcp(host.trim_matches(['[', ']']).to_owned(), port.unwrap_or(default_port)))
        }
    });
    let mut addresses = addresses.collect::<Result<Vec<_>>>()?;
    let url = urls.first().ok_or_else(|| bad("has no host"))?;
    let query = query(url, is_encrypted)?;
    let database = match (url.path().trim_start_matches('/'), query.database) {
        ("", database) => database.unwrap_or(0),
        (index, None) => database(index)?,
        (index, Some(other)) if database(index)? == other => other,
        _ => return Err(bad("names two different databases")),
    };
    let login = Login {
        username: Some(url.username()).filter(|name| !name.is_empty()).map(decoded).transpose()?,
        password: url.password().map(decoded).transpose()?,
    };
    let topology = match (kind, query.master) {
        ("" | "-cluster", Some(_)) => return Err(bad(UNKNOWN)),
        ("-sentinel", None) => return Err(bad("does not name the primary: add ?master=name")),
        ("-sentinel", Some(master)) => {
            Topology::Sentinel { sentinels: addresses, master, login: Login::default() }
        }
        ("-cluster", _) if database != 0 => {
            return Err(bad("names a database, but a cluster has only database 0"));
        }
        ("-cluster", _) => Topology::Cluster { seeds: addresses },
        _ => Topology::Server(addresses.swap_remove(0)),
    };
    Ok(((topology, database, login), query.ignored))
}

const UNKNOWN: &str = "has an unknown parameter, or a fragment (#…)";

fn query(url: &Url, is_encrypted: bool) -> Result<Query> {
    let mut query = Query::default();
    if url.fragment().is_some() || url.query() == Some("") {
        return Err(bad(UNKNOWN));
    }
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "db" | "database" if query.database.is_none() => query.database = Some(database(&value)?),
            "master" | "master_name" | "sentinelMasterId" if query.master.is_none() && !value.is_empty() => {
                query.master = Some(value.into_owned())
            }
            "tls" | "ssl"
                if !is_encrypted && !matches!(value.to_ascii_lowercase().as_str(), "false" | "0") =>
            {
                return Err(bad("asks for TLS in a parameter: begin it with rediss:// or valkeys://"));
            }
            "tls" | "ssl" => {}
            // It is about certificates, so this URL was meant to be one with TLS.
            name if VERIFICATION.contains(&name) && !is_encrypted => {
                return Err(bad(
                    "has a parameter about certificates, but no TLS: begin it with rediss:// or valkeys://",
                ));
            }
            "user" | "username" | "pass" | "password" => {
                return Err(bad("has a login in its parameters: write user:password@ before the host"));
            }
            name if CERTIFICATES.contains(&name) => {
                return Err(bad("names files with certificates: pass their content in option 'tls'"));
            }
            name => match IGNORED.iter().chain(&VERIFICATION).find(|ignored| **ignored == name) {
                Some(ignored) => query.ignored.push(ignored),
                None => return Err(bad(UNKNOWN)),
            },
        }
    }
    Ok(query)
}

fn database(index: &str) -> Result<i64> {
    let index = index.parse().ok().filter(|index| (0..=i64::from(u16::MAX)).contains(index));
    index.ok_or_else(|| bad("has a database that is not a number from 0 to 65535"))
}

fn decoded(text: &str) -> Result<String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(cause) => Err(bad("has an invalid percent-encoding").caused_by(cause)),
    }
}

fn parsed(text: &str) -> Result<Url> {
    Url::parse(text).map_err(|cause| bad("is not a URL").caused_by(cause))
}

fn bad(fault: &str) -> Error {
    invalid("url", fault, SCHEMES)
}
