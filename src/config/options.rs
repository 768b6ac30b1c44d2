//! The options, typed and validated, and their defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::credentials::CredentialsFunction;
use super::target::{Directory, Endpoint, Login, Target, Topology};
use super::tls::{Fault, Tls};
use super::{invalid, url};
use crate::definitions::codec::Compression;
use crate::error::{Code, Error, Result};
use crate::lease::Rule;

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
/// The minimum of `refreshIntervalMs`: posthog-node's own minimum.
pub const MIN_REFRESH_INTERVAL_MS: u64 = 100;
/// The maximum of every duration: a year.
pub const MAX_DURATION_MS: u64 = 365 * 24 * 60 * 60 * 1000;

const PROJECT_KEY: &str = "the project API key, 'phc_…'";

/// A value as JavaScript passed it.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// A string.
    Text(String),
    /// A number, NaN and the infinities included.
    Number(f64),
    /// A boolean.
    Flag(bool),
    /// An object with options of its own.
    Fields(BTreeMap<String, Given>),
    /// A function that returns credentials.
    Credentials(CredentialsFunction),
    /// Any other value: the name of its type.
    Other(&'static str),
}

impl Given {
    /// The text of this field.
    pub fn field(&self, name: &str) -> Option<&str> {
        match self {
            Given::Fields(fields) => match fields.get(name) {
                Some(Given::Text(text)) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Given::Text(_) => "a string",
            Given::Number(_) => "a number",
            Given::Flag(_) => "a boolean",
            Given::Fields(_) => "an object",
            Given::Credentials(_) => "a function",
            Given::Other(kind) => kind,
        }
    }
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Fetches when the rule grants it.
    Auto,
    /// Never fetches and never writes.
    Reader,
}

/// What `shouldFetchFlagDefinitions()` does while the store is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// It rejects, so that posthog-node fetches on its own.
    Fetch,
    /// It answers "do not fetch" while this process has definitions that are young enough.
    Stale,
}

/// What the fleet does while PostHog refuses the definitions to the whole project (402, quota exceeded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenRefused {
    /// Every process keeps its definitions.
    Keep,
    /// Every process drops its definitions, as posthog-node does without a cache.
    Clear,
}

/// The options of one worker.
#[derive(Clone, Debug)]
pub struct Options {
    /// The key of the PostHog project.
    pub project_key: String,
    /// The prefix of every key in the store.
    pub key_prefix: String,
    /// Where the store is.
    pub target: Target,
    /// The durations of the rule.
    pub rule: Rule,
    /// The store drops the snapshot after this long without a commit.
    pub max_age: Duration,
    /// The timeout for connecting.
    pub connect_timeout: Duration,
    /// How long the store may be silent during a command.
    pub command_timeout: Duration,
    /// What this worker does.
    pub role: Role,
    /// Whether posthog-node fetches, or goes on with old definitions, while the store is unavailable.
    pub when_unavailable: WhenUnavailable,
    /// What happens while PostHog refuses the definitions.
    pub when_refused: WhenRefused,
    /// Whether snapshots are compressed.
    pub compression: Compression,
    /// Where this host keeps a copy of the newest definitions. Only for a store behind a network.
    pub local_copy: Option<Directory>,
    /// Parameters in `url` that have no effect.
    pub ignored: Vec<&'static str>,
}

