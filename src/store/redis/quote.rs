//! Errors in which a server quotes a password of ours.
//!
//! Redis names the arguments of a command that it does not know, and `HELLO`, which old servers, proxies
//! and renamed commands do not know, has the password among them.

use std::error::Error;
use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// So many characters in a row are no coincidence. A quotation may be cut short, or escaped in part.
const TELLING: usize = 6;

/// What an error says before it comes to the password.
#[derive(Debug)]
pub struct Quote(String);

impl Quote {
    /// `None` where the error quotes none of the passwords.
    pub fn of<'a>(passwords: impl Iterator<Item = &'a str>, cause: &impl Error) -> Option<Self> {
        let text = cause.to_string();
        let at = passwords.filter_map(|password| first_form(&text, password)).min()?;
        Some(Quote(format!("{}…", text.get(..at)?)))
    }

    /// Whether the text quotes one of the passwords.
    pub fn is_in<'a>(text: &str, mut passwords: impl Iterator<Item = &'a str>) -> bool {
        passwords.any(|password| first_form(text, password).is_some())
    }
}

/// Where the text holds a part of the password for the first time: as it is, in another case, percent-encoded, or
/// escaped as Rust does.
fn first_form(text: &str, password: &str) -> Option<usize> {
    // Changes no character's length, so that places stay what they are.
    let text = text.to_ascii_lowercase();
    let encoded = utf8_percent_encode(password, NON_ALPHANUMERIC).to_string();
    let forms = [password, &encoded, &password.escape_debug().to_string()].map(str::to_ascii_lowercase);
    forms.iter().filter_map(|form| first_part(&text, form)).min()
}

fn first_part(text: &str, password: &str) -> Option<usize> {
    let characters: Vec<char> = password.chars().collect();
    let parts = characters.windows(TELLING.min(characters.len()).max(1));
    parts.filter_map(|part| text.find(&String::from_iter(part))).min()
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Quote {}

#[cfg(test)]
mod tests {
    use super::Quote;

    fn shown(password: &str, text: &str) -> Option<String> {
        Quote::of(["unused", password].into_iter(), &std::io::Error::other(text))
            .map(|quote| quote.to_string())
    }

    #[test]
    fn an_error_that_quotes_the_password_ends_before_it() {
        let text =
            "unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 's3cr3t pass word' ";
        let told = "unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' '…";
        for password in ["s3cr3t pass word", "s3cr3t pass word, of which we see a part"] {
            assert_eq!(shown(password, text).as_deref(), Some(told));
        }
        assert_eq!(shown("pässwörd", "cannot AUTH pässwörd").as_deref(), Some("cannot AUTH …"));
        assert_eq!(shown("\"s3cr3t", "cannot AUTH \\\"s3cr3t").as_deref(), Some("cannot AUTH …"));
        assert_eq!(shown("s3cr\"et pw", "S3CR\\\"ET PW: no").as_deref(), Some("…"));
        assert_eq!(shown("s3cr\"et", "cannot AUTH s3cr%22et").as_deref(), Some("cannot AUTH …"));
        assert_eq!(shown("pw", "cannot AUTH pw").as_deref(), Some("cannot AUTH …"));
    }

    #[test]
    fn any_other_is_left_as_it_is() {
        for password in ["s3cr3t", "default user", ""] {
            assert_eq!(
                shown(password, "WRONGPASS invalid username-password pair or user is disabled."),
                None
            );
        }
    }
}
