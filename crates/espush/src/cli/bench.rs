//! `espush bench`: how fast a broker is, and what it spends. Reads what is wanted, leaves the work to the
//! `load` room, and prints what came of it. Knows the server by its port alone.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::process::{Command, ExitCode};

use anyhow::Context;
use load::{Latency, Mqtt, Outcome, Plan, Progress as Step, Sessions, Who, Work};

use super::duration::parse_ms;
use super::progress::{Progress, size};
use super::table::Table;
use super::{say, say_json};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    espush bench fanin --rate 5000 --qos 1\n  \
    espush bench conns --count 15000 --pid $(pidof mosquitto) --json\n  \
    espush bench push --devices 10000 --rate 2000 --app 1 --key KEY\n\n\
    Exit code 0, or 1 when a connection failed or was lost, or a message above QoS 0 did not arrive.")]
pub struct Args {
    #[command(subcommand)]
    work: Shape,
}

#[derive(clap::Subcommand)]
enum Shape {
    /// Connections that subscribe to a topic of their own and stay idle
    Conns {
        /// How many
        #[arg(long, default_value_t = 1000)]
        count: u32,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Many publishers, few subscribers that get everything
    Fanin {
        /// How many publish
        #[arg(long, default_value_t = 100)]
        publishers: u32,
        /// How many subscribe
        #[arg(long, default_value_t = 1)]
        subscribers: u32,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// One publisher, many subscribers
    Fanout {
        /// How many subscribe
        #[arg(long, default_value_t = 1000)]
        subscribers: u32,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Publishers with one subscriber each
    Pairs {
        /// How many pairs
        #[arg(long, default_value_t = 100)]
        count: u32,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// One publisher, to random ones of many idle devices
    Push {
        /// How many devices
        #[arg(long, default_value_t = 1000)]
        devices: u32,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Connections that ask whether the server is there (PINGREQ)
    Ping {
        /// How many
        #[arg(long, default_value_t = 100)]
        count: u32,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// One process of a run, on stdin and stdout
    #[command(hide = true)]
    Worker,
}

#[derive(clap::Args)]
struct Options {
    /// The server's host
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The server's port
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// Messages (or pings) a second in all; without it as fast as the window lets them go
    #[arg(long, value_name = "N", value_parser = positive)]
    rate: Option<f64>,
    /// How long the load lasts (conns: how long the connections are held)
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_ms)]
    time: u64,
    /// Ends earlier, after so many messages
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
    /// Messages on their way at once, in all
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// QoS of publishes and subscriptions
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Bytes of a payload; from 8 on they carry the time, for latencies of deliveries
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    payload: usize,
    /// The version of MQTT
    #[arg(long, value_enum, default_value_t = Version::V311)]
    mqtt: Version,
    /// Sessions end with their connection (the default)
    #[arg(long, conflicts_with_all = ["kept", "away"])]
    clean: bool,
    /// Sessions of subscribers outlive their connection, until the run is over
    #[arg(long, conflicts_with = "away")]
    kept: bool,
    /// Subscribers leave before the load, and come back for what was kept for them
    #[arg(long)]
    away: bool,
    /// The user name; {i} is the connection's number
    #[arg(long)]
    user: Option<String>,
    /// The password; {i} is the connection's number
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// Devices that register themselves with this app
    #[arg(long, requires = "key", conflicts_with = "user")]
    app: Option<u32>,
    /// The app's key
    #[arg(long, requires = "app")]
    key: Option<String>,
    /// The chip id of the first of them
    #[arg(long, default_value_t = 1)]
    chip: u32,
    /// The keep-alive that is promised, and kept
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    keep_alive: u16,
    /// What topics and client ids begin with [default: one of its own each time]
    #[arg(long)]
    name: Option<String>,
    /// Connections begun a second; without it as fast as the server takes them
    #[arg(long, value_name = "N", value_parser = positive)]
    connect_rate: Option<f64>,
    /// Connections being made at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    handshakes: u32,
    /// The first source address, of which each next one serves 4000 connections [default: 127.0.1.1, to a loopback server]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Ipv4Addr>,
    /// The server's process on this machine: what it spends is measured
    #[arg(long)]
    pid: Option<u32>,
    /// For machines
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Version {
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5.0")]
    V5,
}

/// Connections below which it would be noise what one of them costs.
const MANY: u64 = 1000;

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("not a number above 0".to_owned()),
    }
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (name, work, options) = match args.work {
        Shape::Conns { count, options } => ("conns", Work::Conns { count }, options),
        Shape::Fanin { publishers, subscribers, options } => ("fanin", Work::Fan { publishers, subscribers }, options),
        Shape::Fanout { subscribers, options } => ("fanout", Work::Fan { publishers: 1, subscribers }, options),
        Shape::Pairs { count, options } => ("pairs", Work::Pairs { count }, options),
        Shape::Push { devices, options } => ("push", Work::Push { devices }, options),
        Shape::Ping { count, options } => ("ping", Work::Ping { count }, options),
        Shape::Worker => {
            load::work()?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let plan = plan(work, &options)?;
    let program = std::env::current_exe().context("the program cannot find itself to start its workers")?;
    let worker = || {
        let mut command = Command::new(&program);
        command.args(["bench", "worker"]);
        Ok(command)
    };
    let mut bar: Option<Progress> = None;
    let outcome = load::run(&plan, worker, options.pid, |step| draw(&mut bar, step))?;
    if options.json {
        say_json(&json(name, &plan, &outcome)?);
    } else {
        say(table(&outcome));
    }
    if let Some(trouble) = &outcome.trouble {
        eprintln!("espush: {trouble}");
    }
    let lost = plan.qos > 0 && outcome.received < outcome.expected;
    let good = outcome.failed == 0 && outcome.dropped == 0 && !lost;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(super::FAILED) })
}

fn plan(work: Work, options: &Options) -> anyhow::Result<Plan> {
    let (host, port) = (&*options.host, options.port);
    let addresses = (host, port).to_socket_addrs().with_context(|| format!("{host} is no address"))?;
    // `localhost` is often both; source addresses are those of IPv4.
    let server = addresses.min_by_key(SocketAddr::is_ipv6).with_context(|| format!("{host} has no address"))?;
    let who = match (&options.user, options.app, &options.key) {
        (Some(user), ..) => Who::Named { user: user.clone(), password: options.password.clone() },
        (None, Some(app), Some(key)) => Who::App { app, key: key.clone(), first_chip: options.chip },
        _ => Who::Nobody,
    };
    let sessions = match (options.kept, options.away) {
        (_, true) => Sessions::Away,
        (true, _) => Sessions::Kept,
        _ => Sessions::Clean,
    };
    Ok(Plan {
        server,
        work,
        mqtt: if matches!(options.mqtt, Version::V5) { Mqtt::V5 } else { Mqtt::V311 },
        qos: options.qos,
        payload_bytes: options.payload,
        rate: options.rate,
        seconds: options.time as f64 / 1000.0,
        messages: options.messages,
        window: options.window,
        sessions,
        who,
        keep_alive_s: options.keep_alive,
        name: options.name.clone().unwrap_or_else(|| format!("bench-{}", std::process::id())),
        connect_rate: options.connect_rate,
        handshakes: options.handshakes,
        from: options.from,
    })
}

fn draw(bar: &mut Option<Progress>, step: Step) {
    if bar.as_ref().is_none_or(|bar| bar.what() != step.step) {
        let seconds: fn(u64) -> String = |ms| format!("{} s", ms / 1000);
        let unit = if matches!(step.step, "load" | "holding") { seconds } else { |count: u64| count.to_string() };
        *bar = Progress::counting(step.step, unit);
    }
    if let Some(bar) = bar {
        bar.tell(step.done, step.of);
    }
}

/// The options that shaped the run, without what is secret, and what came of it.
fn json(name: &str, plan: &Plan, outcome: &Outcome) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(outcome)?;
    if let Some(members) = value.as_object_mut() {
        let shape = serde_json::json!({
            "shape": name, "work": plan.work, "mqtt": plan.mqtt, "qos": plan.qos, "payload_bytes": plan.payload_bytes,
            "rate": plan.rate, "seconds": plan.seconds, "window": plan.window, "sessions": plan.sessions,
        });
        members.insert("run".to_owned(), shape);
    }
    Ok(value)
}

fn table(outcome: &Outcome) -> Table {
    let mut table = Table::new(&["", "count", "a second", "p50", "p99", "p99.9", "max"]);
    let mut row = |what: &str, count: u64, per_s: Option<f64>, took: Option<&Latency>| {
        let per_s = per_s.map_or(String::new(), |per_s| format!("{per_s:.0}"));
        let mut cells = vec![what.to_owned(), count.to_string(), per_s];
        if let Some(took) = took.filter(|took| took.count > 0) {
            cells.extend([took.p50_us, took.p99_us, took.p999_us, took.max_us].map(time));
        }
        table.row(cells);
    };
    let o = outcome;
    let connect_per_s = (o.connect_s > 0.0).then(|| o.connected as f64 / o.connect_s);
    row("connected", o.connected, connect_per_s, Some(&o.connect_latency));
    if o.sent > 0 {
        row("sent", o.sent, Some(o.sent_per_s), None);
    }
    if o.acknowledge_latency.count > 0 {
        row("acknowledged", o.acknowledged, Some(o.acknowledged_per_s), Some(&o.acknowledge_latency));
    }
    if o.expected > 0 {
        row("received", o.received - o.collected, Some(o.received_per_s), Some(&o.delivery_latency));
    }
    let late = [("collected", o.collected), ("missing", o.expected.saturating_sub(o.received))];
    let wrong = [("not connected", o.failed), ("connections lost", o.dropped), ("refused", o.refused), ("stalls", o.stalls)];
    late.iter().chain(&wrong).filter(|(_, count)| *count > 0).for_each(|(what, count)| row(what, *count, None, None));
    if let Some(spent) = &o.server {
        let mut line = |what: &str, cell: String| table.row(vec![what.to_owned(), cell]);
        let many = o.connected >= MANY;
        if many {
            line("server: CPU s per million connections", format!("{:.1}", spent.connect_cpu_s_per_million));
        }
        if o.sent > 0 {
            line(&format!("server: CPU s per million {}", spent.per), format!("{:.2}", spent.load_cpu_s_per_million));
        }
        if many {
            line("server: bytes per connection", format!("{:.0}", spent.bytes_per_connection));
        }
        line("server: memory after the load", size(spent.memory_after_bytes));
    }
    table
}

/// Microseconds as people read them.
fn time(us: f64) -> String {
    match us {
        ..1_000.0 => format!("{us:.0} µs"),
        ..1_000_000.0 => format!("{:.1} ms", us / 1_000.0),
        _ => format!("{:.2} s", us / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_read_them() {
        assert_eq!((time(12.4), time(1_250.0), time(2_500_000.0)), ("12 µs".into(), "1.2 ms".into(), "2.50 s".into()));
        assert!(positive("0").is_err() && positive("-1").is_err() && positive("inf").is_err());
        assert_eq!(positive("2.5"), Ok(2.5));
    }
}
