//! The copy of the definitions on a host's disk: what is written there, and what a new process makes of it.

mod disk;
mod host;
mod starts;
