//! Who may import whom. The house stands on these arrows: a protocol that cannot reach the hub, a hub
//! that cannot reach a socket, platform rooms that cannot reach each other. Read from `cargo metadata`,
//! so a wrong arrow is found even when nobody uses it yet.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Each crate of the workspace and the crates of the workspace that it may import, below those that it
/// may import. A new crate gets its line here.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("contract", &["model"]),
    ("protocols", &["model", "contract"]),
    ("hub", &["model", "contract"]),
    ("testkit", &["model", "contract", "hub"]),
    // Runs for itself alone: nobody may import it.
    ("simulator", &["model", "contract", "protocols", "hub", "testkit"]),
    ("net", &["model", "contract", "hub"]),
    ("store", &["model", "contract"]),
    ("fleet", &["model", "contract"]),
    // Runs for itself alone too.
    ("million", &["model", "contract", "protocols", "hub", "testkit", "fleet"]),
    ("push", &["model", "contract"]),
    ("telemetry", &["model", "contract"]),
    ("twin", &["model", "contract"]),
    ("schedule", &["model", "contract"]),
    ("webhook", &["model", "contract"]),
    ("api", &["model", "contract", "fleet", "push", "schedule", "telemetry", "twin", "webhook"]),
    ("console", &[]),
    // For other people's programs: it knows the API from outside.
    ("espush-client", &[]),
    ("sim", &["model", "contract", "protocols"]),
    ("load", &["model", "protocols"]),
    (
        "espush",
        &[
            "model",
            "contract",
            "protocols",
            "hub",
            "net",
            "store",
            "fleet",
            "push",
            "schedule",
            "telemetry",
            "twin",
            "webhook",
            "api",
            "console",
            "sim",
            "load",
        ],
    ),
];

/// What tests may import beyond that: a fake world, the languages to speak to it, and a real store under a platform room.
const FOR_TESTS: &[&str] = &["testkit", "store", "protocols"];

/// Crates from outside that a pure room must not import.
const NO_IO: &[&str] = &["tokio", "socket2", "mio", "async-std", "smol", "rusqlite", "axum", "hyper", "ureq"];

/// The rooms that are pure.
const PURE: &[&str] = &["model", "contract", "protocols", "hub"];

/// Crate → (crates it imports, crates its tests import).
fn imports() -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata describes this workspace");
    let of_kind = |package: &cargo_metadata::Package, tests: bool| -> BTreeSet<String> {
        let wanted = package.dependencies.iter().filter(|d| (d.kind == DependencyKind::Development) == tests);
        wanted.map(|d| d.name.clone()).collect()
    };
    metadata.packages.iter().map(|p| (p.name.to_string(), (of_kind(p, false), of_kind(p, true)))).collect()
}

#[test]
fn every_crate_has_its_place_in_the_house() {
    let crates: BTreeSet<String> = imports().into_keys().collect();
    let named: BTreeSet<String> = ROOMS.iter().map(|(name, _)| name.to_string()).collect();
    let unnamed: Vec<_> = crates.difference(&named).collect();
    assert!(unnamed.is_empty(), "add a line for {unnamed:?} to ROOMS in {}: which crates may it import?", file!());
    let gone: Vec<_> = named.difference(&crates).collect();
    assert!(gone.is_empty(), "{gone:?} are no crates any more: remove their lines from ROOMS in {}", file!());
}

#[test]
fn imports_follow_the_arrows() {
    let all = imports();
    for (room, allowed) in ROOMS {
        let Some((direct, for_tests)) = all.get(*room) else { continue };
        for import in direct.iter().filter(|import| all.contains_key(*import)) {
            assert!(
                allowed.contains(&import.as_str()),
                "`{room}` must not import `{import}`, only {allowed:?}: take `{import}` out of crates/{room}/Cargo.toml and \
                 put what both need into `contract` (a trait, an event) or `model` (a noun)"
            );
        }
        for import in for_tests.iter().filter(|import| all.contains_key(*import)) {
            assert!(
                allowed.contains(&import.as_str()) || FOR_TESTS.contains(&import.as_str()),
                "the tests of `{room}` must not import `{import}`: use `testkit`, or move the test to crates/espush/tests or tests/"
            );
        }
    }
}

#[test]
fn pure_rooms_have_no_way_to_a_socket_or_a_disk() {
    let all = imports();
    for room in PURE {
        for import in &all[*room].0 {
            assert!(
                !NO_IO.contains(&import.as_str()),
                "`{room}` is pure: it must not import `{import}`. Bytes and time come in as arguments; sockets live in `net`, \
                 disks in `store`"
            );
        }
    }
}

#[test]
fn the_rules_themselves_have_no_circle() {
    for (i, (room, allowed)) in ROOMS.iter().enumerate() {
        for import in *allowed {
            let at = ROOMS.iter().position(|(name, _)| name == import);
            assert!(at.is_some_and(|at| at < i), "`{room}` may import `{import}`: its line must stand above in ROOMS");
        }
    }
}
