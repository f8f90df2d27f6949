//! Puts the house together: store → shards → fleet, push, telemetry, twins → feed, API and console → listeners;
//! and takes it apart in the opposite order, so that nothing acknowledged is lost on the way out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::Context;
use contract::{Bus, Clock, Consumer, Event, Gate, Line, Protocol, Vault};
use fleet::Fleet;
use net::{Listener, Running, Shards, Surroundings, SystemClock, TlsServer, Transport};
use push::Push;
use schedule::Schedules;
use store::{Budget, Standing, Store};
use telemetry::Telemetry;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use twin::Twins;
use webhook::Webhooks;

use crate::bridges::Bridges;
use crate::config::Config;
use crate::events::Events;
use crate::room::files_of_devices;
use crate::{certificates, http, metrics, outbound, sys, websocket};

/// How long open HTTP requests may take to finish when the program stops.
const HTTP_GRACE: Duration = Duration::from_secs(5);

/// The running house.
pub struct House {
    /// What listens where: the names of the configuration and the bound addresses.
    pub listeners: Vec<(String, SocketAddr)>,
    /// Apps, devices, tokens.
    pub fleet: Arc<Fleet>,
    store: Arc<Store>,
    push: Arc<Push>,
    schedules: Arc<Schedules>,
    telemetry: Arc<Telemetry>,
    twins: Arc<Twins>,
    webhooks: Arc<Webhooks>,
    chooser: Arc<api::Chooser>,
    feed: Arc<api::Feed>,
    running: Running,
    go_to: Option<String>,
    tls: Vec<Arc<TlsServer>>,
    sys: Option<JoinHandle<()>>,
    events_stop: oneshot::Sender<()>,
    events_task: JoinHandle<()>,
    http_stop: watch::Sender<bool>,
    http_tasks: Vec<JoinHandle<std::io::Result<()>>>,
}

/// A bound listener for HTTP.
struct Http {
    name: &'static str,
    socket: std::net::TcpListener,
    addr: SocketAddr,
    transport: Transport,
}

impl House {
    /// Starts everything. Runs on the platform's runtime; the shards get threads of their own.
    pub async fn start(config: &Config, protocols: &[Protocol]) -> anyhow::Result<House> {
        // Ports first: an address in use is found before anything is touched on disk.
        let mut tls = Vec::new();
        let listeners = bind(config, protocols, &mut tls)?;
        let http = bind_http(config, &mut tls)?;

        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        // The rooms, the store and the kernel's side of the network need the other half. A shard that has to
        // share its core costs more than it carries: a message that crosses shards wakes a thread more.
        let half = std::thread::available_parallelism().map_or(1, |cores| usize::from(cores) / 2);
        let shards = Shards::new(if config.shards == 0 { half } else { config.shards }.min(usize::from(u16::MAX)) as u16);
        shards.leave_files(files_of_devices(net::raise_open_file_limit()));
        let line: Arc<dyn Line> = shards.clone();
        let watchers = Arc::new(AtomicUsize::new(0));
        let events = Events::new(watchers.clone(), line.clone());
        let bus: Arc<dyn Bus> = events.clone();
        let store = Arc::new(open_store(config, bus.clone(), clock.clone())?);

        let settings = fleet::Settings {
            anonymous: config.auth.anonymous,
            bootstrap_token: config.auth.bootstrap_token.clone(),
            clock: clock.clone(),
        };
        let fleet = Fleet::open(store.clone(), line.clone(), bus.clone(), settings).await.context("cannot load the fleet")?;
        for server in &tls {
            let (fleet, runtime) = (fleet.clone(), tokio::runtime::Handle::current());
            server.set_keys(Box::new(move |device| runtime.block_on(fleet.secret_of(device)).map(String::into_bytes)));
        }
        let push = Push::open(store.clone(), line.clone(), bus.clone(), clock.clone()).await.context("cannot load the pushes")?;
        push.keep_for(config.push_keep_days, clock.clone());
        let schedules = Schedules::open(store.clone(), clock.clone()).await.context("cannot load the schedules")?;
        let telemetry = Telemetry::open(store.clone(), line.clone(), bus.clone());
        let of_fleet = fleet.clone();
        let names: twin::Names = Arc::new(move |device| of_fleet.id_of(device));
        let twins =
            Twins::open(store.clone(), line.clone(), bus.clone(), clock.clone(), names).await.context("cannot load the twins")?;
        let parties = api::Parties::new(line, clock.clone());
        let courier = Arc::new(outbound::Post::new(&config.webhooks).context("webhooks.ca")?);
        let settings = of_webhooks(config, watchers.clone(), events.clone());
        let webhooks =
            Webhooks::open(store.clone(), clock.clone(), courier, settings).await.context("cannot load the webhooks")?;
        let feed = api::Feed::new(fleet.clone(), clock.clone(), watchers);
        feed.tell_too(webhooks.clone());

        let mut listening: Vec<(String, SocketAddr)> = listeners.iter().map(|l| (l.name().to_owned(), l.addr())).collect();
        listening.extend(http.iter().map(|http| (http.name.to_owned(), http.addr)));
        let info = api::Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: clock.unix(),
            listeners: listening.iter().map(|(name, addr)| (name.clone(), addr.to_string())).collect(),
            base_url: config.http.base_url.clone(),
        };

