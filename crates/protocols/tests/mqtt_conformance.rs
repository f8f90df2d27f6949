//! The conformance page: every numbered statement of MQTT 3.1.1 and 5.0 is named by a wire row or by a test, or
//! has its reason in `src/mqtt/conformance/*.clauses`. A row names a clause in its `case`, a test in its doc
//! comment or docstring, as `[MQTT` version `: ` ids `]`. `docs/{en,zh}/mqtt-conformance.md` is written from that by
//!
//! ```sh
//! ESPUSH_WRITE_DOCS=1 cargo test -p protocols --test mqtt_conformance
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const ROOM: &str = "crates/protocols/src/mqtt";

/// Version, table, and how many numbered statements the standard has.
const STANDARDS: [(&str, &str, usize); 2] = [("3.1.1", "v3_1_1", 141), ("5.0", "v5_0", 251)];

/// Language, and the words of the tables: statuses in the order of [`STATUSES`], then the headings.
const LANGUAGES: [(&str, [&str; 5], &str, &str); 2] = [
    ("en", STATUSES, "clause | in our words | status | where, or why not", "statements"),
    ("zh", ["报文", "测试", "客户端", "不适用", "不提供"], "条款 | 概括 | 状态 | 在哪里，或为什么没有", "陈述"),
];
const STATUSES: [&str; 5] = ["row", "test", "client", "not applicable", "not offered"];

/// A line of a table: its first field, English, Chinese, and what may follow.
struct Entry {
    id: String,
    words: [String; 2],
    last: Option<String>,
}

fn read(path: &str) -> String {
    let path = Path::new(ROOT).join(path);
    read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a table; headings keep their `## `.
fn table(name: &str) -> Vec<Entry> {
    let text = read(&format!("{ROOM}/conformance/{name}.clauses"));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
    let entry = |line: &str| {
        let mut fields = line.split(" | ").map(|field| field.trim().to_owned());
        let mut next = || fields.next().filter(|field| !field.is_empty());
        let missing = || panic!("{name}: a field is missing: {line}");
        let (id, en, zh, last) = (next(), next(), next(), next());
        assert!(fields.next().is_none(), "{name}: a field too many: {line}");
        Entry { id: id.unwrap_or_else(missing), words: [en.unwrap_or_else(missing), zh.unwrap_or_else(missing)], last }
    };
    lines.map(entry).collect()
}

fn clauses(name: &str) -> Vec<Entry> {
    table(name).into_iter().filter(|entry| !entry.id.starts_with('#')).collect()
}

/// What shows a clause, rows first: the file from the root on, and the test's name if it is one.
type Shown = BTreeMap<(&'static str, String), BTreeSet<(bool, String, String)>>;

/// Everything between `open` and `]`.
fn between<'a>(line: &'a str, open: &str) -> Vec<&'a str> {
    line.split(open).skip(1).filter_map(|rest| rest.split_once(']')).map(|(inside, _)| inside).collect()
}

fn rows(shown: &mut Shown) {
    for path in files(&format!("{ROOM}/vectors"), &["rows"]) {
        let name = path.rsplit('/').next().expect("a file has a name");
        let version = STANDARDS[usize::from(name.starts_with("v5_"))].0;
        for case in read(&path).lines().filter_map(|line| line.strip_prefix("case ")) {
            for id in between(case, "[MQTT-") {
                shown.entry((version, id.to_owned())).or_default().insert((false, path.clone(), String::new()));
            }
        }
    }
}

fn tests(shown: &mut Shown) {
    for path in ["crates", "tests"].iter().flat_map(|folder| files(folder, &["rs", "py"])) {
        if path.ends_with("mqtt_conformance.rs") {
            continue;
        }
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            for (version, ..) in STANDARDS {
                for id in between(line, &format!("[MQTT {version}: ")).into_iter().flat_map(|ids| ids.split(", ")) {
                    let test = if path.ends_with(".py") { python_test(&lines[..at]) } else { rust_test(&lines[at..]) };
                    let test = test.unwrap_or_else(|| panic!("{path}:{}: a clause that stands at no test", at + 1));
                    shown.entry((version, id.to_owned())).or_default().insert((true, path.clone(), test));
                }
            }
        }
    }
}

/// The test that a doc comment stands above.
fn rust_test(lines: &[&str]) -> Option<String> {
    let mut lines = lines.iter().map(|line| line.trim()).skip_while(|line| line.starts_with("///"));
    let found = lines.next()? == "#[test]";
    let name = lines.next()?.strip_prefix("fn ")?.split('(').next()?;
    found.then(|| name.to_owned())
}

/// The test whose docstring begins on the next line.
fn python_test(lines: &[&str]) -> Option<String> {
    let name = lines.last()?.strip_prefix("def ")?.split('(').next()?;
    name.starts_with("test_").then(|| name.to_owned())
}

