//! In instructions, which a busy machine does not change: `cargo bench --bench instructions`.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use micro::{House, Steps, filters};
use model::{Filter, Qos};

#[library_benchmark(setup = Steps::default)]
fn decode_publish(steps: Steps) -> usize {
    black_box(&steps).decode()
}

#[library_benchmark(setup = Steps::default)]
fn encode_publish(mut steps: Steps) -> usize {
    black_box(&mut steps).encode()
}

#[library_benchmark]
#[bench::exact(filters()[0].clone())]
#[bench::plus(filters()[1].clone())]
#[bench::hash(filters()[2].clone())]
fn match_filter(filter: Filter) -> bool {
    filter.matches(black_box("house/kitchen/temperature"))
}

/// Warm, as a hub that is in use is: the first message makes what the others use again.
fn warm(subscribers: usize, others: usize, qos: Qos) -> House {
    let mut house = House::new(subscribers, others, qos);
    for _ in 0..10 {
        house.relay();
        house.ping();
    }
    house
}

#[library_benchmark]
#[bench::qos0_to_1(warm(1, 0, Qos::AtMostOnce))]
#[bench::qos0_to_1_among_10000(warm(1, 10_000, Qos::AtMostOnce))]
#[bench::qos0_to_100(warm(100, 0, Qos::AtMostOnce))]
#[bench::qos1_to_1(warm(1, 0, Qos::AtLeastOnce))]
#[bench::qos1_to_100(warm(100, 0, Qos::AtLeastOnce))]
fn relay(mut house: House) -> (usize, House) {
    (black_box(house.relay()), house)
}

#[library_benchmark]
#[bench::one(warm(1, 0, Qos::AtMostOnce))]
fn ping(mut house: House) -> (usize, House) {
    (black_box(house.ping()), house)
}

library_benchmark_group!(name = message_path; benchmarks = decode_publish, encode_publish, match_filter, relay, ping);
main!(library_benchmark_groups = message_path);
