//! `espush doctor`: looks at the data directory, the server, its ports, the token and the clocks, and
//! says in plain sentences what is in order and what to do about the rest. Changes nothing.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use model::UnixMs;
use serde_json::{Value, json};

use super::client::{Client, Reach};
use super::duration::now;
use super::table::plain;
use super::{say, say_json};

/// Clocks that differ by more than this make stored times misleading.
const CLOCK_S_MAX: u64 = 30;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
}

/// What was looked at and what was seen.
struct Finding {
    about: &'static str,
    good: bool,
    sentence: String,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut findings = Vec::new();
    let mut note = |about, good, sentence: String| findings.push(Finding { about, good, sentence });

    let (good, sentence) = data_directory(&args.reach.data);
    note("data", good, sentence);
    let client = Client::find(&args.reach)?;
    match client.get("/api/v1/session") {
        Ok(session) => {
            let text = |name: &str| plain(session[name].as_str().unwrap_or("-"));
            note("server", true, format!("espush {} answers at {}", text("version"), client.base));
            note("token", true, format!("you are {} with the role {}", text("name"), text("role")));
            let (good, sentence) = clock(session["time"].as_str().and_then(UnixMs::parse), now());
            note("clock", good, sentence);
            let status = client.get("/api/v1/status")?;
            note("fleet", true, format!("{} of {} devices are online", status["online"], status["devices"]));
            for listener in status["listeners"].as_array().into_iter().flatten() {
                let (good, sentence) = port(listener, &client.base);
                note("port", good, sentence);
            }
            let (good, sentence) = store(&status["store"]);
            note("store", good, sentence);
            for one in status["bridges"].as_array().into_iter().flatten() {
                let (good, sentence) = bridge(one);
                note("bridge", good, sentence);
            }
        }
        Err(super::client::ApiError::Problem { status: 401, sentence, hint, .. }) => {
            note("server", true, format!("a server answers at {}", client.base));
            note("token", false, format!("{sentence}; {}", hint.unwrap_or_default()));
        }
        Err(error) => {
            note("server", false, error.to_string().replace("\n  hint:", ";"));
            for (name, addr) in protocols::ALL.iter().map(|p| (p.name, p.listen_default)).chain([("http", "0.0.0.0:8080")]) {
                let Ok(addr) = addr.parse::<SocketAddr>() else { continue };
                match TcpListener::bind(addr) {
                    Ok(_) => note("port", true, format!("{addr} is free for {name}")),
                    Err(error) => note(
                        "port",
                        false,
                        format!("{addr} cannot be had for {name} ({error}); end what holds it or use --set {name}.listen=…"),
                    ),
                }
            }
        }
    }

    let good = findings.iter().all(|f| f.good);
    if args.reach.json {
        let rows: Vec<Value> =
            findings.iter().map(|f| json!({ "about": f.about, "good": f.good, "sentence": f.sentence })).collect();
        say_json(&json!({ "good": good, "findings": rows }));
    } else {
        for f in &findings {
            say(format_args!("{:<4} {:<7} {}", if f.good { "ok" } else { "BAD" }, f.about, f.sentence));
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(super::FAILED) })
}

fn data_directory(dir: &Path) -> (bool, String) {
    let name = dir.display();
    match std::fs::metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (true, format!("{name} is not there yet; the first `espush serve` makes it"))
        }
        Err(error) => (false, format!("{name} cannot be read: {error}")),
        Ok(meta) if !meta.is_dir() => (false, format!("{name} is not a directory; name one with --data")),
        Ok(_) => match readable_by_others(&dir.join("owner.token")) {
            Some(true) => (false, format!("others can read {name}/owner.token; run: chmod 600 {name}/owner.token")),
            Some(false) => (true, format!("{name} is there, and its owner token is for you alone")),
            None => (true, format!("{name} is there")),
        },
    }
}

