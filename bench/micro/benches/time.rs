//! In time: `cargo bench --bench time`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use micro::{House, Steps, filters};
use model::Qos;

fn steps(c: &mut Criterion) {
    let mut steps = Steps::default();
    c.bench_function("decode a PUBLISH", |b| b.iter(|| black_box(&steps).decode()));
    c.bench_function("encode a PUBLISH", |b| b.iter(|| black_box(&mut steps).encode()));
    for filter in filters() {
        let name = format!("match {}", filter.as_str());
        c.bench_function(&name, |b| b.iter(|| filter.matches(black_box("house/kitchen/temperature"))));
    }
}

fn messages(c: &mut Criterion) {
    for (name, subscribers, others, qos) in [
        ("QoS 0 to 1", 1, 0, Qos::AtMostOnce),
        ("QoS 0 to 1 among 10,000 sessions", 1, 10_000, Qos::AtMostOnce),
        ("QoS 0 to 100", 100, 0, Qos::AtMostOnce),
        ("QoS 1 to 1, acknowledged", 1, 0, Qos::AtLeastOnce),
        ("QoS 1 to 100, acknowledged", 100, 0, Qos::AtLeastOnce),
    ] {
        let mut house = House::new(subscribers, others, qos);
        c.bench_function(name, |b| b.iter(|| black_box(house.relay())));
    }
    let mut house = House::new(0, 0, Qos::AtMostOnce);
    c.bench_function("a ping", |b| b.iter(|| black_box(house.ping())));
}

criterion_group!(benches, steps, messages);
criterion_main!(benches);
