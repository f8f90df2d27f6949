//! Looks for the built console in `web/build` and writes the table of its files. Deliberately absent: npm.
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
    let mut table = String::from("pub(crate) static FILES: &[File] = &[\n");
    for (url, path) in &files {
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
    fs::write(PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("files.rs"), table)
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
