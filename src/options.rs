//! The options of `new FlagDefinitionCache(options)`: typed, with one place for each default.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::{Code, Error, Result};
use crate::lease::Rule;
use crate::snapshot::Compression;

/// Default of `keyPrefix`.
pub const KEY_PREFIX: &str = "posthog:flags";
/// Default of `refreshIntervalMs`: posthog-node's own polling interval.
pub const REFRESH_INTERVAL_MS: u64 = 30_000;
/// Default of `maxAgeMs`.
pub const MAX_AGE_MS: u64 = 24 * 60 * 60 * 1000;
/// Default of `coldStartWaitMs`.
pub const COLD_START_WAIT_MS: u64 = 5_000;
/// Default of `connectTimeoutMs`.
pub const CONNECT_TIMEOUT_MS: u64 = 2_000;
/// Default of `commandTimeoutMs`.
pub const COMMAND_TIMEOUT_MS: u64 = 1_000;
/// The shortest `refreshIntervalMs`: posthog-node's own minimum.
pub const MIN_REFRESH_INTERVAL_MS: u64 = 100;
/// The longest duration of any option: a year.
pub const MAX_DURATION_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// A value as it was given in JavaScript.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// A string.
    Text(String),
    /// A number, NaN and the infinities included.
    Number(f64),
    /// Anything else: the name of its type.
    Other(&'static str),
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Fetches when it is its turn.
    Auto,
    /// Never fetches, never writes.
    Reader,
}

/// What `shouldFetchFlagDefinitions()` does while the store is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// Rejects, so that posthog-node fetches for itself.
    Fetch,
    /// Answers "do not fetch" while this process holds definitions that are young enough.
    Stale,
}

/// Where the fleet keeps what it shares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A Redis (or Valkey) server.
    Redis(Endpoint),
    /// A directory on this host.
    Directory(Directory),
    /// The memory of this process.
    Memory,
}

/// A server, and how to log in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Index of the database.
    pub database: i64,
    /// ACL user; `None`: the default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// Shown by `CLIENT LIST`.
    pub client_name: Option<String>,
}

/// A directory, and whether we chose it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Directory {
    /// Holds one directory per prefix and project.
    pub path: PathBuf,
    /// Ours by default: in a place where other users can write, it must belong to this one.
    pub is_default: bool,
}

/// Everything that a worker needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespaces the keys: one project, one cache.
    pub project_key: String,
    /// Begins every key.
    pub key_prefix: String,
    /// Where the fleet keeps what it shares.
    pub target: Target,
    /// When to fetch.
    pub rule: Rule,
    /// After so long without a grant the store forgets the snapshot.
    pub max_age: Duration,
    /// Limit for connecting.
    pub connect_timeout: Duration,
    /// Limit for one command.
    pub command_timeout: Duration,
    /// What this worker does.
    pub role: Role,
    /// What happens while the store is out of reach.
    pub when_unavailable: WhenUnavailable,
    /// Whether snapshots are compressed.
    pub compression: Compression,
}

