//! The sockets of one shard, as the floor's `Wire`: writes go straight to the kernel; only when a peer
//! does not keep up is there a buffer, and only until it has. Where something lies between socket and
//! machine (TLS, WebSocket), bytes pass through it here.

use std::net::SocketAddr;
use std::rc::Rc;

use contract::{Close, ConnId, Fault};
use hub::{Moving, Wire};
use model::limits;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::addresses::Place;
use crate::layer::{Flow, Layers};

/// A connection's socket and the task that reads it.
struct Socket {
    generation: u32,
    stream: Rc<TcpStream>,
    remote: SocketAddr,
    /// Its place among the connections of its address, if those are limited.
    place: Option<Box<Place>>,
    reader: Option<AbortHandle>,
    /// What lies between the socket and the machine; none for a plain connection.
    layers: Option<Box<Layers>>,
    /// What the kernel did not take yet. A drain task runs while it is there.
    unsent: Option<Box<Unsent>>,
    /// The peer has gone, so that nothing need be said to it.
    dead: bool,
}

#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// How many of `bytes` have been sent.
    sent: usize,
    /// The task that sends the rest.
    drainer: Option<AbortHandle>,
}

impl Unsent {
    /// The bytes, for someone else to send. The task that waited to do so holds the socket open (for ever,
    /// if the peer never reads), so it ends.
    fn rest(self) -> Vec<u8> {
        if let Some(drainer) = self.drainer {
            drainer.abort();
        }
        if self.sent == 0 { self.bytes } else { self.bytes[self.sent..].to_vec() }
    }
}

/// A socket that is to be closed politely.
pub(crate) struct Closing {
    pub stream: Rc<TcpStream>,
    /// Kept until the socket is closed.
    pub place: Option<Box<Place>>,
    pub unsent: Vec<u8>,
}

/// A socket that is to go to another shard.
pub(crate) struct Leaving {
    pub to: u16,
    pub moving: Moving,
    pub stream: Rc<TcpStream>,
    pub remote: SocketAddr,
    pub place: Option<Box<Place>>,
    pub layers: Option<Box<Layers>>,
    pub unsent: Vec<u8>,
}

/// The sockets.
#[derive(Default)]
pub(crate) struct Sockets {
    seats: Vec<Option<Socket>>,
    /// Connections whose peer has just fallen behind: each needs a drain task.
    pub clogged: Vec<ConnId>,
    pub closing: Vec<Closing>,
    pub leaving: Vec<Leaving>,
    pub bytes_out: u64,
    /// What layers write, before it goes to a socket.
    scratch: Vec<u8>,
}

impl Socket {
    /// Sends what fits, and keeps the rest. Returns how many bytes wait.
    fn send(&mut self, conn: ConnId, bytes: &[u8], clogged: &mut Vec<ConnId>, bytes_out: &mut u64) -> usize {
        if let Some(unsent) = &mut self.unsent {
            unsent.bytes.drain(..unsent.sent);
            unsent.sent = 0;
            unsent.bytes.extend_from_slice(bytes);
            return unsent.bytes.len();
        }
        // An error here is also an error for the reader, who ends the connection.
        let sent = self.stream.try_write(bytes).unwrap_or(0);
        let left = bytes.len() - sent;
        if left > 0 {
            self.unsent = Some(Box::new(Unsent { bytes: bytes[sent..].to_vec(), sent: 0, drainer: None }));
            clogged.push(conn);
        }
        *bytes_out += sent as u64;
        left
    }
}

fn seat(seats: &mut [Option<Socket>], conn: ConnId) -> Option<&mut Socket> {
    seats.get_mut(conn.index as usize)?.as_mut().filter(|s| s.generation == conn.generation)
}

impl Sockets {
    /// Ties a socket to the seat that the floor will use next. `unsent` is what it could not send before.
    pub(crate) fn bind(
        &mut self,
        conn: ConnId,
        stream: Rc<TcpStream>,
        remote: SocketAddr,
        place: Option<Box<Place>>,
        layers: Option<Box<Layers>>,
        unsent: Vec<u8>,
    ) {
        let at = conn.index as usize;
        if self.seats.len() <= at {
            self.seats.resize_with(at + 1, || None);
        }
        let mut socket =
            Socket { generation: conn.generation, stream, remote, place, reader: None, layers, unsent: None, dead: false };
        if !unsent.is_empty() {
            socket.send(conn, &unsent, &mut self.clogged, &mut self.bytes_out);
        }
        self.seats[at] = Some(socket);
    }

    fn seat(&mut self, conn: ConnId) -> Option<&mut Socket> {
        seat(&mut self.seats, conn)
    }

    fn take(&mut self, conn: ConnId) -> Option<Socket> {
        self.seat(conn)?;
        self.seats[conn.index as usize].take()
    }

