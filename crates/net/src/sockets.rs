//! The sockets of one shard, as the floor's `Wire`: writes go straight to the kernel; only when a peer
//! does not keep up is there a buffer, and only until it has. Where something lies between socket and
//! machine (TLS, WebSocket), bytes pass through it here. An idle plain connection is a row of this table.

use std::net::TcpStream;

use contract::{Close, ConnId, Fault};
use hub::{Moving, Wire};
use model::limits;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::addresses::Place;
use crate::closing::{Closing, is_not_yet};
use crate::layer::{Flow, Layers};

/// A connection's socket.
struct Socket {
    stream: TcpStream,
    generation: u32,
    /// It was let in once: what it sends is read before what newcomers send.
    known: bool,
    /// The peer has gone, so that nothing need be said to it.
    dead: bool,
    baggage: Option<Box<Baggage>>,
}

/// What few connections have. It goes with them to another shard.
#[derive(Default)]
pub(crate) struct Baggage {
    /// Its place among the connections of its address, if those are limited.
    pub place: Option<Place>,
    /// What lies between the socket and the machine; none for a plain connection.
    pub layers: Layers,
    /// What the kernel did not take yet. The socket is watched for writing while something is here.
    pub unsent: Vec<u8>,
    /// How many bytes of `unsent` have been sent.
    pub sent: usize,
}

impl Baggage {
    /// Nothing in it, for a connection that has none.
    pub fn pack(place: Option<Place>, layers: Layers, unsent: Vec<u8>) -> Option<Box<Baggage>> {
        let baggage = Baggage { place, layers, unsent, sent: 0 };
        (!baggage.is_empty()).then(|| Box::new(baggage))
    }

    fn is_empty(&self) -> bool {
        self.place.is_none() && self.layers.is_empty() && self.unsent.is_empty()
    }

    /// The bytes that have not been sent.
    fn rest(&mut self) -> Vec<u8> {
        self.unsent.drain(..std::mem::take(&mut self.sent));
        std::mem::take(&mut self.unsent)
    }
}

/// A socket that is to go to another shard.
pub(crate) struct Leaving {
    pub to: u16,
    pub moving: Moving,
    pub stream: TcpStream,
    pub baggage: Option<Box<Baggage>>,
}

/// What a read brought.
pub(crate) enum Got {
    Bytes(usize),
    Nothing,
    HungUp,
    Broke,
}

/// The sockets.
#[derive(Default)]
pub(crate) struct Sockets {
    seats: Vec<Option<Socket>>,
    /// Connections whose peer has just fallen behind: each is to be watched for writing.
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
        if let Some(baggage) = &mut self.baggage
            && !baggage.unsent.is_empty()
        {
            baggage.unsent.drain(..std::mem::take(&mut baggage.sent));
            baggage.unsent.extend_from_slice(bytes);
            return baggage.unsent.len();
        }
        // An error here is also an error for who reads, and ends the connection there.
        let sent = write(&self.stream, bytes).unwrap_or(0);
        let left = bytes.len() - sent;
        if left > 0 {
            self.baggage.get_or_insert_default().unsent = bytes[sent..].to_vec();
            clogged.push(conn);
        }
        *bytes_out += sent as u64;
        left
    }
}

/// One write. Asked of the kernel itself: the C library's calls are points of cancellation, which costs each.
fn write(stream: &TcpStream, bytes: &[u8]) -> Result<usize, Errno> {
    send(stream, bytes, SendFlags::NOSIGNAL)
}

fn seat(seats: &mut [Option<Socket>], conn: ConnId) -> Option<&mut Socket> {
    seats.get_mut(conn.index as usize)?.as_mut().filter(|s| s.generation == conn.generation)
}

impl Sockets {
    /// Ties a socket to the seat that the floor will use next.
    pub fn bind(&mut self, conn: ConnId, stream: TcpStream, baggage: Option<Box<Baggage>>) {
        let at = conn.index as usize;
        if self.seats.len() <= at {
            self.seats.resize_with(at + 1, || None);
        }
        // What it could not send before is tried again when it is writable, which is told at once.
        if baggage.as_ref().is_some_and(|baggage| !baggage.unsent.is_empty()) {
            self.clogged.push(conn);
        }
        self.seats[at] = Some(Socket { stream, generation: conn.generation, known: false, dead: false, baggage });
    }

    fn seat(&mut self, conn: ConnId) -> Option<&mut Socket> {
        seat(&mut self.seats, conn)
    }

    fn take(&mut self, conn: ConnId) -> Option<Socket> {
        self.seat(conn)?;
        self.seats[conn.index as usize].take()
    }

    /// The socket, to be watched.
    pub fn stream(&mut self, conn: ConnId) -> Option<&TcpStream> {
        self.seat(conn).map(|socket| &socket.stream)
    }

    /// Whether the connection was let in, which is asked until it was.
    pub fn is_known(&mut self, conn: ConnId, is_let_in: impl FnOnce() -> bool) -> bool {
        self.seat(conn).is_some_and(|socket| {
            socket.known = socket.known || is_let_in();
            socket.known
        })
    }

