//! What a node of a cluster knows.
//!
//! All keys of a project are in one slot, so that one connection to the one master of that slot is
//! all we need: other nodes may come, go and hang. Notices reach it whichever node publishes them.

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, from_redis_value};

use super::link::Link;
use crate::endpoint::Address;

/// A server that another one sent us to.
pub struct Redirect {
    pub address: Address,
    /// Only while a slot moves: it is to be asked as an exception.
    pub asking: bool,
}

/// Asks the node for the master of the slot, and for every other node.
pub async fn owner(node: &Link, slot: u16) -> RedisResult<(Address, Vec<Address>)> {
    let shards: Vec<Vec<Value>> = from_redis_value(node.send(redis::cmd("CLUSTER").arg("SLOTS")).await?)?;
    let (mut owner, mut others) = (None, Vec::new());
    for shard in shards {
        let mut parts = shard.into_iter();
        let (Some(first), Some(last)) = (parts.next(), parts.next()) else { continue };
        let (first, last): (u16, u16) = (from_redis_value(first)?, from_redis_value(last)?);
        // The master comes first; only the newer servers tell more than these of a node.
        for (index, server) in parts.enumerate() {
            let Value::Array(server) = server else { continue };
            let mut server = server.into_iter();
            let (Some(host), Some(port)) = (server.next(), server.next()) else { continue };
            let host: Option<String> = from_redis_value(host)?;
            let address = node.address().neighbour(&host.unwrap_or_default(), from_redis_value(port)?);
            if index == 0 && (first..=last).contains(&slot) {
                owner = Some(address.clone());
            }
            if !others.contains(&address) {
                others.push(address);
            }
        }
    }
    match owner {
        Some(owner) => Ok((owner, others)),
        None => Err(RedisError::from((ErrorKind::Client, "the cluster has no node for our slot"))),
    }
}

/// Where the node says that the slot is.
pub fn redirect(node: &Address, cause: &RedisError) -> Option<Redirect> {
    let asking = cause.kind() == ErrorKind::Server(ServerErrorKind::Ask);
    let (host, port) = cause.redirect_node()?.0.rsplit_once(':')?;
    Some(Redirect { address: node.neighbour(host, port.parse().ok()?), asking })
}

/// The slot of a key whose hash tag this is (redis.io/docs/reference/cluster-spec, "Key
/// distribution model"): CRC16 of the polynomial 0x1021, most significant bit first.
pub fn slot(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16384
}
