//! Where an implementation stores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::config::target::Endpoint;
use posthog_flag_cache::config::target::{Directory, Target};
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::directory::DirectoryStore;
use posthog_flag_cache::store::redis::RedisStore;
use posthog_flag_cache::store::shared::SharedStore;
use tempfile::TempDir;

use crate::support::content;
use crate::support::redis_server::RedisServer;

/// What one implementation stores in; empty, and of one test alone.
pub enum Place {
    /// Everybody in a process shares a store in memory for as long as one of them lives.
    Memory(String, Mutex<Vec<Arc<SharedStore>>>),
    Directory(TempDir),
    Redis(RedisServer),
    /// Of all tests of one deployment each has a prefix of its own.
    Deployed(Box<Endpoint>, String),
}

impl Place {
    pub fn memory() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Place::Memory(format!("memory-{}-", NEXT.fetch_add(1, Ordering::Relaxed)), Mutex::default())
    }

    pub fn directory() -> Self {
        Place::Directory(TempDir::new().unwrap())
    }

    pub fn redis() -> Self {
        Place::Redis(RedisServer::start(&[]))
    }

    /// Another handle on the same content, as another process has one.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store_of(&content::options(&[("commandTimeoutMs", Given::Number(20_000.0))]))
    }

    pub fn store_of(&self, options: &Options) -> Arc<dyn Store> {
        match self {
            Place::Memory(unique, in_use) => {
                let key_prefix = unique.clone() + &options.key_prefix;
                let options = Options { key_prefix, target: Target::Memory, ..options.clone() };
                let shared = SharedStore::open(&options);
                let store = shared.store().clone();
                in_use.lock().unwrap().push(shared);
                store
            }
            Place::Directory(directory) => {
                let directory = Directory { path: directory.path().to_owned(), is_default: false };
                Arc::new(DirectoryStore::new(directory, options))
            }
            Place::Redis(server) => Arc::new(RedisStore::new(&server.endpoint(), options)),
            Place::Deployed(endpoint, unique) => {
                let key_prefix = unique.clone() + &options.key_prefix;
                Arc::new(RedisStore::new(endpoint, &Options { key_prefix, ..options.clone() }))
            }
        }
    }
}
