//! Any options: accepted or refused, but never with the password in a message.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use posthog_flag_cache::config::options::{Given, Options};

const PASSWORD: &str = "Z0pf!Z0pf";

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Text(&'a str),
    Number(f64),
    Flag(bool),
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    scheme: &'a str,
    rest: &'a str,
    options: Vec<(u8, Value<'a>)>,
}

const NAMES: [&str; 17] = [
    "projectKey",
    "keyPrefix",
    "url",
    "refreshIntervalMs",
    "leaseTtlMs",
    "maxAgeMs",
    "coldStartWaitMs",
    "connectTimeoutMs",
    "commandTimeoutMs",
    "role",
    "whenUnavailable",
    "compression",
    "username",
    "clientName",
    "sentinelUsername",
    "localCopy",
    "unknown",
];

fuzz_target!(|input: Input| {
    let mut given = BTreeMap::from([
        ("projectKey".to_owned(), Given::Text("phc_fuzz".to_owned())),
        ("password".to_owned(), Given::Text(PASSWORD.to_owned())),
        ("url".to_owned(), Given::Text(format!("{}://user:{PASSWORD}@{}", input.scheme, input.rest))),
    ]);
    // An option whose value is shown may hold it by itself.
    let mut is_echo = input.scheme.contains(PASSWORD) || input.rest.contains(PASSWORD);
    for (name, value) in input.options {
        let value = match value {
            Value::Text(text) => {
                is_echo |= text.contains(PASSWORD);
                Given::Text(text.to_owned())
            }
            Value::Number(number) => Given::Number(number),
            Value::Flag(flag) => Given::Flag(flag),
        };
        given.insert(NAMES[usize::from(name) % NAMES.len()].to_owned(), value);
    }
    let said = match Options::from_given(given) {
        Ok(options) => format!("{:?} {}", options, options.data_key()),
        Err(error) => format!("{error:?} {error}"),
    };
    assert!(is_echo || !said.contains(PASSWORD), "{said}");
});
