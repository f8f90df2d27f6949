//! Sockets: listeners, shards and their connections. One thread a shard, each with an epoll and a
//! `hub::Floor`; a connection lives on one shard and moves at most once, to its home after login. An idle
//! connection is a row in a table: no task, no buffer, no timer of its own.
//! Deliberately absent: any protocol (machines come from a registration), any rule about who may do what.

mod addresses;
mod caller;
mod carrying;
mod certificates;
mod clock;
mod closing;
mod dial;
mod doors;
mod ends;
mod entrance;
mod hearing;
mod inbox;
mod layer;
mod leisure;
mod listen;
pub mod outbound;
mod patience;
mod poller;
mod posts;
mod proxy;
mod self_signed;
mod shard;
mod sockets;
mod stats;
mod stream;
mod tls;
mod trust;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use contract::keep::Kept;
use contract::{Bus, Clock, Close, Fault, Gate, Line, Protocol, Refusal, ScramKeys, Ticket, Vault, Verdict};
use hub::{Commons, Mail, Parcel, Shard, home_of_device, home_shard};
use model::limits::Limits;
use model::{Address, DeviceNumber, Message, Party, PartyKey, limits};
use tokio::runtime::Handle;

use crate::addresses::Addresses;
pub use crate::caller::{TlsCaller, TlsStream, Trust, Untrusted};
pub use crate::certificates::{TlsError, TlsServer, TlsSettings};
pub use crate::clock::SystemClock;
pub use crate::dial::Dial;
use crate::doors::Doors;
pub use crate::entrance::{Entered, Transport, enter};
pub use crate::inbox::{Bell, Inbox};
use crate::layer::Layers;
pub use crate::layer::{Flow, Layer};
pub use crate::listen::{ListenError, Listener, bind, raise_open_file_limit};
use crate::poller::{Poller, ShardBell};
use crate::posts::{Arrival, Coming, New, Post};
pub use crate::self_signed::{Pair, self_signed};
use crate::sockets::Baggage;
pub use crate::stats::ShardStats;
use crate::stats::Stats;
pub use crate::stream::Stream;
pub use crate::tls::Tls;
pub use crate::trust::{TlsClient, TrustError};
pub use crate::websocket::{WebSocket, websocket_accept};

/// The way to the shards: what the platform holds. Exists before the shards run, because the gate that
/// the shards ask needs it too.
pub struct Shards {
    inboxes: Vec<Inbox<Post, ShardBell>>,
    /// Where the next adopted connection goes.
    turn: AtomicUsize,
    stats: Vec<Arc<Stats>>,
    /// Open files that connections may use.
    files: AtomicU64,
}

/// What the shards have around them.
#[derive(Clone)]
pub struct Surroundings {
    /// Who may come in.
    pub gate: Arc<dyn Gate>,
    /// Where facts go.
    pub bus: Arc<dyn Bus>,
    /// Where what is to survive goes.
    pub vault: Arc<dyn Vault>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the owner lets peers use.
    pub limits: Limits,
    /// Where handshakes are done and remotes are dialled.
    pub runtime: Handle,
}

/// The running shards.
pub struct Running {
    shards: Arc<Shards>,
    threads: Vec<JoinHandle<()>>,
}

impl Shards {
    /// `count` shards, not yet running.
    pub fn new(count: u16) -> Arc<Shards> {
        let count = count.max(1);
        let inbox = |_| Inbox::with_bell(ShardBell::default(), limits::INBOX_MAIL_MAX, Post::may_be_lost);
        Arc::new(Shards {
            inboxes: (0..count).map(inbox).collect(),
            turn: AtomicUsize::new(0),
            stats: (0..count).map(|_| Arc::default()).collect(),
            files: AtomicU64::new(u64::MAX),
        })
    }

    /// Lets connections use no more than the first `files` of the files that the process may open.
    pub fn leave_files(&self, files: u64) {
        self.files.store(files, Ordering::Relaxed);
    }

    /// Whether a socket is one too many. A new file gets the lowest number that is free, so that its number
    /// tells how many are open.
    fn is_beyond_files(&self, socket: &impl AsRawFd) -> bool {
        u64::try_from(socket.as_raw_fd()).is_ok_and(|number| number >= self.files.load(Ordering::Relaxed))
    }

    /// Starts the shards' threads with what was kept, and accepts connections.
    pub fn start(self: &Arc<Self>, listeners: &[Listener], house: &Surroundings, kept: Kept) -> Result<Running, ListenError> {
        let addresses = Addresses::new(house.limits.connections_per_address);
        let failed = |error| ListenError::Thread { error };
        let mut threads = Vec::new();
        for (hub, index) in self.hubs(house, kept).into_iter().zip(0u16..) {
            let doors = listeners.iter().map(Listener::share).collect::<Result<Vec<_>, _>>()?;
            let poller = Poller::new(self.inboxes[usize::from(index)].bell()).map_err(failed)?;
            let doors = Doors::open(doors, &poller).map_err(failed)?;
            let (shards, addresses, house) = (self.clone(), addresses.clone(), house.clone());
            let parts = shard::Parts { index, hub, poller, doors, shards, addresses, house };
            let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(|| shard::Shard::run(parts));
            threads.push(thread.map_err(failed)?);
        }
        Ok(Running { shards: self.clone(), threads })
    }

