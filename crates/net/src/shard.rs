//! One shard's thread: accepting, one reading task a connection, and a flusher that runs once after all
//! the tasks that were ready, so that everything which came together leaves together.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::keep::Then;
use contract::store::StoreError;
use contract::{Close, ConnId, Fault, Login, Protocol};
use hub::{Broadcast, Floor, Mail, Shard};
use model::Millis;
use model::limits::Limits;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::{LocalSet, spawn_local};

use crate::addresses::{Addresses, Place};
use crate::entrance::{self, Entered, Transport};
use crate::layer::{Flow, Layers};
use crate::listen::Door;
use crate::sockets::{Closing, Leaving, Sockets};
use crate::stats::ShardStats;
use crate::{Arrival, Coming, Post, Shards, Surroundings, dial};

/// What one read takes at most. Shared by all connections of a shard.
const READ_BYTES: usize = 64 * 1024;
/// Sockets that may be closing politely at once; beyond that they are just closed.
const LINGERING_MAX: usize = 1024;
/// How long a stop waits for the disk to take the rest.
const KEEP_PATIENCE: Duration = Duration::from_secs(20);
/// How long a polite close waits for the peer to read the rest and hang up.
const LINGER: Duration = Duration::from_secs(3);
/// Log lines about ended connections a second, so that a flood of bad peers does not flood the log.
const LOG_LINES_PER_S: u32 = 20;

pub(crate) struct Ctx {
    index: u16,
    pub state: RefCell<State>,
    flush: Notify,
    stop: Notify,
    /// Goodbyes are being said: nothing new is begun.
    pub stopping: Cell<bool>,
    shards: Arc<Shards>,
    addresses: Arc<Addresses>,
    pub house: Surroundings,
}

pub(crate) struct State {
    floor: Floor,
    sockets: Sockets,
    read: Vec<u8>,
    /// What the layers of a connection made of one read.
    plain: Vec<u8>,
    stats: ShardStats,
    lingering: usize,
    logged: u32,
    not_logged: u32,
    /// Who hears of the end of each connection that was made from here.
    pub dialled: HashMap<ConnId, oneshot::Sender<Close>>,
}

/// Runs shard `index` until it is told to stop.
pub(crate) fn run(
    index: u16,
    hub: Shard,
    doors: Vec<Door>,
    shards: &Arc<Shards>,
    addresses: Arc<Addresses>,
    house: Surroundings,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "shard {index} cannot run");
            return;
        }
    };
    let ctx = Rc::new(Ctx {
        index,
        state: RefCell::new(State {
            floor: Floor::new(hub),
            sockets: Sockets::default(),
            read: vec![0; READ_BYTES],
            plain: Vec::new(),
            stats: ShardStats::default(),
            lingering: 0,
            logged: 0,
            not_logged: 0,
            dialled: HashMap::new(),
        }),
        flush: Notify::new(),
        stop: Notify::new(),
        stopping: Cell::new(false),
        shards: shards.clone(),
        addresses,
        house,
    });
    LocalSet::new().block_on(&runtime, async {
        for door in doors {
            spawn_local(accept(ctx.clone(), door));
        }
        spawn_local(read_inbox(ctx.clone()));
        spawn_local(flush(ctx.clone()));
        spawn_local(tick(ctx.clone()));
        ctx.stop.notified().await;
        // What polite closes are under way may finish.
        let deadline = Instant::now() + LINGER;
        while ctx.state.borrow().lingering > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    // A name that is still being looked up for a dial need not be waited for.
    runtime.shutdown_background();
}

impl Ctx {
    /// One turn on the floor, with the time told, and the flusher woken if the turn left work.
    pub fn turn<T>(&self, work: impl FnOnce(&mut Floor, &mut Sockets) -> T) -> T {
        let State { floor, sockets, .. } = &mut *self.state.borrow_mut();
        self.tell_time(floor);
        let result = work(floor, sockets);
        self.flush.notify_one();
        result
    }

    /// What the owner lets peers use.
    pub fn limits(&self) -> Limits {
        self.state.borrow().floor.limits()
    }

    /// A place for a new connection among those of its address. `Err` when it is to be closed, which has
    /// been told then.
    fn place(&self, protocol: &Protocol, remote: SocketAddr) -> Result<Option<Box<Place>>, ()> {
        self.addresses.enter(remote.ip()).map_err(|full| {
            let mut state = self.state.borrow_mut();
            state.stats.refused += 1;
            tell_end(&mut state, protocol.name, remote, &Close { fault: Fault::Refused, why: full.to_string().into() });
        })
    }

    /// What the vault is to call with its answer, on whatever thread: the answer comes as mail.
    fn answer<T: 'static>(&self, mail: impl FnOnce(Result<T, StoreError>) -> Mail + Send + 'static) -> Then<T> {
        let (shards, index) = (self.shards.clone(), usize::from(self.index));
        Box::new(move |result| shards.post(index, Post::Mail(mail(result))))
    }

    fn tell_time(&self, floor: &mut Floor) {
        floor.set_time(self.house.clock.millis(), self.house.clock.unix());
    }
}