#[cfg(unix)]
fn readable_by_others(file: &Path) -> Option<bool> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).ok().map(|meta| meta.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn readable_by_others(_file: &Path) -> Option<bool> {
    None
}

fn clock(theirs: Option<UnixMs>, ours: UnixMs) -> (bool, String) {
    let Some(theirs) = theirs else { return (false, "the server tells no time".to_owned()) };
    let apart_s = theirs.0.abs_diff(ours.0) / 1000;
    // A clock that was never set (a board without battery) starts in the past.
    if ours.0 < 1_700_000_000_000 {
        return (false, format!("this machine thinks it is {}; set its clock", ours.rfc3339()));
    }
    if apart_s > CLOCK_S_MAX {
        return (false, format!("the server's clock and this machine's are {apart_s} s apart; let both follow NTP"));
    }
    (true, format!("the server's clock and this machine's agree within {} s", apart_s.max(1)))
}

/// Whether a listener takes connections, asked at the host that answered HTTP.
fn port(listener: &Value, base: &str) -> (bool, String) {
    let name = plain(listener["name"].as_str().unwrap_or("-"));
    let text = listener["addr"].as_str().unwrap_or("-");
    let Ok(mut addr) = text.parse::<SocketAddr>() else { return (false, format!("{name} tells no address ({})", plain(text))) };
    if addr.ip().is_unspecified() {
        addr.set_ip(if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        let host = base.trim_start_matches("http://").split(['/', ':']).next().unwrap_or_default();
        if let Ok(ip) = host.parse() {
            addr.set_ip(ip);
        }
    }
    match TcpStream::connect_timeout(&addr, Duration::from_secs(3)) {
        Ok(_) => (true, format!("{name} takes connections at {addr}")),
        Err(error) => (false, format!("{name} does not take connections at {addr} ({error}); look at the firewall")),
    }
}

/// The store as the server tells of it.
fn store(status: &Value) -> (bool, String) {
    for trouble in ["failed", "damaged", "full"] {
        if let Some(why) = status[trouble].as_str() {
            return (false, plain(why));
        }
    }
    let mib = |name: &str| status[name].as_u64().unwrap_or(0) / (1024 * 1024);
    let of = if mib("max_bytes") > 0 { format!(" of {}", mib("max_bytes")) } else { String::new() };
    let sums = if status["checksums"] == true { "" } else { "; its pages carry no checksums, `espush repair` adds them" };
    (true, format!("the store holds {}{of} MiB, its file system has {} MiB left{sums}", mib("used_bytes"), mib("free_bytes")))
}

/// A bridge as the server tells of it.
fn bridge(status: &Value) -> (bool, String) {
    let text = |name: &str| plain(status[name].as_str().unwrap_or("-"));
    let state = if status["connected"] == true { "connected" } else { "not connected" };
    let about = format!("{} is {state} to {} since {}", text("name"), text("address"), text("since"));
    match (status["why"].as_str(), status["next"].as_str()) {
        (None, _) => (true, about),
        (Some(why), None) => (false, format!("{about}: {}", plain(why))),
        (Some(why), Some(next)) => (false, format!("{about}: {}; next attempt at {}", plain(why), plain(next))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_good_while_it_is_connected_and_nothing_is_refused() {
        let mut status =
            json!({ "name": "old", "address": "h:1", "connected": true, "since": "noon", "why": null, "next": null });
        assert_eq!(bridge(&status), (true, "old is connected to h:1 since noon".to_owned()));
        status["why"] = json!("the remote does not grant \"a\"");
        assert!(!bridge(&status).0);
        status["connected"] = json!(false);
        status["next"] = json!("one");
        let (good, sentence) = bridge(&status);
        assert!(!good && sentence.ends_with("does not grant \"a\"; next attempt at one"), "{sentence}");
    }

    #[test]
    fn a_store_is_good_unless_something_is_wrong_with_it() {
        const MIB: u64 = 1024 * 1024;
        let mut status = json!({ "used_bytes": 3 * MIB, "max_bytes": 0, "free_bytes": 9 * MIB, "checksums": true,
                                 "full": null, "failed": null, "damaged": null });
        assert_eq!(store(&status), (true, "the store holds 3 MiB, its file system has 9 MiB left".to_owned()));
        for trouble in ["full", "damaged", "failed"] {
            status[trouble] = json!(format!("it is {trouble}"));
            assert_eq!(store(&status), (false, format!("it is {trouble}")), "the worst is told");
        }
    }

    #[test]
    fn clocks_that_agree_and_clocks_that_do_not() {
        let noon = UnixMs(1_795_000_000_000);
        assert!(clock(Some(UnixMs(noon.0 + 900)), noon).0);
        let (good, sentence) = clock(Some(UnixMs(noon.0 - 90_000)), noon);
        assert!(!good && sentence.contains("90 s apart"), "{sentence}");
        assert!(!clock(Some(UnixMs(0)), UnixMs(5_000)).0, "1970 is never now");
        assert!(!clock(None, noon).0);
    }

    #[test]
    fn a_listener_is_tried() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = open.local_addr().unwrap().to_string();
        assert!(port(&json!({ "name": "mqtt", "addr": addr }), "http://127.0.0.1:1").0);
        drop(open);
        assert!(!port(&json!({ "name": "mqtt", "addr": addr }), "http://127.0.0.1:1").0);
    }

    #[test]
    fn a_data_directory_that_is_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(data_directory(dir.path()).0);
        assert!(data_directory(&dir.path().join("not yet")).0);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(!data_directory(&file).0);
    }
}
