//! `espush device import` and `export`: devices from and to CSV.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use super::client::{Client, with_query};
use super::progress::Progress;
use super::table::plain;
use super::{FAILED, say};

#[derive(clap::Args)]
pub struct Import {
    /// The file; - is stdin. Its first line names the columns: id, app, name, alias, tags (divided by ;), open, secret, meta.NAME
    file: PathBuf,
    /// Whether devices may be made, changed, or either
    #[arg(long, default_value = "upsert", value_parser = ["create", "update", "upsert"])]
    mode: String,
    /// Look at every row and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
pub struct Export {
    /// Where to write [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only those of one app
    #[arg(long)]
    app: Option<u32>,
    /// Only those of a group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Only those that a query fits
    #[arg(long, alias = "where", value_name = "QUERY")]
    query: Option<String>,
}

pub fn import(client: &Client, args: &Import, json: bool) -> anyhow::Result<ExitCode> {
    let file = read(&args.file)?;
    let query = [("mode", Some(args.mode.clone())), ("dry_run", Some(args.dry_run.to_string()))];
    let answer = client.post_file(&with_query("/api/v1/devices/import", &query), "text/csv", file)?;
    let mut bar = if json { None } else { Progress::counting("importing", |rows| format!("{rows} rows")) };
    let mut heading = Some("id,secret");
    for line in BufReader::new(answer).lines() {
        let line = line.context("the server broke off: what it has told so far is done; run it again for the rest")?;
        let news: Value = serde_json::from_str(&line).context("the server answered what is no JSON")?;
        let text = |name: &str| news[name].as_str().unwrap_or_default();
        if json {
            say(&line);
        } else if let Some(progress) = news["progress"].as_object() {
            let count = |name: &str| progress.get(name).and_then(Value::as_u64).unwrap_or(0);
            if let Some(bar) = &mut bar {
                bar.tell(count("rows"), count("of"));
            }
        } else if let Some(secret) = news["secret"].as_str() {
            // On stdout alone, to be kept in a file.
            heading.take().into_iter().for_each(say);
            say(format_args!("{},{secret}", text("id")));
        } else if news.get("code").is_some() {
            eprintln!("line {} ({}): {}", news["line"], plain(text("id")), plain(text("detail")));
        }
        if let Some(done) = news["done"].as_object() {
            let count = |name: &str| done.get(name).and_then(Value::as_u64).unwrap_or(0);
            if !json {
                let would = if args.dry_run { "would be " } else { "" };
                let (rows, created, updated, failed) = (count("rows"), count("created"), count("updated"), count("failed"));
                eprintln!("{rows} rows: {created} {would}created, {updated} {would}updated, {failed} wrong");
            }
            return Ok(if count("failed") > 0 { ExitCode::from(FAILED) } else { ExitCode::SUCCESS });
        }
    }
    anyhow::bail!("the server broke off: what it has told so far is done; run it again for the rest")
}

pub fn export(client: &Client, args: Export) -> anyhow::Result<ExitCode> {
    let query = [("app", args.app.map(|app| app.to_string())), ("group", args.group), ("where", args.query)];
    let mut rows = client.read(&with_query("/api/v1/devices/export", &query), "text/csv")?;
    let copied = match &args.out {
        None => io::copy(&mut rows, &mut io::stdout().lock()),
        Some(path) => {
            let mut file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            io::copy(&mut rows, &mut file).and_then(|bytes| file.flush().map(|()| bytes))
        }
    };
    match copied {
        // Somebody looked at the first lines only.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && args.out.is_none() => Ok(ExitCode::SUCCESS),
        copied => copied.map(|_| ExitCode::SUCCESS).context("the file is not whole"),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut whole = Vec::new();
        io::stdin().lock().read_to_end(&mut whole).context("cannot read stdin")?;
        return Ok(whole);
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
