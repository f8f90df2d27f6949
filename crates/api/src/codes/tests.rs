//! Tests that the table of codes is whole, and that the pages show it.

use std::collections::BTreeMap;
use std::path::Path;

use super::{CODES, find};
use crate::openapi::tests::compare;

/// What stands between these in `docs/*/api.md` is written by the test.
const BEGIN: &str = "<!-- codes -->\n";
const END: &str = "<!-- /codes -->\n";

/// Every code in the sources of this room, with its status where one stands beside it.
fn in_the_sources() -> BTreeMap<String, Option<&'static str>> {
    let mut found = BTreeMap::new();
    let mut sources = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // These speak of codes and say none.
                if !path.ends_with("openapi") && !path.ends_with("codes") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    // `Problem::bad("code"`, `Bad::new("code"`, `StatusCode::X, "code"` and `=> ("code", `, over line ends too.
    let flat: String = sources.split_whitespace().collect::<Vec<_>>().join(" ");
    for (before, status) in
        [("Problem::bad(", Some("BAD_REQUEST")), ("Bad::new(", Some("BAD_REQUEST")), ("StatusCode::", None), ("=> (", Some(""))]
    {
        for place in flat.split(before).skip(1) {
            let (named, rest) = match status {
                None => {
                    let end = place.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(0);
                    (&place[..end], place[end..].strip_prefix(", ").unwrap_or(""))
                }
                Some(status) => (status, place.trim_start()),
            };
            let Some((word, after)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) else { continue };
            if word.is_empty() || !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') || !after.starts_with([',', ')']) {
                continue;
            }
            let status = STATUSES.iter().find(|(name, _)| *name == named).map(|(name, _)| *name);
            let known = found.entry(word.to_owned()).or_insert(None);
            *known = known.or(status);
        }
    }
    found
}

const STATUSES: [(&str, u16); 10] = [
    ("BAD_REQUEST", 400),
    ("UNAUTHORIZED", 401),
    ("FORBIDDEN", 403),
    ("NOT_FOUND", 404),
    ("METHOD_NOT_ALLOWED", 405),
    ("REQUEST_TIMEOUT", 408),
    ("CONFLICT", 409),
    ("PAYLOAD_TOO_LARGE", 413),
    ("UPGRADE_REQUIRED", 426),
    ("INSUFFICIENT_STORAGE", 507),
];

/// The fleet's codes, which stand in its own room.
fn of_the_fleet() -> Vec<String> {
    let source = include_str!("../../../fleet/src/error.rs");
    source.lines().filter(|line| line.contains("=> \"")).filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

#[test]
fn every_code_is_in_the_table_with_its_status() {
    let ours = in_the_sources();
    let fleet = of_the_fleet();
    assert!(ours.len() > 40 && fleet.len() > 20, "the sources are not read any more: {ours:?} {fleet:?}");
    for (word, status) in &ours {
        let code = find(word).unwrap_or_else(|| panic!("{word} is missing in crates/api/src/codes/mod.rs"));
        if let Some((_, number)) = STATUSES.iter().find(|(name, _)| Some(*name) == *status) {
            assert_eq!(code.status, *number, "{word}");
        }
    }
    for word in &fleet {
        assert!(find(word).is_some(), "{word} is missing in crates/api/src/codes/mod.rs");
    }
    for code in CODES {
        assert!(ours.contains_key(code.word) || fleet.iter().any(|word| word == code.word), "nobody says {} any more", code.word);
    }
    let order: Vec<_> = CODES.iter().map(|code| code.status).collect();
    assert!(order.is_sorted(), "the table is read by people: keep it sorted by status");
}

#[test]
fn the_pages_show_the_table() {
    let heads = [("en", "| status | `code` | what it means | what to do |"), ("zh", "| 状态码 | `code` | 含义 | 怎么办 |")];
    for (at, (language, head)) in heads.into_iter().enumerate() {
        let mut table = format!("{head}\n|---|---|---|---|\n");
        for code in CODES {
            let [means, fix] = [code.en, code.zh][at];
            table.push_str(&format!("| {} | `{}` | {means} | {fix} |\n", code.status, code.word));
        }
        let path = format!("docs/{language}/api.md");
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&path)).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("a mark where the table begins");
        let (_, after) = rest.split_once(END).expect("a mark where it ends");
        compare(&path, &format!("{before}{BEGIN}{table}{END}{after}"));
    }
}