impl Options {
    /// Validates the options. The error names the first fault.
    pub fn from_given(given: BTreeMap<String, Given>) -> Result<Self> {
        let mut given = Fields(given);
        let project_key =
            given.name("projectKey")?.ok_or_else(|| invalid("projectKey", "is required", PROJECT_KEY))?;
        // It is part of key names, and is shown.
        if project_key.starts_with("phs_") || project_key.starts_with("phx_") {
            return Err(invalid("projectKey", "is a secret key (phs_… or phx_…)", PROJECT_KEY));
        }
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
        let (target, ignored) = given.target()?;
        // A directory is on this host's disk already, and `memory:` must not write to it.
        let local_copy = given.local_copy()?.filter(|_| matches!(target, Target::Redis(_)));
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
            when_refused: given
                .choice("whenRefused", &[("keep", WhenRefused::Keep), ("clear", WhenRefused::Clear)])?,
            compression: given.choice(
                "compression",
                &[("auto", Compression::Auto), ("zstd", Compression::Zstd), ("none", Compression::None)],
            )?,
            target,
            local_copy,
            ignored,
            project_key,
            key_prefix,
        };
        given.ensure_empty(OPTION_NAMES)?;
        Ok(options)
    }

    /// What the user should know of options that are accepted.
    pub fn warning(&self) -> Option<Error> {
        if self.ignored.is_empty() {
            return None;
        }
        let is_about_certificates = self.ignored.iter().any(|name| url::VERIFICATION.contains(name));
        let advice = if is_about_certificates {
            "Remove them from the URL. Certificates are verified unless option 'tls.insecureSkipVerify' is true."
        } else {
            "They may stay there for other programs. For this cache, use its options instead."
        };
        let message = format!("option 'url' has parameters without effect: {}", self.ignored.join(", "));
        Some(Error::new(Code::Options, message).advising(advice))
    }

    /// The timeout for a whole call of a process that has definitions: one connect, one command, and the same command
    /// again if its connection was lost.
    pub fn call_limit(&self) -> Duration {
        self.connect_timeout + 2 * self.command_timeout
    }

    /// The key of the definitions. The braces put all keys of a project into one slot of a cluster.
    pub fn data_key(&self) -> String {
        format!("{}:{{{}}}", self.key_prefix, self.project_key)
    }

    /// The key of the fleet's state.
    pub fn state_key(&self) -> String {
        format!("{}:state", self.data_key())
    }

    /// The channel on which a new version is announced.
    pub fn updates_channel(&self) -> String {
        format!("{}:updates", self.data_key())
    }
}

const OPTION_NAMES: &str = "projectKey, url, keyPrefix, refreshIntervalMs, leaseTtlMs, maxAgeMs, \
    coldStartWaitMs, connectTimeoutMs, commandTimeoutMs, role, whenUnavailable, whenRefused, compression, localCopy, \
    username, password, credentials, sentinelUsername, sentinelPassword, tls, clientName";

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// The options that have not been read yet. Options that remain at the end are unknown.
pub(super) struct Fields(pub(super) BTreeMap<String, Given>);

impl Fields {
    /// Fails if an option remains.
    pub(super) fn ensure_empty(&self, allowed: &str) -> Result<()> {
        match self.0.keys().next() {
            Some(name) => {
                Err(Error::new(Code::Options, format!("unknown option '{name}'; allowed: {allowed}")))
            }
            None => Ok(()),
        }
    }

