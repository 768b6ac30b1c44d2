//! What a sentinel knows.

use redis::{ErrorKind, RedisError, RedisResult, Value, from_redis_value};

use super::link::Link;
use crate::endpoint::Address;

/// Asks the sentinel for the master of this name.
pub async fn master(sentinel: &Link, name: &str) -> RedisResult<Address> {
    let reply = sentinel.send(redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name)).await?;
    match from_redis_value::<Option<(String, u16)>>(reply)? {
        Some((host, port)) => Ok(sentinel.address().neighbour(&host, port)),
        None => Err(RedisError::from((
            ErrorKind::MasterNameNotFoundBySentinel,
            "the sentinel knows no master of this name",
        ))),
    }
}

/// Fails on a replica: after a failover a sentinel may still name the old master for a while.
pub async fn ensure_master(server: &Link) -> RedisResult<()> {
    match server.send(&redis::cmd("ROLE")).await? {
        Value::Array(role) if role.first().is_some_and(|role| is_text(role, b"master")) => Ok(()),
        _ => Err(RedisError::from((ErrorKind::Client, "it is no master (yet)"))),
    }
}

fn is_text(value: &Value, text: &[u8]) -> bool {
    matches!(value, Value::BulkString(bytes) if bytes == text)
}
