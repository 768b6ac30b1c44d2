//! How useful a connection was, which decides whether its replacement is made at once.
//!
//! Its age is not enough: if every young connection counted as a failed attempt, calls would fail during the backoff
//! although the server works, for example while connections are killed repeatedly, or on a replica that refuses a write.

use std::time::Duration;

/// A suspect connection that lasts this long is trusted again.
const TRUSTED_AFTER: Duration = Duration::from_secs(2);

/// The health of the current connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// The server has not answered a command yet.
    #[default]
    Untested,
    /// The server has answered a command.
    Working,
    /// A command broke this connection, and had broken the one before.
    Broken,
    /// The connection before was `Broken`. Answers prove nothing: small replies may come through, and the next
    /// large one, requested because a new connection counts as a notice, breaks this connection as well.
    Suspect,
}

impl Health {
    /// Notes that the server answered a command.
    pub fn answered(&mut self) {
        if *self == Health::Untested {
            *self = Health::Working;
        }
    }

    /// Notes that a command broke this connection after it had broken the one before.
    pub fn broken(&mut self) {
        *self = Health::Broken;
    }

    /// Notes that the connection was lost at this age, and becomes the health of the next one. Returns whether
    /// to reconnect at once; `false` means that the lost connection counts as a failed attempt.
    pub fn lost(&mut self, age: Duration) -> bool {
        let (next, at_once) = match self {
            Health::Working => (Health::Untested, true),
            Health::Suspect if age >= TRUSTED_AFTER => (Health::Untested, true),
            Health::Untested => (Health::Untested, false),
            Health::Broken | Health::Suspect => (Health::Suspect, false),
        };
        *self = next;
        at_once
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_millis(10);

    #[test]
    fn a_working_connection_is_replaced_at_once_and_an_untested_one_is_a_failed_attempt() {
        let mut health = Health::default();
        health.answered();
        assert!(health.lost(BRIEF));
        assert!(!health.lost(BRIEF), "the next one is untested");
        assert!(!health.lost(TRUSTED_AFTER), "its age does not matter");
    }

    #[test]
    fn after_a_command_broke_two_connections_answers_prove_nothing_until_one_has_lasted() {
        let mut health = Health::default();
        health.broken();
        health.answered();
        assert!(!health.lost(TRUSTED_AFTER), "a broken one does not become trusted");
        for _ in 0..3 {
            health.answered();
            assert!(!health.lost(BRIEF));
        }
        assert!(health.lost(TRUSTED_AFTER));
        health.answered();
        assert!(health.lost(BRIEF));
    }
}