impl Options {
    /// Validates what was given; the first fault is named.
    pub fn from_given(given: BTreeMap<String, Given>) -> Result<Self> {
        let mut given = Fields(given);
        let project_key = given
            .name("projectKey")?
            .ok_or_else(|| invalid("projectKey", "is required", "your PostHog project API key, 'phc_…'"))?;
        let key_prefix = given.name("keyPrefix")?.unwrap_or_else(|| KEY_PREFIX.to_owned());
        let refresh_interval =
            given.duration("refreshIntervalMs", MIN_REFRESH_INTERVAL_MS)?.unwrap_or(ms(REFRESH_INTERVAL_MS));
        let lease_ttl = given.duration("leaseTtlMs", 1)?.unwrap_or(refresh_interval * 3 / 2);
        let max_age = given.duration("maxAgeMs", 1)?.unwrap_or(ms(MAX_AGE_MS).max(refresh_interval));
        for (name, duration) in [("leaseTtlMs", lease_ttl), ("maxAgeMs", max_age)] {
            if duration < refresh_interval {
                let got = format!("is {}", duration.as_millis());
                return Err(invalid(name, &got, "at least refreshIntervalMs"));
            }
        }
        let cold_start_wait = given.duration("coldStartWaitMs", 0)?.unwrap_or(ms(COLD_START_WAIT_MS));
        let options = Options {
            rule: Rule { refresh_interval, lease_ttl, cold_start_wait },
            max_age,
            connect_timeout: given.duration("connectTimeoutMs", 1)?.unwrap_or(ms(CONNECT_TIMEOUT_MS)),
            command_timeout: given.duration("commandTimeoutMs", 1)?.unwrap_or(ms(COMMAND_TIMEOUT_MS)),
            role: given.choice("role", &[("auto", Role::Auto), ("reader", Role::Reader)])?,
            when_unavailable: given.choice(
                "whenUnavailable",
                &[("fetch", WhenUnavailable::Fetch), ("stale", WhenUnavailable::Stale)],
            )?,
            compression: given.choice(
                "compression",
                &[("auto", Compression::Auto), ("zstd", Compression::Zstd), ("none", Compression::None)],
            )?,
            target: given.target()?,
            project_key,
            key_prefix,
        };
        match given.0.keys().next() {
            Some(unknown) => Err(invalid(unknown, "is not an option", OPTION_NAMES)),
            None => Ok(options),
        }
    }

    /// The key of the definitions. The braces keep all keys of a project in one slot of a cluster.
    pub fn data_key(&self) -> String {
        format!("{}:{{{}}}", self.key_prefix, self.project_key)
    }

    /// The key of the fleet's state.
    pub fn state_key(&self) -> String {
        format!("{}:state", self.data_key())
    }

    /// The key of the patch from the definitions before.
    pub fn patch_key(&self) -> String {
        format!("{}:patch", self.data_key())
    }

    /// The channel on which a new version is announced.
    pub fn updates_channel(&self) -> String {
        format!("{}:updates", self.data_key())
    }
}

const OPTION_NAMES: &str = "projectKey, url, keyPrefix, refreshIntervalMs, leaseTtlMs, maxAgeMs, \
    coldStartWaitMs, connectTimeoutMs, commandTimeoutMs, role, whenUnavailable, compression, username, \
    password, clientName";

const SCHEMES: &str = "redis://host:port/db, valkey://host:port/db, file:///directory, memory:";

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn invalid(name: &str, fault: &str, allowed: &str) -> Error {
    Error::new(Code::Options, format!("option '{name}' {fault}; allowed: {allowed}"))
}

/// The given options, each taken out when it is read, so that what is left is unknown.
struct Fields(BTreeMap<String, Given>);

