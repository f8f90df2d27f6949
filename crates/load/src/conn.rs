//! One connection: a socket and as little as can be beside it. What only publishers or pingers need is
//! boxed, so that ten thousand idle ones stay small.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::plan::Role;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No socket.
    Off,
    /// TCP is not there yet.
    Dialling,
    /// CONNECT is sent.
    Greeting,
    /// SUBSCRIBE is sent.
    Subscribing,
    /// Ready for the load.
    Ready,
    /// DISCONNECT is sent; the server ends it.
    Leaving,
}

/// Why a socket has nothing more.
pub enum Read1 {
    /// So many bytes.
    Bytes(usize),
    /// Not now.
    Later,
    /// Never.
    End(String),
}

/// A connection.
pub struct Conn {
    /// Its number in the plan.
    pub index: u32,
    pub role: Role,
    pub stage: Stage,
    pub socket: Option<TcpStream>,
    /// What waits to be written.
    pub out: Vec<u8>,
    /// The begin of a packet whose end has not come.
    pub rest: Vec<u8>,
    /// It is in the list of those with something to write.
    pub dirty: bool,
    /// The socket was full; we are told when it is not.
    pub full: bool,
    /// When it was due to begin.
    pub begun_ns: u64,
    /// What only those that publish or ping have.
    pub sender: Option<Box<Sender>>,
}

/// What is on its way from one that publishes or pings.
pub struct Sender {
    /// Where it publishes to.
    pub topic: String,
    /// When each message that is not acknowledged was due, by packet id less one.
    due_ns: Vec<u64>,
    /// Packet ids that were used and are free.
    free: Vec<u16>,
    /// How many ids may be used at once.
    pub window: u16,
    /// When each ping that is not answered was due.
    pub pings: VecDeque<u64>,
}

impl Sender {
    pub fn new(topic: String, window: u32) -> Sender {
        let window = u16::try_from(window).unwrap_or(u16::MAX - 1).min(u16::MAX - 1);
        Sender { topic, due_ns: Vec::new(), free: Vec::new(), window, pings: VecDeque::new() }
    }

    /// Messages that are not acknowledged.
    pub fn open(&self) -> usize {
        self.due_ns.len() - self.free.len()
    }

    /// How many more may be sent.
    pub fn room(&self) -> u32 {
        usize::from(self.window).saturating_sub(self.open()) as u32
    }

    /// A packet id for a message that was due then; the caller has looked for room.
    pub fn take_id(&mut self, due_ns: u64) -> u16 {
        if let Some(id) = self.free.pop() {
            self.due_ns[usize::from(id) - 1] = due_ns;
            return id;
        }
        self.due_ns.push(due_ns);
        self.due_ns.len() as u16
    }

    /// The message with this id is acknowledged: when it was due. `None` for an id that is not in use.
    pub fn give_back(&mut self, id: u16) -> Option<u64> {
        let due_ns = *self.due_ns.get(usize::from(id).checked_sub(1)?)?;
        if due_ns == u64::MAX {
            return None;
        }
        self.due_ns[usize::from(id) - 1] = u64::MAX;
        self.free.push(id);
        Some(due_ns)
    }
}

impl Conn {
    pub fn new(index: u32, role: Role, sender: Option<Box<Sender>>) -> Conn {
        let (stage, out, rest) = (Stage::Off, Vec::new(), Vec::new());
        Conn { index, role, stage, socket: None, out, rest, dirty: false, full: false, begun_ns: 0, sender }
    }

    /// Begins to connect, from `source` if it is told.
    pub fn dial(&mut self, server: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            // So that ports of connections which have just ended can be used again.
            socket.set_reuse_address(true)?;
            socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
        }
        match socket.connect(&SockAddr::from(server)) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        self.out.clear();
        self.rest.clear();
        self.socket = Some(TcpStream::from(socket));
        self.stage = Stage::Dialling;
        self.full = true;
        Ok(())
    }

    /// Reads once.
    pub fn read(&mut self, into: &mut [u8]) -> Read1 {
        let Some(socket) = &mut self.socket else { return Read1::Later };
        match socket.read(into) {
            Ok(0) => Read1::End("the server closed the connection".to_owned()),
            Ok(bytes) => Read1::Bytes(bytes),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Read1::Later,
            Err(error) => Read1::End(error.to_string()),
        }
    }

    /// Writes what waits, all of it or as much as the socket takes; whether all went.
    pub fn write(&mut self) -> io::Result<bool> {
        let Some(socket) = &mut self.socket else { return Ok(true) };
        let mut done = 0;
        let ending = loop {
            if done == self.out.len() {
                break Ok(true);
            }
            match socket.write(&self.out[done..]) {
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.out.drain(..done);
        if self.out.is_empty() && matches!(self.role, Role::Listens(_)) && self.out.capacity() > 4096 {
            self.out = Vec::new();
        }
        ending
    }

    /// The socket is no more.
    pub fn hang_up(&mut self) {
        self.socket = None;
        self.stage = Stage::Off;
        self.out = Vec::new();
        self.rest = Vec::new();
        self.full = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_are_used_once_at_a_time() {
        let mut sender = Sender::new("t".to_owned(), 2);
        assert_eq!((sender.take_id(10), sender.take_id(20), sender.room()), (1, 2, 0));
        assert_eq!((sender.give_back(0), sender.give_back(3)), (None, None));
        assert_eq!((sender.give_back(1), sender.give_back(1)), (Some(10), None));
        assert_eq!((sender.open(), sender.room(), sender.take_id(30)), (1, 1, 1));
        assert_eq!((sender.give_back(2), sender.give_back(1), sender.open()), (Some(20), Some(30), 0));
    }
}