async fn accept(ctx: Rc<Ctx>, door: Door) {
    let Door { protocol, transport, socket } = door;
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "shard {} cannot accept {}", ctx.index, protocol.name),
    };
    loop {
        match listener.accept().await {
            // Goodbyes are being said, and who comes back meanwhile is too early.
            Ok(_) if ctx.stopping.get() => return,
            Ok((stream, remote)) => {
                ctx.state.borrow_mut().stats.accepted += 1;
                if transport.is_plain() {
                    let Ok(place) = ctx.place(&protocol, remote) else { continue };
                    seat_in(&ctx, stream, remote, place, None, Vec::new(), |floor, sockets, _| {
                        floor.open(&protocol, remote, sockets);
                    });
                } else {
                    spawn_local(come_in(ctx.clone(), protocol, transport.clone(), stream, remote));
                }
            }
            Err(error) => {
                // Out of files or memory: the connection stays in the backlog; trying at once would only spin.
                tracing::warn!(%error, "cannot accept {} connections; raise the open-file limit (ulimit -n)", protocol.name);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// A connection that must show a PROXY header or do a TLS handshake before its protocol begins.
async fn come_in(ctx: Rc<Ctx>, protocol: Protocol, transport: Transport, stream: TcpStream, remote: SocketAddr) {
    tune(&stream);
    // Behind a load balancer it has its place when its real address is known.
    let mut place = None;
    if !transport.proxy_protocol {
        let Ok(found) = ctx.place(&protocol, remote) else { return };
        place = found;
    }
    let within = Duration::from_secs(ctx.limits().login_s.into());
    match entrance::enter(&stream, &transport, remote, within).await {
        Ok(_) if ctx.stopping.get() => {}
        Ok(Entered { remote, tls, login, plain }) => {
            if transport.proxy_protocol {
                let Ok(found) = ctx.place(&protocol, remote) else { return };
                place = found;
            }
            let layers = tls.map(|tls| Box::new(Layers::of(tls)));
            let_others_finish().await;
            seat_in(&ctx, stream, remote, place, layers, Vec::new(), |floor, sockets, _| {
                begin(floor, sockets, &protocol, remote, login, &plain);
            });
        }
        Err(close) => {
            tell_end(&mut ctx.state.borrow_mut(), protocol.name, remote, &close);
            linger(&ctx, Closing { stream: Rc::new(stream), place, unsent: Vec::new() });
        }
    }
}

/// A new connection, who it is by its certificate, and what it has said already.
fn begin(floor: &mut Floor, sockets: &mut Sockets, protocol: &Protocol, remote: SocketAddr, login: Option<Login>, plain: &[u8]) {
    let conn = floor.vacant();
    floor.open(protocol, remote, sockets);
    if let Some(login) = login {
        floor.vouch(conn, login);
    }
    if !plain.is_empty() {
        floor.bytes(conn, plain, sockets);
    }
}

/// Gives a socket its seat and its reading task. It may bring a place, layers, and bytes that it could not
/// send before.
pub(crate) fn seat_in(
    ctx: &Rc<Ctx>,
    stream: TcpStream,
    remote: SocketAddr,
    place: Option<Box<Place>>,
    layers: Option<Box<Layers>>,
    unsent: Vec<u8>,
    enter: impl FnOnce(&mut Floor, &mut Sockets, ConnId),
) -> ConnId {
    tune(&stream);
    let stream = Rc::new(stream);
    let conn = ctx.turn(|floor, sockets| {
        let conn = floor.vacant();
        sockets.bind(conn, stream.clone(), remote, place, layers, unsent);
        enter(floor, sockets, conn);
        conn
    });
    let reader = spawn_local(read(ctx.clone(), conn, stream)).abort_handle();
    ctx.state.borrow_mut().sockets.set_reader(conn, reader);
    conn
}

/// Small messages leave at once; a dead line is noticed even when the protocol has no keep-alive.
fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(300)).with_interval(Duration::from_secs(30)).with_retries(4);
    if let Err(error) = stream.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive)) {
        tracing::debug!(%error, "cannot tune a socket");
    }
}

