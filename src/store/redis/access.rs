//! How to log in to the servers of one deployment, and how to encrypt.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::dial::Encryption;
use crate::blocking::Blocking;
use crate::config::credentials::Credentials;
use crate::config::target::{Endpoint, Login};
use crate::config::tls::Tls;

/// Credentials are renewed at the earliest after this time.
const RENEWED_AFTER: Duration = Duration::from_secs(1);

/// The same for credentials that have already expired: one of the clocks may be wrong.
const EXPIRED_RENEWED_AFTER: Duration = Duration::from_secs(30);

/// What one login needs.
pub struct Access {
    pub login: Login,
    /// When to log in again; `None`: never.
    pub renew_at: Option<Instant>,
    tls: Option<Tls>,
    encryption: OnceCell<Option<Encryption>>,
}

impl Access {
    /// From the options.
    pub fn fixed(endpoint: &Endpoint) -> Self {
        let Endpoint { login, tls, .. } = endpoint.clone();
        Access { login, renew_at: None, tls, encryption: OnceCell::new() }
    }

    /// From the function, and from the options for fields that it does not set. Fails if the function returns TLS
    /// settings and the URL has no TLS.
    pub fn granted(endpoint: &Endpoint, credentials: Credentials) -> io::Result<Self> {
        let Endpoint { login: given, tls: given_tls, .. } = endpoint.clone();
        let Credentials { login, tls, lifetime } = credentials;
        let tls = match (given_tls, tls) {
            (None, Some(_)) => {
                return Err(io::Error::other(
                    "it returned tls, which needs rediss:// or valkeys:// in option 'url'",
                ));
            }
            (Some(given), Some(tls)) => Some(tls.or(given)),
            (given, None) => given,
        };
        let login = Login { username: login.username.or(given.username), password: login.password };
        let renew_at = lifetime.map(|lifetime| Instant::now() + renewed_after(lifetime));
        Ok(Access { login, renew_at, tls, encryption: OnceCell::new() })
    }

    /// The TLS settings; `None` if connections are not encrypted.
    pub async fn encryption(&self) -> io::Result<Option<&Encryption>> {
        let make = || async {
            let Some(tls) = self.tls.clone() else { return Ok(None) };
            let server_name = tls.server_name.clone();
            // Without `tls.ca` this reads the certificates of the system.
            let blocking = Blocking::on("certificates", tls.ca.clone().unwrap_or_default());
            let config = blocking.run(move || tls.client_config()).await??;
            io::Result::Ok(Some(Encryption { config: Arc::new(config), server_name }))
        };
        Ok(self.encryption.get_or_try_init(make).await?.as_ref())
    }
}

/// The other half of their lifetime is for attempts that fail.
fn renewed_after(lifetime: Duration) -> Duration {
    if lifetime.is_zero() { EXPIRED_RENEWED_AFTER } else { RENEWED_AFTER.max(lifetime / 2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_renewed_when_half_of_their_lifetime_is_over() {
        let seconds = Duration::from_secs;
        for (lifetime, after) in [(900, 450), (4, 2), (1, 1), (0, 30)] {
            assert_eq!(renewed_after(seconds(lifetime)), seconds(after));
        }
        assert_eq!(renewed_after(Duration::from_millis(1)), seconds(1), "not in a tight loop");
    }
}