    fn text(&mut self, name: &str, allowed: &str) -> Result<Option<String>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Given::Text(text)) if text.is_empty() => Err(invalid(name, "is empty", allowed)),
            Some(Given::Text(text)) => Ok(Some(text)),
            Some(other) => Err(invalid(name, &format!("is {}", other.kind()), allowed)),
        }
    }

    /// A part of a key. Braces would break its hash tag; blanks and control characters would make it hard to read.
    fn name(&mut self, name: &str) -> Result<Option<String>> {
        const ALLOWED: &str =
            "a string of at most 200 characters without spaces, control characters or braces";
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
            Some(other) => Err(invalid(name, &format!("is {}", other.kind()), &allowed())),
        }
    }

    /// One of these words; the first is the default.
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

    fn target(&mut self) -> Result<(Target, Vec<&'static str>)> {
        let url = self.text("url", url::SCHEMES)?;
        let login = self.login("username", "password")?;
        let credentials = self.credentials()?;
        let sentinel_login = self.login("sentinelUsername", "sentinelPassword")?;
        let given_tls = self.tls()?;
        const CLIENT_NAME: &str = "a string of printable ASCII without spaces";
        let client_name = self.text("clientName", CLIENT_NAME)?;
        if client_name.as_ref().is_some_and(|name| name.contains(|c: char| !c.is_ascii_graphic())) {
            return Err(invalid("clientName", "has characters that the server rejects", CLIENT_NAME));
        }
        let (target, ignored) = match url {
            Some(text) => url::parse(&text)?,
            None => (Target::Directory(Directory::default_of_this_user()), Vec::new()),
        };
        let Target::Redis(endpoint) = target else { return Ok((target, ignored)) };
        let endpoint = *endpoint;
        let tls = match (endpoint.tls, given_tls) {
            (None, Some(_)) => {
                return Err(invalid(
                    "tls",
                    "has no effect with this URL",
                    "only with rediss:// or valkeys:// in option 'url'",
                ));
            }
            (from_url, given) => given.or(from_url),
        };
        let topology = match endpoint.topology {
            Topology::Sentinel { sentinels, master, .. } => {
                Topology::Sentinel { sentinels, master, login: sentinel_login }
            }
            _ if sentinel_login != Login::default() => {
                let name =
                    if sentinel_login.password.is_some() { "sentinelPassword" } else { "sentinelUsername" };
                return Err(invalid(
                    name,
                    "has no effect with this URL",
                    "only with redis-sentinel:// in option 'url'",
                ));
            }
            topology => topology,
        };
        let login = Login {
            username: login.username.or(endpoint.login.username),
            password: login.password.or(endpoint.login.password),
        };
        if credentials.is_some() && login.password.is_some() {
            let allowed = "either this option, or a password in option 'password' or option 'url'";
            return Err(invalid("credentials", "cannot be combined with a password", allowed));
        }
        let endpoint = Endpoint { topology, tls, login, credentials, client_name, ..endpoint };
        Ok((Target::Redis(Box::new(endpoint)), ignored))
    }

    fn local_copy(&mut self) -> Result<Option<Directory>> {
        const ALLOWED: &str =
            "false, true (this user's private default directory), or the absolute path of a directory";
        let bad = |fault: &str| Err(invalid("localCopy", fault, ALLOWED));
        let path = match self.0.remove("localCopy") {
            None | Some(Given::Flag(false)) => return Ok(None),
            Some(Given::Flag(true)) => return Ok(Some(Directory::default_of_this_user())),
            Some(Given::Text(path)) if path.contains(char::is_control) => {
                return bad("has a control character");
            }
            Some(Given::Text(path)) => PathBuf::from(path),
            Some(other) => return bad(&format!("is {}", other.kind())),
        };
        if !path.is_absolute() {
            return bad("is not an absolute path");
        }
        match path.parent() {
            Some(_) => Ok(Some(Directory { path, is_default: false })),
            // `/$DIRECTORY` with an empty variable ends up here.
            None => bad("names the root directory"),
        }
    }

    fn credentials(&mut self) -> Result<Option<CredentialsFunction>> {
        match self.0.remove("credentials") {
            None => Ok(None),
            Some(Given::Credentials(function)) => Ok(Some(function)),
            Some(other) => {
                let allowed = "a function that returns { username?, password, expiresAt?, tls? }";
                Err(invalid("credentials", &format!("is {}", other.kind()), allowed))
            }
        }
    }

    pub(super) fn login(&mut self, username: &str, password: &str) -> Result<Login> {
        Ok(Login {
            username: self.text(username, "the name of an ACL user")?,
            password: self.text(password, "that user's password")?,
        })
    }

    pub(super) fn tls(&mut self) -> Result<Option<Tls>> {
        const ALLOWED: &str = "an object with any of ca, cert, key, serverName, insecureSkipVerify";
        const PEM: &str = "a string in PEM, '-----BEGIN …'";
        let mut given = match self.0.remove("tls") {
            None => return Ok(None),
            Some(Given::Fields(fields)) => {
                Fields(fields.into_iter().map(|(name, value)| (format!("tls.{name}"), value)).collect())
            }
            Some(other) => return Err(invalid("tls", &format!("is {}", other.kind()), ALLOWED)),
        };
        let ca = given.text("tls.ca", PEM)?;
        let identity = match (given.text("tls.cert", PEM)?, given.text("tls.key", PEM)?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(invalid("tls.key", "is missing", "the private key of option 'tls.cert'"));
            }
            (None, Some(_)) => {
                return Err(invalid("tls.cert", "is missing", "the certificate of option 'tls.key'"));
            }
        };
        let server_name = given.text("tls.serverName", "a host name or an IP address")?;
        let insecure_skip_verify = match given.0.remove("tls.insecureSkipVerify") {
            None => false,
            Some(Given::Flag(flag)) => flag,
            Some(other) => {
                let fault = format!("is {}", other.kind());
                return Err(invalid("tls.insecureSkipVerify", &fault, "true or false"));
            }
        };
        given.ensure_empty(ALLOWED)?;
        let tls = Tls { ca, identity, server_name, insecure_skip_verify };
        tls.check().map_err(|Fault(name, fault)| {
            let allowed = if name == "tls.serverName" { "a host name or an IP address" } else { PEM };
            invalid(name, &fault, allowed)
        })?;
        Ok(Some(tls))
    }
}