/// The files below a folder with one of these endings, from the root on, in order.
fn files(folder: &str, endings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in Path::new(ROOT).join(&folder).read_dir().expect("a readable folder") {
            let entry = entry.expect("a readable entry");
            let (path, kind) = (folder.join(entry.file_name()), entry.file_type().expect("its type"));
            let name = entry.file_name();
            if kind.is_dir() && name != "web" && name != "node_modules" && name != "__pycache__" {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
                found.push(path.to_str().expect("our paths are UTF-8").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn shown() -> Shown {
    let mut shown = Shown::new();
    rows(&mut shown);
    tests(&mut shown);
    shown
}

/// The numbers of an id, to sort by.
fn numbers(id: &str) -> Vec<u32> {
    id.split(['.', '-']).map(|number| number.parse().unwrap_or_else(|_| panic!("{id:?} is no clause id"))).collect()
}

#[test]
fn the_tables_have_every_statement_once_and_in_order() {
    for (version, name, statements) in STANDARDS {
        let clauses = clauses(name);
        assert!(clauses.is_sorted_by(|a, b| numbers(&a.id) < numbers(&b.id)), "{name}: out of order, or twice");
        assert_eq!(clauses.len(), statements, "MQTT {version}");
    }
}

#[test]
fn every_statement_is_shown_or_has_its_reason() {
    let (shown, reasons) = (shown(), table("reasons"));
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for (version, name, _) in STANDARDS {
        for clause in clauses(name) {
            let what = format!("MQTT {version} [{}]", clause.id);
            match (shown.contains_key(&(version, clause.id)), clause.last) {
                (true, None) => {}
                (false, None) => wrong.push(format!("{what} is named by no row and no test, and has no reason")),
                (true, Some(_)) => wrong.push(format!("{what} is shown, so it needs no reason")),
                (false, Some(key)) if reasons.iter().any(|reason| reason.id == key) => drop(used.insert(key)),
                (false, Some(key)) => wrong.push(format!("{what}: {key:?} is no reason in reasons.clauses")),
            }
        }
    }
    wrong.extend(reasons.iter().filter(|r| !used.contains(&r.id)).map(|r| format!("the reason {:?} is nobody's", r.id)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_row_and_no_test_names_a_statement_that_does_not_exist() {
    let known: BTreeSet<(&str, String)> =
        STANDARDS.iter().flat_map(|(version, name, _)| clauses(name).into_iter().map(|c| (*version, c.id))).collect();
    let unknown: Vec<_> = shown().into_iter().filter(|(clause, _)| !known.contains(clause)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn every_file_of_rows_is_run() {
    let runner = read("crates/protocols/tests/mqtt_rows.rs");
    let run: BTreeSet<&str> = runner.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for path in files(&format!("{ROOM}/vectors"), &["rows"]) {
        let name = Path::new(&path).file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(run.contains(name), "{path} is not in tests/mqtt_rows.rs");
    }
}

/// The pages in one language.
fn page(language: usize) -> String {
    let (code, statuses, heading, statements) = LANGUAGES[language];
    let (shown, reasons) = (shown(), table("reasons"));
    let mut counts = format!("| MQTT | {statements} | {} |\n|---|{}\n", statuses.join(" | "), "---|".repeat(6));
    let mut out = String::new();
    for (version, name, _) in STANDARDS {
        let mut count = [0; 5];
        let _ = writeln!(out, "## MQTT {version}");
        for entry in table(name) {
            if let Some(part) = entry.id.strip_prefix("## ") {
                let part = if code == "zh" { part.replace(" to ", " 至 ").replace(" and ", "、") } else { part.to_owned() };
                let _ = write!(out, "\n### {part} · {}\n\n| {heading} |\n|---|---|---|---|\n", entry.words[language]);
                continue;
            }
            let (status, place) = match shown.get(&(version, entry.id.clone())) {
                Some(places) => (usize::from(places.iter().all(|(is_test, ..)| *is_test)), links(places)),
                None => {
                    let key = entry.last.unwrap_or_default();
                    let reason =
                        reasons.iter().find(|reason| reason.id == key).unwrap_or_else(|| panic!("{}: {key:?}", entry.id));
                    status_and_words(reason, language)
                }
            };
            count[status] += 1;
            let _ = writeln!(out, "| {} | {} | {} | {place} |", entry.id, entry.words[language], statuses[status]);
        }
        out.push('\n');
        let numbers: Vec<String> = count.iter().map(usize::to_string).collect();
        let _ = writeln!(counts, "| {version} | {} | {} |", count.iter().sum::<usize>(), numbers.join(" | "));
    }
    let template = read(&format!("{ROOM}/conformance/page.{code}.md"));
    template.replace("<!-- counts -->\n", &counts).replace("<!-- clauses -->\n", out.trim_end_matches('\n')) + "\n"
}

/// A reason is written as key, status, English and Chinese.
fn status_and_words(reason: &Entry, language: usize) -> (usize, String) {
    let [status, en] = &reason.words;
    let at = STATUSES.iter().position(|known| known == status).unwrap_or_else(|| panic!("{status:?} is no status"));
    let zh = reason.last.as_ref().unwrap_or_else(|| panic!("{}: no Chinese", reason.id));
    (at, [en, zh][language].clone())
}

fn links(places: &BTreeSet<(bool, String, String)>) -> String {
    let link = |(is_test, path, test): &(bool, String, String)| {
        let file = Path::new(path).file_name().and_then(|name| name.to_str()).expect("a name");
        let name = if *is_test { format!("`{test}`") } else { file.trim_end_matches(".rows").to_owned() };
        format!("[{name}](../../{path})")
    };
    places.iter().map(link).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_pages_are_what_the_rows_and_tests_say() {
    for (at, (code, ..)) in LANGUAGES.iter().enumerate() {
        let path = Path::new(ROOT).join(format!("docs/{code}/mqtt-conformance.md"));
        let page = page(at);
        if std::env::var_os("ESPUSH_WRITE_DOCS").is_some() {
            std::fs::write(&path, &page).expect("a folder that can be written");
        }
        let found = read_to_string(&path).unwrap_or_default();
        let line = page.lines().zip(found.lines().chain(std::iter::repeat(""))).find(|(wanted, found)| wanted != found);
        assert!(
            page == found,
            "{} is not what the rows say, at {line:?}; write it with ESPUSH_WRITE_DOCS=1 cargo test -p protocols --test mqtt_conformance",
            path.display()
        );
    }
}