/// Reads one connection into the shard's buffer until it ends or leaves.
async fn read(ctx: Rc<Ctx>, conn: ConnId, stream: Rc<TcpStream>) {
    let lost = |why: &'static str| {
        ctx.turn(|floor, sockets| {
            sockets.set_dead(conn);
            floor.lost(conn, Close { fault: Fault::Line, why: why.into() }, sockets);
        });
    };
    let mut known = false;
    loop {
        if stream.readable().await.is_err() {
            return lost(BROKE);
        }
        if !known {
            known = ctx.state.borrow().floor.is_let_in(conn);
        }
        if !known {
            let_others_finish().await;
        }
        let got = {
            let mut state = ctx.state.borrow_mut();
            let State { floor, sockets, read, plain, .. } = &mut *state;
            let Some(layered) = sockets.is_layered(conn) else { return };
            let got = read_once(&stream, read);
            if let Ok(count @ 1..) = got {
                ctx.tell_time(floor);
                if layered {
                    receive(floor, sockets, conn, &read[..count], plain);
                } else {
                    floor.bytes(conn, &read[..count], sockets);
                }
                ctx.shards.stats[usize::from(ctx.index)].add_bytes_in(count);
                ctx.flush.notify_one();
                if !sockets.has(conn) {
                    return;
                }
            }
            got
        };
        match got {
            Ok(0) => return lost(HUNG_UP),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return lost(BROKE),
        }
    }
}

/// Before somebody comes in, who may take a session over: what its older line has sent by now, a last
/// message and a goodbye perhaps, is read first. The runtime looks at the sockets before a task that yields
/// goes on, and the tasks that read them stand before it then.
async fn let_others_finish() {
    tokio::task::yield_now().await;
}

/// Bytes of a connection with layers: what they carry goes to the machine, then the layers' own end.
fn receive(floor: &mut Floor, sockets: &mut Sockets, conn: ConnId, input: &[u8], plain: &mut Vec<u8>) {
    plain.clear();
    let flow = sockets.receive(conn, input, plain);
    if !plain.is_empty() {
        floor.bytes(conn, plain, sockets);
    }
    match flow {
        Ok(Flow::Open) => {}
        Ok(Flow::Ended) => floor.lost(conn, Close { fault: Fault::Line, why: HUNG_UP.into() }, sockets),
        Err(close) => floor.lost(conn, close, sockets),
    }
}

/// One read. A read that does not fill the buffer has emptied the socket: that is told to the runtime as
/// "would block" along with the bytes, which saves a second system call only to hear it.
fn read_once(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    let result = stream.try_io(Interest::READABLE, || {
        got = (&*SockRef::from(stream)).read(buffer)?;
        if (1..buffer.len()).contains(&got) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(got) }
    });
    if got > 0 { Ok(got) } else { result }
}

/// Carries out what turns have left: deliveries, mail to other shards, events, what is to be kept, closes.
async fn flush(ctx: Rc<Ctx>) {
    let mut outgoing: Vec<Broadcast> = Vec::new();
    let mut posts = Vec::new();
    let mut loads = Vec::new();
    let mut batch_due = None;
    loop {
        wake(&ctx, batch_due).await;
        let (clogged, closing, leaving, batch) = {
            let mut state = ctx.state.borrow_mut();
            let State { floor, sockets, .. } = &mut *state;
            ctx.tell_time(floor);
            floor.flush(sockets);
            outgoing.append(floor.broadcast());
            posts.append(floor.posts());
            loads.append(floor.loads());
            let batch = floor.batch();
            batch_due = floor.batch_due();
            if !floor.events().is_empty() {
                ctx.house.bus.emit(floor.events());
            }
            if ctx.stopping.get() && floor.has_kept_all() {
                ctx.stop.notify_one();
            }
            note_ended(&mut state);
            let sockets = &mut state.sockets;
            let (clogged, closing) = (std::mem::take(&mut sockets.clogged), std::mem::take(&mut sockets.closing));
            (clogged, closing, std::mem::take(&mut sockets.leaving), batch)
        };
        if let Some(notes) = batch {
            ctx.house.vault.keep(notes, ctx.answer(Mail::Kept));
        }
        for (place, session) in loads.drain(..) {
            ctx.house.vault.queue(session, ctx.answer(move |rows| Mail::Came(place, rows)));
        }
        if !outgoing.is_empty() {
            for (_, inbox) in ctx.shards.inboxes.iter().enumerate().filter(|(shard, _)| *shard != usize::from(ctx.index)) {
                inbox.post(outgoing.iter().map(|one| Post::Mail(Mail::Message(one.clone()))));
            }
            outgoing.clear();
        }
        for (shard, mail) in posts.drain(..) {
            ctx.shards.post(usize::from(shard), Post::Mail(mail));
        }
        for conn in clogged {
            let drainer = spawn_local(drain(ctx.clone(), conn)).abort_handle();
            ctx.state.borrow_mut().sockets.set_drainer(conn, drainer);
        }
        for closing in closing {
            linger(&ctx, closing);
        }
        for leaving in leaving {
            hand_over(&ctx, leaving).await;
        }
    }
}

