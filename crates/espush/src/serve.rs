//! `espush serve`: runs the server until it is told to stop; SIGHUP makes it read its certificates again.
//! Tells on stdout what it listens on, for people and scripts; logs go to stderr.

use std::fs;
use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use anyhow::Context;
use model::Role;
use tokio::signal::unix::{SignalKind, signal};

use crate::assemble::House;
use crate::config::Config;
use crate::room::Room;

/// The file in the data directory by which commands on the same machine find the server.
pub const URL_FILE: &str = "server.url";
/// The file beside it with the certificates by which they know it, when that address is an `https://` one.
pub const CERTIFICATE_FILE: &str = "server.crt";

/// Runs until SIGTERM or SIGINT. `demo` adds the virtual lamp.
pub fn run(config: Config, demo: bool) -> anyhow::Result<()> {
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_max_level(config.log.level)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .with_target(false)
        .init();
    let room = Room::here(net::raise_open_file_limit());
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("platform").enable_all().build()?;
    runtime.block_on(serve(&config, demo, room))
}

async fn serve(config: &Config, demo: bool, room: Room) -> anyhow::Result<()> {
    // Before anything is bound: a stop that comes early is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let house = House::start(config, protocols::ALL).await?;
    house.fleet.ensure_local_token(&config.data).await.context("cannot make the local owner token")?;
    let lamp = if demo { crate::demo::start(&house).await? } else { None };

    let mut out = std::io::stdout();
    for (name, addr) in &house.listeners {
        writeln!(out, "listening {name} {addr}")?;
    }
    let listener = |name: &'static str| house.listeners.iter().find(|(n, _)| n == name).map(|(_, addr)| (name, *addr));
    if let Some((scheme, http)) = listener("http").or_else(|| listener("https")) {
        let local = SocketAddr::new(reachable(http.ip(), Ipv4Addr::LOCALHOST.into()), http.port());
        note_certificates(&house, &config.data)?;
        fs::write(config.data.join(URL_FILE), format!("{scheme}://{local}"))
            .context("cannot write server.url into the data directory")?;
    }
    if let Some((scheme, http)) = listener("http").or_else(|| listener("https")) {
        let base = config.http.base_url.clone().unwrap_or_else(|| {
            let host = if http.ip().is_unspecified() { "localhost".to_owned() } else { http.ip().to_string() };
            format!("{scheme}://{host}:{}", http.port())
        });
        let code = house.fleet.new_signin(Role::Owner).code;
        writeln!(out, "console {base}/signin#{code}   (works once, for 15 minutes; a new link: espush token signin)")?;
        if let (true, None, Some(lan)) = (http.ip().is_unspecified(), &config.http.base_url, lan_address()) {
            writeln!(out, "        from other machines of this network: use {lan} instead of localhost")?;
        }
    }
    writeln!(out, "{}", room.told())?;
    writeln!(out, "ready")?;
    out.flush()?;

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                house.reload_certificates();
                if let Err(error) = note_certificates(&house, &config.data) {
                    tracing::error!("commands on this machine may not know the server: {error:#}");
                }
            }
        }
    }
    tracing::info!("stopping");
    if let Some(lamp) = lamp {
        lamp.stop().await;
    }
    house.stop().await?;
    remove_url(&config.data);
    Ok(())
}

/// `ip`, or `instead` when it stands for all addresses.
fn reachable(ip: IpAddr, instead: IpAddr) -> IpAddr {
    if ip.is_unspecified() { instead } else { ip }
}

/// This machine's address as its neighbours see it: the source address that the kernel would choose for
/// a packet to the outside. Connecting a UDP socket sends nothing.
fn lan_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
}

/// Leaves the certificates of the console's address for commands on the same machine.
fn note_certificates(house: &House, data: &Path) -> anyhow::Result<()> {
    let Some(shown) = house.shown_to_browsers() else { return Ok(()) };
    fs::write(data.join(CERTIFICATE_FILE), shown?).context("cannot write server.crt into the data directory")
}

/// A stale address would send commands into the void; that it cannot be removed is no reason to fail.
fn remove_url(data: &Path) {
    let _ = fs::remove_file(data.join(URL_FILE));
    let _ = fs::remove_file(data.join(CERTIFICATE_FILE));
}
