//! Looks for the built console in `web/build` and writes the table of its files, and that of the page in `docs`. Deliberately absent: npm.
//! Whoever only works on the server needs no Node; the program then serves a page that says how to build it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let room = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let build = room.join("web/build");
    let mut files = BTreeMap::new();
    if build.is_dir() {
        println!("cargo::rerun-if-changed=web/build");
        collect(&build, &build, &mut files)?;
    } else {
        // A path that does not exist would make cargo run this at every build. The first build of the
        // console changes something under `web`, and from then on only `web/build` counts.
        println!("cargo::rerun-if-changed=web");
        println!("cargo::rerun-if-changed=build.rs");
    }
    // The page about the API is no part of the build: it is there as it is written.
    let docs = room.join("docs");
    let mut pages = BTreeMap::new();
    println!("cargo::rerun-if-changed=docs");
    collect(&docs, &docs, &mut pages)?;
    let pages = pages.into_iter().map(|(url, path)| (format!("/docs{url}"), path)).collect();
    let tables = table("FILES", &files)? + &table("DOCS", &pages)?;
    fs::write(PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("files.rs"), tables)
}

/// Files as a Rust table.
fn table(name: &str, files: &BTreeMap<String, PathBuf>) -> io::Result<String> {
    let mut table = format!("pub(crate) static {name}: &[File] = &[\n");
    for (url, path) in files {
        // Packed twins are not files of their own.
        if url.ends_with(".gz") || url.ends_with(".br") {
            continue;
        }
        let body = fs::read(path)?;
        let packed = files.get(&format!("{url}.gz"));
        let gzip = match packed {
            Some(packed) => format!("Some(include_bytes!({packed:?}))"),
            None => "None".to_owned(),
        };
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        writeln!(
            table,
            "    File {{ path: {url:?}, kind: {:?}, etag: {:?}, immutable: {}, body: include_bytes!({path:?}), gzip: {gzip} }},",
            kind(url),
            format!("\"{:016x}\"", hasher.finish()),
            url.starts_with("/_app/immutable/"),
        )
        .expect("a String takes everything");
    }
    table.push_str("];\n");
    Ok(table)
}

/// Every file under `dir` by its URL, in order, so that the same build gives the same table.
fn collect(root: &Path, dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if let Ok(rest) = path.strip_prefix(root) {
            let parts: Vec<_> = rest.iter().map(|part| part.to_string_lossy()).collect();
            files.insert(format!("/{}", parts.join("/")), path.clone());
        }
    }
    Ok(())
}

fn kind(url: &str) -> &'static str {
    match url.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "png" => "image/png",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
