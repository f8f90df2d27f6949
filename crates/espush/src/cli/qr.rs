//! QR codes in the terminal: those that the server draws, and, here alone, those with a device's secret, which the
//! server tells once and draws never.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use api::qr::{Place, Qr, host_of, provisioning};
use serde_json::Value;

use super::client::{Client, with_query};

#[derive(clap::Args)]
pub struct Out {
    /// Write it to a file instead, as PNG or, if the name ends in .svg, as SVG
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct WithSecret {
    /// Print a QR code with server, device and secret, for a device or an app that reads such codes
    #[arg(long)]
    qr: bool,
    /// The name or address by which devices find the server [default: that of the server's URL]
    #[arg(long, value_name = "HOST", requires = "qr")]
    host: Option<String>,
}

/// Prints a code that the server draws, or writes it to a file.
pub fn show(client: &Client, path: &str, query: &[(&str, Option<String>)], to: &Out) -> anyhow::Result<ExitCode> {
    let format = match to.out.as_deref().map(Path::extension) {
        None => "text",
        Some(Some(kind)) if kind.eq_ignore_ascii_case("svg") => "svg",
        Some(_) => "png",
    };
    let path = with_query(&with_query(path, query), &[("format", Some(format.to_owned()))]);
    let mut code = Vec::new();
    client.read(&path, "*/*")?.read_to_end(&mut code).context("the server broke off")?;
    match &to.out {
        Some(file) => std::fs::write(file, code).with_context(|| format!("cannot write {}", file.display()))?,
        None => print(&String::from_utf8_lossy(&code), &mut std::io::stdout().lock()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the code of a device's new secret beside what is said of it: on stderr, so that stdout stays as it is.
pub fn secret(client: &Client, with: &WithSecret, device: &str, secret: &str) -> anyhow::Result<()> {
    if !with.qr {
        return Ok(());
    }
    let status = client.get("/api/v1/status")?;
    let text = |listener: &Value, name: &str| listener[name].as_str().unwrap_or_default().to_owned();
    let listeners = status["listeners"].as_array().into_iter().flatten();
    let listeners: Vec<(String, String)> = listeners.map(|l| (text(l, "name"), text(l, "addr"))).collect();
    let authority = client.base.split_once("://").map_or(client.base.as_str(), |(_, rest)| rest);
    let host = with.host.as_deref().unwrap_or_else(|| host_of(authority.split('/').next().unwrap_or(authority)));
    let place = Place { host, listeners: &listeners };
    let code = Qr::of(&provisioning(&place, &[("id", device), ("secret", secret)])).context("too long for a QR code")?;
    print(&code.text(), &mut std::io::stderr().lock());
    if ["127.0.0.1", "localhost", "[::1]"].contains(&host) {
        eprintln!("The address in it is {host}: for a device elsewhere name the server's with --host.");
    }
    Ok(())
}

/// White on black where there are colours, so that it is no negative on a light terminal.
fn print(code: &str, to: &mut (impl Write + IsTerminal)) {
    let (on, off) = if to.is_terminal() { ("\x1b[97;40m", "\x1b[0m") } else { ("", "") };
    for line in code.lines() {
        // Nobody reads any more: then there is nothing to say.
        let _ = writeln!(to, "{on}{line}{off}");
    }
}