    /// One read. A connection that is gone has nothing to say.
    pub fn read(&mut self, conn: ConnId, buffer: &mut [u8]) -> Got {
        let Some(socket) = self.seat(conn) else { return Got::Nothing };
        let got = match recv(&socket.stream, &mut *buffer, RecvFlags::empty()).map(|(count, _)| count) {
            Ok(count @ 1..) => return Got::Bytes(count),
            Ok(_) => Got::HungUp,
            Err(error) if is_not_yet(&error.into()) => return Got::Nothing,
            Err(_) => Got::Broke,
        };
        socket.dead = true;
        got
    }

    /// Whether something waits until the peer reads, so that the socket is watched for that.
    pub fn is_clogged(&mut self, conn: ConnId) -> bool {
        self.seat(conn).and_then(|socket| socket.baggage.as_ref()).is_some_and(|baggage| !baggage.unsent.is_empty())
    }

    /// Whether something lies between the connection's socket and its machine.
    pub fn is_layered(&mut self, conn: ConnId) -> bool {
        self.seat(conn).and_then(|socket| socket.baggage.as_ref()).is_some_and(|baggage| !baggage.layers.is_empty())
    }

    /// What the layers make of bytes that were read: what they carry goes into `plain`, what they answer to the peer.
    pub fn receive(&mut self, conn: ConnId, input: &[u8], plain: &mut Vec<u8>) -> Result<Flow, Close> {
        let Sockets { seats, clogged, bytes_out, scratch, .. } = self;
        let Some(socket) = seat(seats, conn) else { return Ok(Flow::Open) };
        let Some(baggage) = &mut socket.baggage else { return Ok(Flow::Open) };
        scratch.clear();
        let flow = baggage.layers.receive(input, plain, scratch);
        // The floor does not see what layers write: who sends pings and never reads is stopped here.
        if !scratch.is_empty() && socket.send(conn, scratch, clogged, bytes_out) > limits::UNSENT_BYTES_MAX {
            return Err(Close { fault: Fault::Line, why: "does not read what it is sent".into() });
        }
        flow
    }

    /// Sends more of what waits. Returns how many bytes still wait; `None` when there is nobody to send to.
    pub fn drain(&mut self, conn: ConnId) -> Option<usize> {
        let Sockets { seats, bytes_out, .. } = self;
        let socket = seat(seats, conn)?;
        let Some(baggage) = &mut socket.baggage else { return Some(0) };
        if baggage.sent < baggage.unsent.len() {
            match write(&socket.stream, &baggage.unsent[baggage.sent..]) {
                Ok(count) => {
                    baggage.sent += count;
                    *bytes_out += count as u64;
                }
                Err(error) if is_not_yet(&error.into()) => {}
                // Its end is told like something to read.
                Err(_) => {
                    socket.dead = true;
                    return None;
                }
            }
        }
        let left = baggage.unsent.len() - baggage.sent;
        if left == 0 {
            (baggage.unsent, baggage.sent) = (Vec::new(), 0);
            if baggage.is_empty() {
                socket.baggage = None;
            }
        }
        Some(left)
    }
}

impl Wire for Sockets {
    fn write(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let Sockets { seats, clogged, bytes_out, scratch, .. } = self;
        let Some(socket) = seat(seats, conn) else { return 0 };
        match &mut socket.baggage {
            Some(baggage) if !baggage.layers.is_empty() => {
                scratch.clear();
                baggage.layers.send(bytes, scratch);
                socket.send(conn, scratch, clogged, bytes_out)
            }
            _ => socket.send(conn, bytes, clogged, bytes_out),
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(socket) = self.take(conn) else { return };
        if socket.dead {
            return;
        }
        let mut closing = Closing { stream: socket.stream, place: None, unsent: Vec::new(), watched: true };
        if let Some(mut baggage) = socket.baggage {
            closing.unsent = baggage.rest();
            baggage.layers.close(&mut closing.unsent);
            closing.place = baggage.place;
        }
        self.closing.push(closing);
    }

    fn hand_over(&mut self, conn: ConnId, to: u16, moving: Moving) {
        let Some(Socket { stream, baggage, .. }) = self.take(conn) else { return };
        self.leaving.push(Leaving { to, moving, stream, baggage });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_a_peer_does_not_take_waits_and_leaves_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let conn = ConnId { index: 2, generation: 7 };
        let mut sockets = Sockets::default();
        sockets.bind(conn, stream, None);
        assert_eq!(sockets.write(ConnId { generation: 6, ..conn }, b"to an older one"), 0);

        let block = |number: u8| vec![number; 100_000];
        let mut written = 0;
        while sockets.write(conn, &block(written)) == 0 {
            written += 1;
        }
        assert!(sockets.write(conn, &block(written + 1)) > 100_000, "what comes later waits behind it");
        assert_eq!(sockets.clogged, [conn], "to be watched for writing once");
        assert!(sockets.is_clogged(conn));

        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        });
        while sockets.drain(conn) != Some(0) {
            std::thread::yield_now();
        }
        assert!(seat(&mut sockets.seats, conn).unwrap().baggage.is_none(), "no buffer is kept");
        assert!(!sockets.is_clogged(conn));
        assert_eq!(sockets.write(conn, b"end"), 0);
        let sent = sockets.bytes_out;
        sockets.close(conn);
        assert!(sockets.stream(conn).is_none());
        assert!(sockets.closing.remove(0).unsent.is_empty());
        let all = reader.join().unwrap();
        let wanted = (0..=written + 1).flat_map(block).chain(*b"end");
        assert!(all.iter().copied().eq(wanted) && sent == all.len() as u64);
    }
}