/// Waits until a turn has left work, or until notes that wait for company have waited long enough.
async fn wake(ctx: &Ctx, batch_due: Option<Millis>) {
    match batch_due {
        None => ctx.flush.notified().await,
        Some(due) => {
            let wait = Duration::from_millis(due.since(ctx.house.clock.millis()));
            // Either will do.
            let _ = tokio::time::timeout(wait, ctx.flush.notified()).await;
        }
    }
}

/// Sends a connection to its home shard. Its reading task was told to end and holds the socket until it has.
async fn hand_over(ctx: &Ctx, leaving: Leaving) {
    let Leaving { to, moving, mut stream, remote, place, layers, unsent } = leaving;
    let stream = loop {
        match Rc::try_unwrap(stream) {
            Ok(stream) => break stream,
            Err(shared) => {
                stream = shared;
                tokio::task::yield_now().await;
            }
        }
    };
    match stream.into_std() {
        Ok(stream) => {
            ctx.state.borrow_mut().stats.handed_over += 1;
            let arrival = Arrival { how: Coming::Moving(moving), stream, remote, place, layers, unsent };
            ctx.shards.post(usize::from(to), Post::Arrival(Box::new(arrival)));
        }
        Err(error) => tracing::error!(%error, "lost a connection on its way to shard {to}"),
    }
}

/// Sends what a slow peer left, as it reads.
async fn drain(ctx: Rc<Ctx>, conn: ConnId) {
    loop {
        let Some(stream) = ctx.state.borrow_mut().sockets.stream(conn) else { return };
        if stream.writable().await.is_err() {
            return;
        }
        drop(stream);
        let left = ctx.turn(|floor, sockets| {
            let left = sockets.drain(conn);
            if let Some(left) = left {
                floor.drained(conn, left, sockets);
            }
            left
        });
        // Deliveries that `drained` set free may have clogged the socket again: then a new task was asked for.
        if left.is_none_or(|left| left == 0) {
            return;
        }
    }
}

/// Closes politely, unless too many are closing.
fn linger(ctx: &Rc<Ctx>, closing: Closing) {
    let mut state = ctx.state.borrow_mut();
    if state.lingering < LINGERING_MAX {
        state.lingering += 1;
        spawn_local(close(ctx.clone(), closing));
    }
}

