//! `espush sim`: virtual ESP8266s on the network, to try a server without hardware or to fill it. Knows the
//! server by its device ports alone, as real boards do.

use std::process::ExitCode;
use std::time::Duration;

use sim::{Counts, Link, Options, Who};
use tokio::signal::unix::{SignalKind, signal};

use super::duration::parse_ms;
use super::say;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    espush sim --app 1 --key 25b28f0ffb9711e4a96d446d579b49a1 --count 100\n  \
    espush sim --protocol espush --app 1 --key 25b28f0ffb9711e4a96d446d579b49a1\n  \
    espush sim --device lamp --secret SECRET\n\n\
    The boards know the pushes on, off, toggle, press and status, and some commands such as gpio.read.\n\
    Boards with an app key are the devices APP-CHIP, with chip ids counted up from --chip.\n\
    Ends at Ctrl-C; exit code 0, or 1 when no board was ever let in.")]
pub struct Args {
    /// What the boards speak
    #[arg(long, value_enum, default_value_t = Protocol::Mqtt)]
    protocol: Protocol,
    /// The app that they register with
    #[arg(long, requires = "key", required_unless_present = "device")]
    app: Option<u32>,
    /// The app's key
    #[arg(long, requires = "app")]
    key: Option<String>,
    /// How many boards
    #[arg(long, default_value_t = 1, conflicts_with = "device")]
    count: u32,
    /// The chip id of the first board
    #[arg(long, default_value_t = 1, conflicts_with = "device")]
    chip: u32,
    /// One registered device instead (MQTT only)
    #[arg(long, value_name = "ID", requires = "secret", conflicts_with = "app")]
    device: Option<String>,
    /// The device's secret
    #[arg(long, requires = "device")]
    secret: Option<String>,
    /// The server's host
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The port [default: the protocol's own, 1883 or 10081]
    #[arg(long)]
    port: Option<u16>,
    /// How often each board uploads what it measures; 0 only after changes
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_ms)]
    interval: u64,
    /// Over how long the boards' first connections are spread
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_ms)]
    spread: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Protocol {
    /// MQTT 3.1.1
    Mqtt,
    /// ES-PUSH classic
    Espush,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (link, port) = match args.protocol {
        Protocol::Mqtt => (Link::Mqtt, 1883),
        Protocol::Espush => (Link::Espush, 10081),
    };
    let who = match (args.app, args.key, args.device, args.secret) {
        (Some(app), Some(key), _, _) => Who::App { app, key, first_chip: args.chip, boards: args.count },
        (_, _, Some(device), Some(secret)) => Who::Devices(vec![(device, secret)]),
        // clap has seen to it that one of the two pairs is there.
        _ => anyhow::bail!("give --app with --key, or --device with --secret"),
    };
    let options = Options {
        upload_every: (args.interval > 0).then(|| Duration::from_millis(args.interval)),
        spread: Duration::from_millis(args.spread),
        ..Options::new(format!("{}:{}", args.host, args.port.unwrap_or(port)), link, who)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let counts = runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let mut shown = Counts::default();
        let report = |counts: &Counts| {
            if *counts != shown {
                say(line(counts));
                shown = counts.clone();
            }
        };
        anyhow::Ok(sim::run(options, stop, report).await?)
    })?;
    Ok(if counts.logins > 0 { ExitCode::SUCCESS } else { ExitCode::from(super::FAILED) })
}

fn line(counts: &Counts) -> String {
    let Counts { connected, uploads, orders, refused, broken, trouble, .. } = counts;
    let mut line = format!("{connected} connected, {uploads} uploads, {orders} orders");
    if refused + broken > 0 {
        line.push_str(&format!("; {refused} refused, {broken} broken: {trouble}"));
    }
    line
}