    /// Whether the connection is still here.
    pub(crate) fn has(&mut self, conn: ConnId) -> bool {
        self.seat(conn).is_some()
    }

    /// Whether something lies between the connection's socket and its machine; `None` when it is gone.
    pub(crate) fn is_layered(&mut self, conn: ConnId) -> Option<bool> {
        self.seat(conn).map(|socket| socket.layers.is_some())
    }

    /// Bytes from a layered socket: what they carry is appended to `plain`, what the layers answer is sent.
    pub(crate) fn receive(&mut self, conn: ConnId, input: &[u8], plain: &mut Vec<u8>) -> Result<Flow, Close> {
        let Sockets { seats, clogged, bytes_out, scratch, .. } = self;
        let Some(socket) = seat(seats, conn) else { return Ok(Flow::Ended) };
        let Some(layers) = &mut socket.layers else { return Ok(Flow::Open) };
        scratch.clear();
        let flow = layers.receive(input, plain, scratch);
        // The floor hears only of what machines write: a peer that pings and never reads is stopped here.
        if !scratch.is_empty() && socket.send(conn, scratch, clogged, bytes_out) > limits::UNSENT_BYTES_MAX {
            return Err(Close { fault: Fault::Line, why: "does not read what it is sent".into() });
        }
        flow
    }

    /// Remembers the task that sends what waits.
    pub(crate) fn set_drainer(&mut self, conn: ConnId, drainer: AbortHandle) {
        if let Some(unsent) = self.seat(conn).and_then(|socket| socket.unsent.as_mut()) {
            unsent.drainer = Some(drainer);
        }
    }

    /// Remembers the task that reads the connection. If the connection is already gone, the task is ended.
    pub(crate) fn set_reader(&mut self, conn: ConnId, reader: AbortHandle) {
        match self.seat(conn) {
            Some(socket) => socket.reader = Some(reader),
            None => reader.abort(),
        }
    }

    /// The peer is gone: closing it needs no politeness.
    pub(crate) fn set_dead(&mut self, conn: ConnId) {
        if let Some(socket) = self.seat(conn) {
            socket.dead = true;
        }
    }

    /// The socket, for a drain task to wait on.
    pub(crate) fn stream(&mut self, conn: ConnId) -> Option<Rc<TcpStream>> {
        self.seat(conn).map(|s| s.stream.clone())
    }

    /// Sends more of what waits. Returns how many bytes still wait; `None` when the connection is gone.
    pub(crate) fn drain(&mut self, conn: ConnId) -> Option<usize> {
        let mut wrote = 0;
        let socket = self.seat(conn)?;
        let mut left = 0;
        if let Some(unsent) = &mut socket.unsent {
            while unsent.sent < unsent.bytes.len() {
                match socket.stream.try_write(&unsent.bytes[unsent.sent..]) {
                    Ok(n) => {
                        unsent.sent += n;
                        wrote += n;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    // The reader notices a broken line and ends the connection. Until it had its turn a
                    // broken socket counts as writable: to try again would keep the shard from all else.
                    Err(_) => {
                        socket.dead = true;
                        return None;
                    }
                }
            }
            left = unsent.bytes.len() - unsent.sent;
        }
        if left == 0 {
            socket.unsent = None;
        }
        self.bytes_out += wrote as u64;
        Some(left)
    }
}

impl Wire for Sockets {
    fn write(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let Sockets { seats, clogged, bytes_out, scratch, .. } = self;
        let Some(socket) = seat(seats, conn) else { return 0 };
        match &mut socket.layers {
            None => socket.send(conn, bytes, clogged, bytes_out),
            Some(layers) => {
                scratch.clear();
                layers.send(bytes, scratch);
                socket.send(conn, scratch, clogged, bytes_out)
            }
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(socket) = self.take(conn) else { return };
        if let Some(reader) = socket.reader {
            reader.abort();
        }
        let mut unsent = socket.unsent.map(|unsent| unsent.rest()).unwrap_or_default();
        if !socket.dead {
            if let Some(mut layers) = socket.layers {
                layers.close(&mut unsent);
            }
            self.closing.push(Closing { stream: socket.stream, place: socket.place, unsent });
        }
    }

    fn hand_over(&mut self, conn: ConnId, to: u16, moving: Moving) {
        let Some(socket) = self.take(conn) else { return };
        if let Some(reader) = socket.reader {
            reader.abort();
        }
        let unsent = socket.unsent.map(|unsent| unsent.rest()).unwrap_or_default();
        let Socket { stream, remote, place, layers, .. } = socket;
        self.leaving.push(Leaving { to, moving, stream, remote, place, layers, unsent });
    }
}
