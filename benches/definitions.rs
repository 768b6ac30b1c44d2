//! What native code does with definitions of 5 MB, off the main thread: `npm run bench:rust`.
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use posthog_flag_cache::definitions::patch::{Base, make};
use posthog_flag_cache::definitions::slices::Delivery;
use posthog_flag_cache::definitions::codec::Compression;
use posthog_flag_cache::definitions::snapshot::Snapshot;

/// 2,500 flags with a score of conditions each; the one in the middle has been edited so often.
fn definitions(edits: u32) -> Snapshot {
    let condition = |flag: u32, number: u32| {
        let value = flag.wrapping_mul(2_654_435_761).wrapping_add(number * 40_503);
        format!(
            r#"{{"key":"property_{number}","type":"person","operator":"exact","value":["{value:08x}","é"]}}"#
        )
    };
    let flag = |id: u32| {
        let conditions: Vec<_> = (0..24).map(|number| condition(id, number)).collect();
        let version = if id == 1_250 { edits } else { 0 };
        format!(
            r#"{{"id":{id},"key":"flag-{id}","version":{version},"filters":{{"groups":[{{"properties":[{}]}}]}}}}"#,
            conditions.join(",")
        )
    };
    let flags: Vec<_> = (0..2_500).map(flag).collect();
    Snapshot::new(format!(r#"{{"flags":[{}],"cohorts":{{}}}}"#, flags.join(","))).unwrap()
}

fn benches(criterion: &mut Criterion) {
    let (before, after) = (definitions(1), definitions(2));
    let text = after.text().to_owned();
    let encoded = after.encode(Compression::Zstd, Some(&before)).unwrap();
    let patch = encoded.patch.unwrap();
    println!("{} bytes; compressed {}, patch {}", text.len(), encoded.bytes.len(), patch.len());

    let mut group = criterion.benchmark_group("definitions");
    group.sample_size(20);
    group.bench_function("validate, cut and hash", |b| b.iter(|| Snapshot::new(black_box(text.clone()))));
    group.bench_function("compress, without a patch", |b| b.iter(|| after.encode(Compression::Zstd, None)));
    let (base, limit) = (Base { text: before.text(), version: before.version() }, encoded.bytes.len());
    group.bench_function("make a patch", |b| b.iter(|| make(black_box(after.text()), base, limit)));
    group.bench_function("decode the whole", |b| {
        b.iter(|| Snapshot::decode(black_box(&encoded.bytes), after.version(), None));
    });
    group.bench_function("decode the patch", |b| {
        b.iter(|| Snapshot::decode(black_box(&patch), after.version(), Some(&before)));
    });
    group.bench_function("deliver all", |b| b.iter(|| Delivery::new(black_box(&after), None)));
    group.bench_function("deliver one edited flag", |b| {
        b.iter(|| Delivery::new(black_box(&after), Some(&before)))
    });
    group.finish();
}

criterion_group!(definitions_of_5_mb, benches);
criterion_main!(definitions_of_5_mb);
