//! The option `url`.

use percent_encoding::percent_decode_str;
use url::Url;

use super::invalid;
use super::target::{Address, Directory, Endpoint, Login, Target, Topology};
use super::tls::Tls;
use crate::error::{Error, Result};

pub(super) const SCHEMES: &str = "redis://host:port/db, redis+unix:///socket?db=0, \
    redis-sentinel://host:port,host:port/db?master=name, redis-cluster://host:port,host:port, \
    each also with valkey, and with rediss or valkeys for TLS; file:///directory, memory:";

/// Parses the URL. The rest of the endpoint comes from other options.
pub(super) fn parse(text: &str) -> Result<Target> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once(':') else { return Err(bad("is not a URL")) };
    match scheme.to_ascii_lowercase().as_str() {
        "memory" if rest.is_empty() => Ok(Target::Memory),
        "memory" => Err(bad("has something behind memory:")),
        "file" => directory(text, rest),
        scheme => {
            let kind = scheme.strip_prefix("redis").or_else(|| scheme.strip_prefix("valkey"));
            let (kind, tls) = match kind.map(|kind| (kind.strip_prefix('s'), kind)) {
                Some((Some(kind), _)) => (kind, Some(Tls::default())),
                Some((None, kind)) => (kind, None),
                None => ("?", None),
            };
            let (topology, database, login) = match (kind, &tls) {
                ("+unix", None) => socket(text)?,
                ("" | "-sentinel" | "-cluster", _) => servers(kind, rest)?,
                // The message must not quote the scheme: in a URL without slashes it can be a password.
                _ => return Err(bad("has an unknown scheme")),
            };
            let (credentials, client_name) = (None, None);
            Ok(Target::Redis(Box::new(Endpoint { topology, tls, database, login, credentials, client_name })))
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
        _ => Err(bad("does not name a directory of this host")),
    }
}

fn socket(text: &str) -> Result<(Topology, i64, Login)> {
    let url = parsed(text)?;
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err(bad("has a host before the socket: it has three slashes"));
    }
    if !url.path().starts_with('/') || url.path().len() == 1 {
        return Err(bad("has no path of a socket"));
    }
    if cfg!(not(unix)) {
        return Err(bad("names a Unix socket, which this system has not"));
    }
    let database = query(&url, "db")?.map_or(Ok(0), |index| database(&index))?;
    let address = Address::Unix(decoded(url.path())?.into());
    Ok((Topology::Server(address), database, Login::default()))
}

fn servers(kind: &str, rest: &str) -> Result<(Topology, i64, Login)> {
    let rest = rest.strip_prefix("//").ok_or_else(|| bad("has no host"))?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (login, hosts) = authority
        .rsplit_once('@')
        .map_or(("", authority), |(_, hosts)| authority.split_at(authority.len() - hosts.len()));
    if hosts.contains(',') && kind.is_empty() {
        return Err(bad("has several hosts, but is not one of Sentinel or a cluster"));
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
        (_, Some(0)) => Err(bad("has the port 0")),
        (Some(host), port) => {
            Ok(Address::Tcp(host.trim_matches(['[', ']']).to_owned(), port.unwrap_or(default_port)))
        }
    });
    let mut addresses = addresses.collect::<Result<Vec<_>>>()?;
    let url = urls.first().ok_or_else(|| bad("has no host"))?;
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        index => database(index)?,
    };
    let login = Login {
        username: Some(url.username()).filter(|name| !name.is_empty()).map(decoded).transpose()?,
        password: url.password().map(decoded).transpose()?,
    };
    let master = query(url, if kind == "-sentinel" { "master" } else { "" })?;
    let topology = match (kind, master) {
        ("-sentinel", None) => return Err(bad("does not say which master: ?master=name")),
        ("-sentinel", Some(master)) => {
            Topology::Sentinel { sentinels: addresses, master, login: Login::default() }
        }
        ("-cluster", _) if database != 0 => return Err(bad("has a database, but a cluster has only 0")),
        ("-cluster", _) => Topology::Cluster { seeds: addresses },
        _ => Topology::Server(addresses.swap_remove(0)),
    };
    Ok((topology, database, login))
}

/// The value of the only parameter that the query may have; `""` allows none.
fn query(url: &Url, allowed: &str) -> Result<Option<String>> {
    let fault =
        if allowed.is_empty() { "has a query or a fragment" } else { "has an unknown query or fragment" };
    let mut pairs = url.query_pairs();
    let value = match (url.query(), pairs.next(), pairs.next()) {
        (None, ..) => None,
        (_, Some((name, value)), None) if name == allowed && !value.is_empty() => Some(value.into_owned()),
        _ => return Err(bad(fault)),
    };
    if url.fragment().is_some() { Err(bad(fault)) } else { Ok(value) }
}

fn database(index: &str) -> Result<i64> {
    let index = index.parse().ok().filter(|index| (0..=i64::from(u16::MAX)).contains(index));
    index.ok_or_else(|| bad("has a database that is not a number"))
}

fn decoded(text: &str) -> Result<String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(cause) => Err(bad("has a bad percent-encoding").caused_by(cause)),
    }
}

fn parsed(text: &str) -> Result<Url> {
    Url::parse(text).map_err(|cause| bad("is not a URL").caused_by(cause))
}

fn bad(fault: &str) -> Error {
    invalid("url", fault, SCHEMES)
}
