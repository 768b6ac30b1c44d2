//! Checks the version, the role, the eviction policy and the latency of the server.

use std::collections::HashMap;
use std::time::Instant;

use redis::{FromRedisValue, from_redis_value};

use super::Session;
use crate::config::target::Topology;
use crate::doctor::finding::{Finding, in_ms};
use crate::store::redis::supervisor::LONGEST_NAME;

/// The oldest version that has all commands of the scripts.
const OLDEST: (u64, u64) = (6, 2);

/// Enough to include a slow round trip among fast ones.
const ROUND_TRIPS: usize = 20;

/// From here on the check warns that the server is nearly full.
const NEARLY_FULL_PERCENT: u64 = 90;

/// Checks version, topology and role.
pub async fn identity(session: &Session<'_>) -> Vec<Finding> {
    let Some(hello) = session.hello().await else {
        return vec![Finding::unchecked("server", "the server does not report its version")];
    };
    let text = |name| {
        let text = hello.get(name).and_then(|value| String::from_redis_value_ref(value).ok());
        text.filter(|text| text.len() <= LONGEST_NAME).unwrap_or_default()
    };
    vec![
        version(&text("server"), &text("version")),
        topology(session, &text("mode")),
        role(session, &text("role")),
    ]
}

fn version(server: &str, version: &str) -> Finding {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= OLDEST {
        return Finding::ok("server", format!("{server} {version}"));
    }
    // Envoy answers as `envoy-redis-proxy 6.0.0`, whatever is behind it.
    if !matches!(server, "redis" | "valkey") {
        let why = format!("{server} {version} is a proxy, which does not report the version of the server");
        return Finding::unchecked("server", why);
    }
    Finding::error(
        "server",
        format!("{server} {version} is too old"),
        "Upgrade to Redis 6.2 or newer, or to Valkey.",
    )
}

fn topology(session: &Session<'_>, mode: &str) -> Finding {
    let found = match mode {
        "cluster" => "a node of a cluster",
        "sentinel" => "a sentinel",
        _ => "a single server",
    };
    match (&session.discovery.endpoint().topology, mode) {
        (Topology::Server(_), "sentinel") => Finding::error(
            "topology",
            "the URL names a sentinel as a server",
            "Use redis-sentinel://host:26379/0?master=<name> in the URL.",
        ),
        (Topology::Server(_), "cluster") => Finding::warning(
            "topology",
            "the URL names one node of a cluster: it works only while the slot of this project stays on this node",
            "Use redis-cluster://host:6379,host:6379 in the URL.",
        ),
        (Topology::Server(_), _) => Finding::ok("topology", found),
        (Topology::Sentinel { master, .. }, _) => {
            let address = session.connection.address();
            Finding::ok("topology", format!("the sentinels name {address} as the primary of {master}"))
        }
        (Topology::Cluster { .. }, _) => Finding::ok(
            "topology",
            format!("{found}: {} has the slot of this project", session.connection.address()),
        ),
    }
}

fn role(session: &Session<'_>, role: &str) -> Finding {
    match role {
        "master" => Finding::ok("role", "a primary, which accepts writes"),
        _ if session.is_reader() => Finding::ok("role", "a replica, which is enough for a reader"),
        _ => Finding::error(
            "role",
            "a replica, which does not accept writes",
            "Use the address of the primary, or redis-sentinel:// or redis-cluster:// in the URL. For the role 'reader', a replica is enough.",
        ),
    }
}

/// Whether the server may evict the project's keys.
pub async fn eviction(session: &Session<'_>) -> Finding {
    const CHECK: &str = "eviction";
    let info = match session.ask(redis::cmd("INFO").arg("memory")).await {
        Ok(Ok(reply)) => from_redis_value::<String>(reply).unwrap_or_default(),
        Ok(Err(_)) => return Finding::unchecked(CHECK, "this user lacks the permission +info"),
        Err(error) => return Finding::unchecked(CHECK, error.to_string()),
    };
    let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim().split_once(':')).collect();
    let number = |name| info.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let Some(policy) = info.get("maxmemory_policy") else {
        return Finding::unchecked(CHECK, "the server does not report its eviction policy");
    };
    let (used, limit) = (number("used_memory"), number("maxmemory"));
    let now = match limit {
        0 => "no maxmemory is set".to_owned(),
        limit => format!("{used} of {limit} bytes used"),
    };
    if *policy != "noeviction" {
        // Our keys expire, so the volatile-* policies may choose them as well.
        return Finding::warning(
            CHECK,
            format!(
                "{policy} ({now}): a full server evicts the definitions; running processes restore them, but new processes must fetch"
            ),
            "Set maxmemory-policy to noeviction, or make sure that the server is never full.",
        );
    }
    if limit > 0 && used.saturating_mul(100) >= limit.saturating_mul(NEARLY_FULL_PERCENT) {
        let message = format!("{policy} ({now}): a full server rejects new definitions");
        return Finding::warning(CHECK, message, "Give the server more memory (maxmemory).");
    }
    Finding::ok(CHECK, format!("{policy} ({now})"))
}

/// How long a round trip takes.
pub async fn latency(session: &Session<'_>) -> Finding {
    const CHECK: &str = "latency";
    let mut trips = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let asked_at = Instant::now();
        match session.ask(&redis::cmd("TIME")).await {
            Ok(Ok(_)) => trips.push(asked_at.elapsed()),
            Ok(Err(_)) => return Finding::unchecked(CHECK, "this user lacks the permission +time"),
            Err(error) => return Finding::failed(CHECK, &error),
        }
    }
    trips.sort();
    let limit = session.options.command_timeout;
    let median = trips.get(trips.len() / 2).copied().unwrap_or_default();
    let slowest = trips.last().copied().unwrap_or_default();
    let message =
        format!("{} for a round trip, {} for the slowest of {}", in_ms(median), in_ms(slowest), trips.len());
    if slowest * 2 < limit {
        return Finding::ok(CHECK, message);
    }
    let advice = format!(
        "This is more than half of commandTimeoutMs ({} ms). Use a server that is closer, or raise option 'commandTimeoutMs'.",
        limit.as_millis()
    );
    Finding::warning(CHECK, message, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn an_old_server_is_an_error_and_of_a_proxy_no_version_is_known() {
        let verdict = |server, text| version(server, text).verdict;
        assert_eq!(verdict("redis", "6.2.0"), Verdict::Ok);
        assert_eq!(verdict("valkey", "9.1.0"), Verdict::Ok);
        assert_eq!(verdict("redis", "6.0.16"), Verdict::Error);
        assert_eq!(verdict("redis", ""), Verdict::Error);
        assert_eq!(verdict("envoy-redis-proxy", "6.0.0"), Verdict::Unchecked);
    }
}
