//! Replays the corpus of every fuzz target: what a fuzzer once found interesting stays a test. A new
//! target adds one line to `TARGETS` and its folder `fuzz/corpus/<target>/`.

use std::path::Path;

type Entry = fn(&[u8]);

const TARGETS: &[(&str, Entry)] = &[
    ("mqtt_packets", protocols::mqtt::fuzz::fuzz_packets),
    ("mqtt_session", protocols::mqtt::fuzz::fuzz_session),
    ("espush_frames", protocols::espush::fuzz::frames),
    ("espush_session", protocols::espush::fuzz::session),
    ("query", model::query::fuzz::query),
];

/// [MQTT 3.1.1: 3.2.0-1, 3.2.2-4]
/// [MQTT 5.0: 3.1.2-24, 3.2.0-1, 3.2.0-2, 3.2.2-6, 3.2.2-8, 3.2.2-20, 3.4.2-3, 3.5.2-3, 3.6.2-2, 3.6.2-3, 3.7.2-2, 3.7.2-3, 3.9.2-2, 3.11.2-2]
/// [MQTT 5.0: 3.14.0-1, 3.14.2-2, 3.14.2-4, 3.15.2-1, 3.15.2-2, 3.15.2-3]
#[test]
fn every_corpus_file_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (target, entry) in TARGETS {
        let folder = corpus.join(target);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut replayed = 0;
        for file in files {
            let path = file.expect("a readable folder").path();
            let data = std::fs::read(&path).expect("a readable file");
            if std::panic::catch_unwind(|| entry(&data)).is_err() {
                panic!("{} fails on {}", target, path.display());
            }
            replayed += 1;
        }
        assert!(replayed > 0, "{target} has no corpus");
    }
}

#[test]
fn every_corpus_has_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for folder in std::fs::read_dir(corpus).expect("fuzz/corpus") {
        let name = folder.expect("a readable folder").file_name();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name:?} is not in TARGETS");
    }
}
