//! What a connection has shown of itself: whether the next one is worth making at once.

use std::time::Duration;

/// So long a connection must have lasted that nothing is held against it.
const LASTING: Duration = Duration::from_secs(2);

/// Of the connection there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing has come through yet.
    #[default]
    Unproven,
    /// It is of use.
    Proven,
    /// A command broke it, and the one before it too.
    Broken,
    /// The one before it was broken so. Where only small replies come through it is of use until a
    /// large one is asked for, as the notice of a new connection does.
    Suspect,
}

impl Standing {
    /// A command was answered.
    pub fn answered(&mut self) {
        if *self == Standing::Unproven {
            *self = Standing::Proven;
        }
    }

    /// A command that broke the connection before has broken this one.
    pub fn broken(&mut self) {
        *self = Standing::Broken;
    }

    /// The connection was lost after that time. Begins with the next, and tells whether that is worth
    /// making at once: otherwise this one was as good as a failed attempt.
    pub fn lost(&mut self, after: Duration) -> bool {
        let (next, at_once) = match self {
            Standing::Proven => (Standing::Unproven, true),
            Standing::Suspect if after >= LASTING => (Standing::Unproven, true),
            Standing::Unproven => (Standing::Unproven, false),
            Standing::Broken | Standing::Suspect => (Standing::Suspect, false),
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
    fn one_that_was_of_use_is_replaced_at_once_and_one_that_was_not_is_a_failed_attempt() {
        let mut standing = Standing::default();
        standing.answered();
        assert!(standing.lost(BRIEF));
        assert!(!standing.lost(BRIEF), "the next begins with nothing");
        assert!(!standing.lost(LASTING), "however long nothing came through");
    }

    #[test]
    fn after_a_command_broke_two_small_replies_prove_nothing_until_one_has_lasted() {
        let mut standing = Standing::default();
        standing.broken();
        standing.answered();
        assert!(!standing.lost(LASTING), "that one is broken");
        for _ in 0..3 {
            standing.answered();
            assert!(!standing.lost(BRIEF));
        }
        assert!(standing.lost(LASTING));
        standing.answered();
        assert!(standing.lost(BRIEF));
    }
}
