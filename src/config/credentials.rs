//! The option `credentials`: a function of the host program that returns how to log in, for passwords that change.

use std::error::Error as StdError;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::invalid;
use super::options::{Fields, Given, MAX_DURATION_MS};
use super::target::Login;
use super::tls::Tls;
use crate::error::Result;

/// An earlier time than this (2001-09-09) is most probably in seconds.
const EARLIEST_MS: f64 = 1e12;

/// Calls the function.
#[async_trait]
pub trait CredentialsProvider: Send + Sync {
    /// Calls it. Has no timeout of its own. The error is the value that it threw.
    async fn call(&self) -> Result<Given, Box<dyn StdError + Send + Sync>>;
}

/// The function; equal to itself alone.
#[derive(Clone)]
pub struct CredentialsFunction(pub Arc<dyn CredentialsProvider>);

/// What the function returned.
pub struct Credentials {
    /// The user, if it named one, and the password.
    pub login: Login,
    /// Certificates for this login.
    pub tls: Option<Tls>,
    /// How long they are valid from now on; zero for those that have expired.
    pub lifetime: Option<Duration>,
}

impl Credentials {
    /// Validates what the function returned.
    pub fn from_given(given: Given) -> Result<Self> {
        const ALLOWED: &str = "an object with password, and optionally username, expiresAt and tls";
        let Given::Fields(fields) = given else {
            return Err(invalid("credentials()", &format!("is {}", given.kind()), ALLOWED));
        };
        let tls = Fields(fields.get("tls").map(|tls| ("tls".to_owned(), tls.clone())).into_iter().collect())
            .tls()?;
        let others = fields.into_iter().filter(|(name, _)| name != "tls");
        let mut fields =
            Fields(others.map(|(name, value)| (format!("credentials().{name}"), value)).collect());
        let login = fields.login("credentials().username", "credentials().password")?;
        if login.password.is_none() {
            return Err(invalid("credentials().password", "is missing", "a password or a token"));
        }
        let lifetime = fields.lifetime("credentials().expiresAt")?;
        fields.ensure_empty(ALLOWED)?;
        Ok(Credentials { login, tls, lifetime })
    }
}

impl Fields {
    fn lifetime(&mut self, name: &str) -> Result<Option<Duration>> {
        const ALLOWED: &str = "milliseconds since 1970, as Date.now() returns them";
        match self.0.remove(name) {
            None => Ok(None),
            Some(Given::Number(at)) if at.is_finite() && at >= EARLIEST_MS => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let left = (at - now.as_secs_f64() * 1e3).clamp(0.0, MAX_DURATION_MS as f64);
                Ok(Some(Duration::from_secs_f64(left / 1e3)))
            }
            Some(Given::Number(at)) => Err(invalid(name, &format!("is {at}"), ALLOWED)),
            Some(other) => Err(invalid(name, &format!("is {}", other.kind()), ALLOWED)),
        }
    }
}

impl CredentialsFunction {
    fn address(&self) -> *const () {
        Arc::as_ptr(&self.0).cast()
    }
}

impl PartialEq for CredentialsFunction {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for CredentialsFunction {}

impl Hash for CredentialsFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

impl fmt::Debug for CredentialsFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialsFunction")
    }
}
