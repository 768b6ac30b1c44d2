//! Any state, from Redis or from a file: the rule decides on it without a fault.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use posthog_flag_cache::lease::{Decision, Failure, Rule, Worker};
use posthog_flag_cache::state::State;
use posthog_flag_cache::store::redis::decode_reading;
use redis::Value;

const RULE: Rule = Rule {
    refresh_interval: Duration::from_secs(30),
    lease_ttl: Duration::from_secs(45),
    cold_start_wait: Duration::from_secs(5),
};

type Input<'a> = (u64, u64, u64, Vec<Option<&'a [u8]>>, &'a [u8]);

fuzz_target!(|input: Input| {
    let (seconds, micros, length, fields, file) = input;
    let number = |number: u64| Value::BulkString(number.to_string().into_bytes());
    let text = |field: &Option<&[u8]>| field.map_or(Value::Nil, |field| Value::BulkString(field.to_vec()));
    let reply = Value::Array(vec![
        number(seconds),
        number(micros),
        Value::Int(length as i64),
        Value::Nil,
        Value::Array(fields.iter().map(text).collect()),
    ]);
    if let Ok((reading, _)) = decode_reading(reply) {
        decide(&reading.state, reading.now);
    }
    if let Ok(state) = serde_json::from_slice::<State>(file) {
        decide(&state, seconds);
    }
});

fn decide(state: &State, now: u64) {
    // Not at the end of time, where no lease can last.
    let now = now.min(u64::MAX / 2);
    let me = Worker { owner: "me", seen: None, impatient: now.is_multiple_of(2), failed: None };
    if let Decision::Grant(next) = RULE.decide(state, now, me) {
        assert!(next.fence > state.fence || state.fence == u64::MAX);
        assert_eq!(RULE.leader(&next, now.max(next.granted_at.unwrap_or(0))), Some("me"));
    }
    let _ = (RULE.pause(state, now), RULE.invalidate(state, now), RULE.fail(state, now, "me", Failure::Worker));
    let _ = (RULE.release(state, now, "me"), RULE.restore(state, now, state), RULE.discard(state, now));
}