        // The fleet hears of a line before push and feed do, so that they see the presence it makes.
        let rooms: Vec<Arc<dyn Consumer>> =
            vec![fleet.clone(), telemetry.clone(), push.clone(), twins.clone(), feed.clone(), parties.clone()];
        let (events_stop, events_stopped) = oneshot::channel();
        let events_task = tokio::spawn(events.clone().tell(rooms, events_stopped));

        let gate: Arc<dyn Gate> = fleet.clone();
        let sys = (config.sys_interval_s > 0).then(|| {
            let interval = Duration::from_secs(config.sys_interval_s as u64);
            tokio::spawn(sys::publish(shards.clone(), shards.clone(), clock.clone(), interval))
        });
        let bridges = Bridges::start(&config.bridges, &shards, &clock)?;
        let kept = store.kept().await.context("cannot load the sessions")?;
        let runtime = tokio::runtime::Handle::current();
        let around = Surroundings { gate, bus, vault: store.clone(), clock: clock.clone(), limits: config.limits, runtime };
        let running = shards.start(&listeners, &around, kept)?;

        let of_store = store.clone();
        let of_bridges = bridges.clone();
        let metrics: Vec<api::MetricsSource> = vec![
            metrics::source(shards.clone(), events.clone(), store.clone()),
            metrics::of_webhooks(webhooks.clone()),
            Box::new(move |out| of_bridges.metrics(out)),
        ];
        let app = Arc::new(api::App {
            fleet: fleet.clone(),
            push: push.clone(),
            schedules: schedules.clone(),
            telemetry: telemetry.clone(),
            twins: twins.clone(),
            webhooks: webhooks.clone(),
            audit: store.clone(),
            feed: feed.clone(),
            parties,
            clock,
            carries: protocols.iter().map(|protocol| (protocol.name, protocol.push_bytes_max)).collect(),
            untold: protocols.iter().filter(|protocol| !protocol.twins).map(|protocol| protocol.name).collect(),
            info,
            metrics,
            bridges: Box::new(move || bridges.status()),
            store: Box::new(move || status_of(&of_store)),
            rate: rate_of(config),
        });
        schedules.start(api::sender(&app));
        let chooser = api::chooser(&app);
        webhooks.start(chooser.clone());
        let mut router = api::router(app).fallback_service(console::router());
        if let Some(mqtt) = protocols.iter().find(|p| p.name == "mqtt").copied() {
            let upgrade = move |request| websocket::upgrade(shards.clone(), mqtt, request);
            router = router.route(websocket::PATH, axum::routing::any(upgrade));
        }
        let (http_stop, http_stopped) = watch::channel(false);
        let serve = |http: Http| {
            let mut stopped = http_stopped.clone();
            let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
            tokio::spawn(http::serve(http.socket, http.transport, router.clone(), stop, HTTP_GRACE))
        };
        let http_tasks = http.into_iter().map(serve).collect();
        Ok(House {
            listeners: listening,
            fleet,
            store,
            push,
            schedules,
            telemetry,
            twins,
            webhooks,
            chooser,
            feed,
            running,
            go_to: config.mqtt_go_to.clone(),
            tls,
            sys,
            events_stop,
            events_task,
            http_stop,
            http_tasks,
        })
    }

    /// Reads the certificates again; what cannot be read stays as it was. Open lines go on.
    pub fn reload_certificates(&self) {
        for server in &self.tls {
            match server.reload() {
                Ok(()) => tracing::info!("new connections of {} get the certificates that are there now", server.section()),
                Err(error) => tracing::error!("{} keeps its certificates: {error}", server.section()),
            }
        }
    }

    /// The certificates of the console's address, if it has any.
    pub fn shown_to_browsers(&self) -> Option<std::io::Result<Vec<u8>>> {
        self.tls.iter().find(|server| server.section() == "https").map(|server| server.shown())
    }

    /// Stops: no new requests, goodbye to the devices, every fact told and written, the store closed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.feed.close();
        let _ = self.http_stop.send(true);
        self.schedules.close().await;
        if let Some(sys) = self.sys {
            sys.abort();
        }
        for http in self.http_tasks {
            http.await??;
        }
        tokio::task::spawn_blocking(move || self.running.stop(self.go_to.as_deref(), "the server is stopping")).await?;
        let _ = self.events_stop.send(());
        self.events_task.await?;
        self.push.flush().await;
        self.telemetry.flush().await;
        self.twins.flush().await;
        // After all that happens has been told.
        self.webhooks.close(&*self.chooser).await;
        self.fleet.close().await.context("cannot write presence")?;
        self.store.close().await;
        Ok(())
    }
}