impl Fields {
    fn text(&mut self, name: &str, allowed: &str) -> Result<Option<String>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Given::Text(text)) if text.is_empty() => Err(invalid(name, "is empty", allowed)),
            Some(Given::Text(text)) => Ok(Some(text)),
            Some(Given::Number(_)) => Err(invalid(name, "is a number", allowed)),
            Some(Given::Other(kind)) => Err(invalid(name, &format!("is {kind}"), allowed)),
        }
    }

    /// A part of a key: braces would break its hash tag, blanks and controls its readability.
    fn name(&mut self, name: &str) -> Result<Option<String>> {
        const ALLOWED: &str =
            "a string of at most 200 characters without blanks, control characters and braces";
        let text = self.text(name, ALLOWED)?;
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '{' || c == '}';
        match text {
            Some(text) if text.contains(bad) || text.chars().count() > 200 => {
                Err(invalid(name, "cannot be part of a key", ALLOWED))
            }
            text => Ok(text),
        }
    }

    fn duration(&mut self, name: &str, min: u64) -> Result<Option<Duration>> {
        let allowed = || format!("a whole number of milliseconds from {min} to {MAX_DURATION_MS}");
        match self.0.remove(name) {
            None => Ok(None),
            Some(Given::Number(number)) => {
                if number.fract() == 0.0 && number >= min as f64 && number <= MAX_DURATION_MS as f64 {
                    return Ok(Some(ms(number as u64)));
                }
                Err(invalid(name, &format!("is {number}"), &allowed()))
            }
            Some(Given::Text(_)) => Err(invalid(name, "is a string", &allowed())),
            Some(Given::Other(kind)) => Err(invalid(name, &format!("is {kind}"), &allowed())),
        }
    }

    /// One of several words; the first is the default.
    fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Result<T> {
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("'{word}'")).collect();
        let allowed = words.join(", ");
        let text = self.text(name, &allowed)?;
        let chosen = choices.iter().find(|(word, _)| text.as_deref().is_none_or(|text| text == *word));
        match (chosen, text) {
            (Some((_, value)), _) => Ok(*value),
            (None, text) => Err(invalid(name, &format!("is '{}'", text.unwrap_or_default()), &allowed)),
        }
    }

    fn target(&mut self) -> Result<Target> {
        let url = self.text("url", SCHEMES)?;
        let username = self.text("username", "an ACL user")?;
        let password = self.text("password", "that user's password")?;
        const CLIENT_NAME: &str = "a string of printable ASCII without blanks";
        let client_name = self.text("clientName", CLIENT_NAME)?;
        if client_name.as_ref().is_some_and(|name| name.contains(|c: char| !c.is_ascii_graphic())) {
            return Err(invalid("clientName", "would be refused by the server", CLIENT_NAME));
        }
        let Some(text) = url else {
            return Ok(Target::Directory(default_directory()));
        };
        let bad_url = |fault: &str| invalid("url", fault, SCHEMES);
        let url = Url::parse(&text).map_err(|cause| bad_url("is not a URL").caused_by(cause))?;
        match url.scheme() {
            "memory" if url.as_str() == "memory:" => Ok(Target::Memory),
            "memory" => Err(bad_url("has something behind memory:")),
            "file" => match url.to_file_path() {
                // `file:name` parses too, as a path from the root.
                Ok(path) if text.contains(":///") => {
                    Ok(Target::Directory(Directory { path, is_default: false }))
                }
                _ => Err(bad_url("does not name a directory of this host")),
            },
            "redis" | "valkey" => {
                let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
                    Ok(text) => Ok(text.into_owned()),
                    Err(cause) => Err(bad_url("has a bad percent-encoding").caused_by(cause)),
                };
                let host = url.host_str().filter(|host| !host.is_empty());
                let database = match url.path().trim_start_matches('/') {
                    "" => 0,
                    index => index
                        .parse()
                        .ok()
                        .filter(|index| (0..=i64::from(u16::MAX)).contains(index))
                        .ok_or_else(|| bad_url("has a database that is not a number"))?,
                };
                if url.port() == Some(0) {
                    return Err(bad_url("has the port 0"));
                }
                if url.query().is_some() || url.fragment().is_some() {
                    return Err(bad_url("has a query or a fragment"));
                }
                Ok(Target::Redis(Endpoint {
                    host: host.ok_or_else(|| bad_url("has no host"))?.trim_matches(['[', ']']).to_owned(),
                    port: url.port().unwrap_or(6379),
                    database,
                    username: match username {
                        None if !url.username().is_empty() => Some(decode(url.username())?),
                        given => given,
                    },
                    password: match (password, url.password()) {
                        (None, Some(password)) => Some(decode(password)?),
                        (given, _) => given,
                    },
                    client_name,
                }))
            }
            // Not the scheme itself: without its slashes a URL's "scheme" can be a password.
            _ => Err(bad_url("has an unknown scheme")),
        }
    }
}

/// On the host's own disk even where the home directory is shared, and writable even where nothing
/// else is.
fn default_directory() -> Directory {
    #[cfg(unix)]
    // SAFETY: geteuid has no preconditions and cannot fail.
    let owner = unsafe { libc::geteuid() }.to_string();
    #[cfg(not(unix))]
    let owner = "user";
    Directory { path: std::env::temp_dir().join(format!("posthog-flag-cache-{owner}")), is_default: true }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Without the password, so that any message may hold it.
impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "redis://[{}]:{}/{}", self.host, self.port, self.database)
        } else {
            write!(f, "redis://{}:{}/{}", self.host, self.port, self.database)
        }
    }
}
