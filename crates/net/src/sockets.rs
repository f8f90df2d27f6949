//! The sockets of one shard, as the floor's `Wire`: writes go straight to the kernel; only when a peer
//! does not keep up is there a buffer, and only until it has.

use std::net::SocketAddr;
use std::rc::Rc;

use contract::ConnId;
use hub::{Moving, Wire};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// A connection's socket and the task that reads it.
struct Socket {
    generation: u32,
    stream: Rc<TcpStream>,
    remote: SocketAddr,
    reader: Option<AbortHandle>,
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
}

/// A socket that is to be closed politely.
pub(crate) struct Closing {
    pub stream: Rc<TcpStream>,
    pub unsent: Vec<u8>,
}

/// A socket that is to go to another shard.
pub(crate) struct Leaving {
    pub to: u16,
    pub moving: Moving,
    pub stream: Rc<TcpStream>,
    pub remote: SocketAddr,
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
}

impl Sockets {
    /// Ties a socket to the seat that the floor will use next.
    pub(crate) fn bind(&mut self, conn: ConnId, stream: Rc<TcpStream>, remote: SocketAddr) {
        let at = conn.index as usize;
        if self.seats.len() <= at {
            self.seats.resize_with(at + 1, || None);
        }
        self.seats[at] = Some(Socket { generation: conn.generation, stream, remote, reader: None, unsent: None, dead: false });
    }

    fn seat(&mut self, conn: ConnId) -> Option<&mut Socket> {
        self.seats.get_mut(conn.index as usize)?.as_mut().filter(|s| s.generation == conn.generation)
    }

    fn take(&mut self, conn: ConnId) -> Option<Socket> {
        self.seat(conn)?;
        self.seats[conn.index as usize].take()
    }

    /// Whether the connection is still here.
    pub(crate) fn has(&mut self, conn: ConnId) -> bool {
        self.seat(conn).is_some()
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
                    // A broken line is noticed by the reader.
                    Err(_) => break,
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
        let Some(socket) = self.seat(conn) else { return 0 };
        if let Some(unsent) = &mut socket.unsent {
            unsent.bytes.drain(..unsent.sent);
            unsent.sent = 0;
            unsent.bytes.extend_from_slice(bytes);
            return unsent.bytes.len();
        }
        // An error here is also an error for the reader, who ends the connection.
        let sent = socket.stream.try_write(bytes).unwrap_or(0);
        let left = bytes.len() - sent;
        if left > 0 {
            socket.unsent = Some(Box::new(Unsent { bytes: bytes[sent..].to_vec(), sent: 0 }));
            self.clogged.push(conn);
        }
        self.bytes_out += sent as u64;
        left
    }

    fn close(&mut self, conn: ConnId) {
        let Some(socket) = self.take(conn) else { return };
        if let Some(reader) = socket.reader {
            reader.abort();
        }
        if !socket.dead {
            let unsent = socket.unsent.map(|u| u.bytes[u.sent..].to_vec()).unwrap_or_default();
            self.closing.push(Closing { stream: socket.stream, unsent });
        }
    }

    fn hand_over(&mut self, conn: ConnId, to: u16, moving: Moving) {
        let Some(socket) = self.take(conn) else { return };
        if let Some(reader) = socket.reader {
            reader.abort();
        }
        self.leaving.push(Leaving { to, moving, stream: socket.stream, remote: socket.remote });
    }
}