/// How much one token may ask.
fn rate_of(config: &Config) -> Option<fleet::meter::Rate> {
    let (per_s, burst) = (config.http.rate_per_s, config.http.rate_burst);
    let burst = if burst == 0 { per_s.saturating_mul(2) } else { burst };
    (per_s > 0).then_some(fleet::meter::Rate { per_s, burst })
}

/// How webhooks are to behave.
fn of_webhooks(config: &Config, watchers: Arc<AtomicUsize>, events: Arc<Events>) -> webhook::Settings {
    webhook::Settings {
        attempts: config.webhooks.attempts,
        first_retry_ms: config.webhooks.first_retry_ms,
        allow_private: config.webhooks.allow_private,
        kinds: api::KINDS,
        // Each message of each client is more than most targets could bear.
        by_name_only: &["message"],
        watchers,
        dropped: Box::new(move || events.dropped()),
    }
}

/// Opens the store; its alarms become events.
fn open_store(config: &Config, bus: Arc<dyn Bus>, clock: Arc<dyn Clock>) -> anyhow::Result<Store> {
    let alarms = move |alarm, raised, why: &str| {
        bus.emit(&mut vec![Event::AlarmChanged { alarm, raised, why: why.to_owned(), at: clock.unix() }]);
    };
    Ok(Store::open_with(&config.data, config.store, Box::new(alarms))?)
}

/// The store as the API shows it.
fn status_of(store: &Store) -> api::StoreStatus {
    let Standing { used_bytes, free_bytes, budget, full, failed, damaged, checksums, .. } = store.standing();
    let Budget { max_bytes, free_bytes_min } = budget;
    api::StoreStatus { used_bytes, max_bytes, free_bytes, free_bytes_min, checksums, full, failed, damaged }
}

/// Binds every listener of the protocols; those for TLS add their certificates to `tls`.
fn bind(config: &Config, protocols: &[Protocol], tls: &mut Vec<Arc<TlsServer>>) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for protocol in protocols {
        let Some(listen) = config.listen.iter().find(|l| l.protocol == protocol.name) else { continue };
        let proxy_protocol = listen.proxy_protocol;
        if let Some(addr) = listen.addr {
            let transport = Transport { proxy_protocol, tls: None };
            listeners.push(Listener::bind_with(protocol.name, protocol, transport, addr)?);
        }
        if let Some(addr) = listen.tls.addr {
            let name = format!("{}.tls", protocol.name);
            let server = certificates::load(&name, &listen.tls, &config.data)?;
            tls.push(server.clone());
            let transport = Transport { proxy_protocol, tls: Some(server) };
            listeners.push(Listener::bind_with(&name, protocol, transport, addr)?);
        }
    }
    Ok(listeners)
}

/// Binds HTTP and HTTPS.
fn bind_http(config: &Config, tls: &mut Vec<Arc<TlsServer>>) -> anyhow::Result<Vec<Http>> {
    let mut all = Vec::new();
    let mut listen = |name, addr, transport| -> anyhow::Result<()> {
        let (socket, addr) = net::bind(name, addr)?;
        all.push(Http { name, socket, addr, transport });
        Ok(())
    };
    if let Some(addr) = config.http.listen {
        listen("http", addr, Transport::default())?;
    }
    if let Some(addr) = config.https.addr {
        let server = certificates::load("https", &config.https, &config.data)?;
        tls.push(server.clone());
        listen("https", addr, Transport { proxy_protocol: false, tls: Some(server) })?;
    }
    Ok(all)
}