    /// The hubs of all shards, each with the sessions that are at home there.
    fn hubs(&self, house: &Surroundings, kept: Kept) -> Vec<Shard> {
        let Surroundings { gate, bus, clock, limits, .. } = house;
        let (count, time) = (self.inboxes.len() as u16, (clock.millis(), clock.unix()));
        let commons = Arc::new(Commons::new(*limits));
        commons.restore(kept.retained, kept.number_last, kept.version_last, time);
        let hub = |index| Shard::new(index, count, gate.clone(), bus.clone(), commons.clone());
        let mut hubs: Vec<Shard> = (0..count).map(hub).collect();
        for returned in kept.sessions {
            match gate.party(returned.session.owner) {
                Some(party) => {
                    let home = home_shard(&party, &returned.session.client, count);
                    hubs[usize::from(home)].restore(returned, party, time);
                }
                None => hubs[0].forget(returned.session.id, time),
            }
        }
        hubs
    }

    /// Takes over a connection that came in elsewhere, to speak `protocol` on top of `layer` (a WebSocket
    /// after its upgrade). `leftover` came for the layer and was read along with what was before it.
    pub fn adopt(
        &self,
        protocol: &Protocol,
        stream: Stream,
        layer: impl Layer + 'static,
        leftover: &[u8],
        remote: SocketAddr,
    ) -> io::Result<()> {
        let stream::Parts { tcp, tls, plain, mut unsent } = stream.into_parts();
        if self.is_beyond_files(&tcp) {
            return Err(io::Error::other(doors::FILES_USED_UP));
        }
        let mut layers = Layers::default();
        if let Some(tls) = tls {
            layers.push(tls);
        }
        layers.push(layer);
        let mut said = Vec::new();
        // A layer that ends here says so again when the next byte or the login deadline comes.
        let _ = layers.receive_at_top(&[leftover, &plain].concat(), &mut said, &mut unsent);
        listen::tune(&tcp);
        let how = Coming::New(New { protocol: *protocol, remote, login: None, plain: said, counted: false });
        let arrival = Arrival { how, stream: tcp.into_std()?, baggage: Baggage::pack(None, layers, unsent) };
        let shard = self.turn.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        self.post(shard, Post::Arrival(Box::new(arrival)));
        Ok(())
    }

    /// What the shards counted, as of the last half second.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.stats.iter().map(|stats| stats.read()).collect()
    }

    /// Bytes from peers that have been dealt with, exact at any moment.
    pub fn bytes_in(&self) -> u64 {
        self.stats.iter().map(|stats| stats.bytes_in()).sum()
    }

    /// Makes a connection and keeps it until the shards stop.
    pub fn dial(&self, dial: Dial) {
        // A session of no device is spread by its name alone.
        let home = home_shard(&Party::Anonymous, &dial.session, self.inboxes.len() as u16);
        self.post(usize::from(home), Post::Dial(Box::new(dial)));
    }

    fn post(&self, shard: usize, post: Post) {
        if let Some(inbox) = self.inboxes.get(shard) {
            inbox.post(std::iter::once(post));
        }
    }
}

impl Running {
    /// Says goodbye to every peer, tells those that understand it to go to `go_to`, and waits for the threads.
    pub fn stop(self, go_to: Option<&str>, why: &'static str) {
        let go_to: Option<Arc<str>> = go_to.map(Arc::from);
        for shard in 0..self.shards.inboxes.len() {
            self.shards.post(shard, Post::Stop(go_to.clone(), Close { fault: Fault::Nobody, why: why.into() }));
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a shard had already ended by a panic");
            }
        }
    }
}

impl Line for Shards {
    fn publish(&self, message: Message) {
        // Any shard will do: it tells the others.
        self.post(0, Post::Mail(Mail::Publish(Arc::new(message))));
    }

    fn push(&self, device: DeviceNumber, message: Message) {
        let home = home_of_device(device, self.inboxes.len() as u16);
        self.post(usize::from(home), Post::Mail(Mail::Push(Arc::new(message))));
    }

    fn send(&self, send: u64, from: Address, device: DeviceNumber, message: Message) {
        let home = home_of_device(device, self.inboxes.len() as u16);
        let parcel = Parcel { from, to: device, message: Arc::new(message), may_answer: true };
        self.post(usize::from(home), Post::Mail(Mail::Send(send, Box::new(parcel))));
    }

    fn decide(&self, ticket: Ticket, verdict: Verdict) {
        self.post(usize::from(ticket.shard), Post::Mail(Mail::Verdict(ticket, verdict)));
    }

    fn scram(&self, ticket: Ticket, keys: ScramKeys) {
        self.post(usize::from(ticket.shard), Post::Mail(Mail::Scram(ticket, Box::new(keys))));
    }

    fn published(&self, ticket: Ticket, result: Result<(), Refusal>) {
        self.post(usize::from(ticket.shard), Post::Mail(Mail::Published(ticket, result)));
    }

    fn kick(&self, whom: PartyKey, why: Close, forget: bool) {
        let kick = |shard: usize| self.post(shard, Post::Mail(Mail::Kick { whom, why: why.clone(), forget }));
        match whom {
            PartyKey::Device(device) => kick(usize::from(home_of_device(device, self.inboxes.len() as u16))),
            // Sessions of others are spread by their names.
            _ => (0..self.inboxes.len()).for_each(kick),
        }
    }
}