/// Closes politely: the rest of the bytes, then our side, then waits for the peer's. Closing with unread
/// input would make the kernel reset the line and the peer lose our last words (a CONNACK with a reason).
async fn close(ctx: Rc<Ctx>, closing: Closing) {
    let Closing { stream, place: _until_closed, unsent } = closing;
    let goodbye = async {
        let mut sent = 0;
        while sent < unsent.len() && stream.writable().await.is_ok() {
            match stream.try_write(&unsent[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        if SockRef::from(&*stream).shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        let mut scrap = [0; 512];
        let mut ignored = 0;
        while ignored < READ_BYTES && stream.readable().await.is_ok() {
            match stream.try_read(&mut scrap) {
                Ok(0) => return,
                Ok(n) => ignored += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, goodbye).await;
    ctx.state.borrow_mut().lingering -= 1;
}

async fn read_inbox(ctx: Rc<Ctx>) {
    let inbox = ctx.shards.inboxes[usize::from(ctx.index)].clone();
    let mut posts = Vec::new();
    loop {
        let dropped = inbox.take(&mut posts).await;
        ctx.state.borrow_mut().stats.inbox_dropped += dropped;
        if posts.iter().any(Post::lets_in) {
            let_others_finish().await;
        }
        for post in posts.drain(..) {
            match post {
                Post::Mail(mail) => ctx.turn(|floor, sockets| floor.mail(mail, sockets)),
                Post::Arrival(_) if ctx.stopping.get() => {}
                Post::Arrival(arrival) => {
                    let Arrival { how, stream, remote, mut place, layers, unsent } = *arrival;
                    if let Coming::New(protocol, _) = &how {
                        ctx.state.borrow_mut().stats.accepted += 1;
                        let Ok(found) = ctx.place(protocol, remote) else { continue };
                        place = found;
                    }
                    match TcpStream::from_std(stream) {
                        Ok(stream) => drop(seat_in(&ctx, stream, remote, place, layers, unsent, |floor, sockets, _| match how {
                            Coming::Moving(moving) => floor.arrive(moving, sockets),
                            Coming::New(protocol, plain) => begin(floor, sockets, &protocol, remote, None, &plain),
                        })),
                        Err(error) => tracing::error!(%error, "lost a connection that was handed to shard {}", ctx.index),
                    }
                }
                Post::Dial(dial) => drop(spawn_local(dial::keep(ctx.clone(), *dial))),
                Post::Stop(go_to, close) => {
                    ctx.stopping.set(true);
                    // The flusher carries the goodbyes out and ends the thread when all is kept, or when the disk
                    // takes too long for it.
                    ctx.turn(|floor, sockets| floor.close_all(go_to.as_ref(), &close, sockets));
                    let late = ctx.clone();
                    spawn_local(async move {
                        tokio::time::sleep(KEEP_PATIENCE).await;
                        late.stop.notify_one();
                    });
                }
            }
        }
    }
}

async fn tick(ctx: Rc<Ctx>) {
    let mut interval = tokio::time::interval(Duration::from_millis(500));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        ctx.turn(|floor, sockets| floor.tick(sockets));
        let mut state = ctx.state.borrow_mut();
        let State { floor, sockets, stats, logged, not_logged, .. } = &mut *state;
        stats.hub = floor.counters();
        stats.connections = floor.connections() as u64;
        stats.bytes_out = sockets.bytes_out;
        ctx.shards.stats[usize::from(ctx.index)].write(stats);
        if *not_logged > 0 {
            tracing::warn!("{not_logged} more connections ended by a fault in the last half second, not logged one by one");
        }
        (*logged, *not_logged) = (0, 0);
    }
}

/// Tells of each connection that ended.
fn note_ended(state: &mut State) {
    for hub::Ended { conn, protocol, remote, close } in std::mem::take(state.floor.ended()) {
        match state.dialled.remove(&conn) {
            Some(tell) => {
                *state.stats.ended.entry((protocol, close.fault.as_str())).or_default() += 1;
                let _ = tell.send(close);
            }
            None => tell_end(state, protocol, remote, &close),
        }
    }
}

/// How a line ends by itself: everyday life, and no news for the log.
const HUNG_UP: &str = "the peer hung up";
/// The same, less politely.
const BROKE: &str = "the line broke";

/// One log line and one count for a connection that ended.
fn tell_end(state: &mut State, protocol: &'static str, remote: SocketAddr, close: &Close) {
    let State { stats, logged, not_logged, .. } = state;
    let (fault, why) = (close.fault, &close.why);
    *stats.ended.entry((protocol, fault.as_str())).or_default() += 1;
    let everyday = fault == Fault::Nobody || (fault == Fault::Line && (why == HUNG_UP || why == BROKE));
    match fault {
        _ if everyday => tracing::debug!(protocol, %remote, fault = fault.as_str(), "{why}"),
        _ if *logged >= LOG_LINES_PER_S / 2 => *not_logged += 1,
        Fault::Ours => {
            *logged += 1;
            tracing::error!(protocol, %remote, fault = fault.as_str(), "{why}");
        }
        // We gave up on it: it said nothing, or not all of it, or nothing any more.
        Fault::Line => {
            *logged += 1;
            tracing::info!(protocol, %remote, fault = fault.as_str(), "{why}");
        }
        _ => {
            *logged += 1;
            tracing::warn!(protocol, %remote, fault = fault.as_str(), "{why}");
        }
    }
}
