//! Several servers that work together.

use std::time::{Duration, Instant};

use posthog_flag_cache::config::target::{Address, Endpoint, Login, Topology};
use redis::{FromRedisValue, Value};

use crate::support::redis_server::RedisServer;

/// Longer than any machine needs, so that a failure ends too.
const PATIENCE: Duration = Duration::from_secs(30);

pub const MASTER: &str = "mymaster";

/// A master, a replica, and sentinels that know both.
pub struct Watched {
    /// The first one begins as the master.
    pub servers: [RedisServer; 2],
    pub sentinels: Vec<RedisServer>,
}

impl Watched {
    pub fn start(sentinels: usize, arguments: &[&str]) -> Self {
        let servers = [(); 2].map(|()| RedisServer::start(arguments));
        let port = servers[0].port.to_string();
        run(&servers[1], &["REPLICAOF", "127.0.0.1", &port]);
        until(|| info(&servers[0], "replication").contains("state=online"));
        let quorum = (sentinels / 2 + 1).to_string();
        let sentinels: Vec<_> = (0..sentinels)
            .map(|_| {
                let sentinel = RedisServer::start(&["--sentinel"]);
                run(&sentinel, &["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &port, &quorum]);
                run(&sentinel, &["SENTINEL", "SET", MASTER, "down-after-milliseconds", "500"]);
                run(&sentinel, &["SENTINEL", "SET", MASTER, "failover-timeout", "2000"]);
                sentinel
            })
            .collect();
        for sentinel in &sentinels {
            until(|| {
                let known = info(sentinel, "sentinel");
                known.contains("slaves=1,") && known.contains(&format!("sentinels={}", sentinels.len()))
            });
        }
        Watched { servers, sentinels }
    }

    pub fn endpoint(&self) -> Endpoint {
        let sentinels = self.sentinels.iter().map(RedisServer::address).collect();
        let topology = Topology::Sentinel { sentinels, master: MASTER.into(), login: Login::default() };
        Endpoint { topology, ..self.servers[0].endpoint() }
    }
}

/// Three masters, which share the slots, and perhaps a replica of the first.
pub struct Cluster {
    pub servers: Vec<RedisServer>,
}

const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

impl Cluster {
    pub fn start(replica: bool) -> Self {
        Cluster::of(replica, RedisServer::start)
    }

    /// Of servers that are started like this.
    pub fn of(replica: bool, start: impl Fn(&[&str]) -> RedisServer) -> Self {
        let count = SLOTS.len() + usize::from(replica);
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        let servers: Vec<_> = (0..count).map(|_| start(&arguments)).collect();
        for (epoch, server) in (1..).zip(&servers) {
            run(server, &["CLUSTER", "SET-CONFIG-EPOCH", &format!("{epoch}")]);
            if let Some((first, last)) = SLOTS.get(epoch - 1) {
                let slots: Vec<_> = (*first..=*last).map(|slot| slot.to_string()).collect();
                let slots: Vec<_> = slots.iter().map(String::as_str).collect();
                run(server, &[&["CLUSTER", "ADDSLOTS"], &slots[..]].concat());
            }
        }
        for server in &servers[1..] {
            run(server, &["CLUSTER", "MEET", "127.0.0.1", &servers[0].port.to_string()]);
        }
        let cluster = Cluster { servers };
        cluster.settle(count);
        if let Some(replica) = cluster.servers.get(SLOTS.len()) {
            run(replica, &["CLUSTER", "REPLICATE", &cluster.id(0)]);
            until(|| info(replica, "replication").contains("master_link_status:up"));
            // The others must know, or they would not elect it.
            until(|| {
                cluster.servers.iter().all(|server| {
                    text(server, &["CLUSTER", "NODES"]).lines().any(|node| node.contains("slave"))
                })
            });
        }
        cluster
    }

    fn settle(&self, count: usize) {
        let nodes = format!("cluster_known_nodes:{count}");
        until(|| {
            self.servers.iter().all(|server| {
                let state = text(server, &["CLUSTER", "INFO"]);
                state.contains("cluster_state:ok") && state.contains(&nodes)
            })
        });
    }

    pub fn endpoint(&self, seeds: Vec<Address>) -> Endpoint {
        Endpoint { topology: Topology::Cluster { seeds }, ..self.servers[0].endpoint() }
    }

    /// The index of the master of this key.
    pub fn owner(&self, key: &str) -> usize {
        let slot = self.slot(key);
        SLOTS.iter().position(|(first, last)| (*first..=*last).contains(&slot)).unwrap()
    }

    pub fn slot(&self, key: &str) -> u16 {
        u16::from_redis_value(run(&self.servers[0], &["CLUSTER", "KEYSLOT", key])).unwrap()
    }

    pub fn id(&self, index: usize) -> String {
        text(&self.servers[index], &["CLUSTER", "MYID"])
    }
}

pub fn run(server: &RedisServer, command: &[&str]) -> Value {
    redis::cmd(command[0]).arg(&command[1..]).query(&mut server.client()).unwrap()
}

pub fn text(server: &RedisServer, command: &[&str]) -> String {
    String::from_redis_value(run(server, command)).unwrap()
}

fn info(server: &RedisServer, section: &str) -> String {
    text(server, &["INFO", section])
}

/// Whether a store under test is connected to this server, and has introduced itself.
pub fn is_connected_to(server: &RedisServer) -> bool {
    text(server, &["CLIENT", "LIST"]).contains(" name=store ")
}

/// Waits until a store under test connects to this server by itself.
pub async fn connects_to(server: &RedisServer) {
    let connected = async {
        while !is_connected_to(server) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.expect("it connects by itself");
}

/// Servers tell nobody when they have found each other.
pub fn until(mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "it does not become so");
        std::thread::sleep(Duration::from_millis(20));
    }
}
