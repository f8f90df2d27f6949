//! A shard's share of the listeners: accepting, and keeping out of the way while that is impossible.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use contract::{Close, Fault, Protocol};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use crate::addresses::Place;
use crate::layer::Layers;
use crate::listen::Door;
use crate::poller::{For, Poller, Ready, Token};
use crate::shard::Shard;
use crate::sockets::Baggage;

/// Connections accepted on one door a turn, so that those who are in are heard in between.
const ACCEPTED_MAX: usize = 64;
/// What becomes of a connection too many, and what to do.
pub(crate) const FILES_USED_UP: &str =
    "the open files that devices may use are used up; raise the open-file limit (ulimit -n, LimitNOFILE=)";

/// The doors.
pub(crate) struct Doors {
    doors: Vec<Door>,
    /// Those that are not watched, because the last try found no file or memory for a connection.
    barred: Vec<u32>,
}

impl Doors {
    /// Opens them.
    pub fn open(doors: Vec<Door>, poller: &Poller) -> std::io::Result<Doors> {
        for (door, place) in doors.iter().zip(0..) {
            poller.add(&door.socket, Token::Door(place), For::Accepting)?;
        }
        Ok(Doors { doors, barred: Vec::new() })
    }

    /// Half a second has passed: tries again where it was impossible.
    pub fn tick(&mut self, poller: &Poller) {
        let doors = &self.doors;
        self.barred.retain(|place| poller.add(&doors[*place as usize].socket, Token::Door(*place), For::Accepting).is_err());
    }

    /// Lets nobody in any more. The other shards have the same sockets open, so each must be let go.
    pub fn shut(&mut self, poller: &Poller) {
        for door in self.doors.drain(..) {
            poller.remove(&door.socket);
        }
        self.barred.clear();
    }
}

impl Shard {
    /// Lets in who knocks.
    pub fn accept(&mut self, ready: &[Ready]) {
        for ready in ready {
            if let Token::Door(place) = ready.token {
                self.accept_at(place);
            }
        }
    }

    fn accept_at(&mut self, at: u32) {
        for _ in 0..ACCEPTED_MAX {
            let Some(door) = self.doors.doors.get(at as usize) else { return };
            let protocol = door.protocol;
            match accept(door) {
                Ok((stream, remote)) => {
                    self.ends.stats.accepted += 1;
                    if self.shards.is_beyond_files(&stream) {
                        self.ends.stats.refused += 1;
                        self.ends.tell(protocol.name, remote, &Close { fault: Fault::Ours, why: FILES_USED_UP.into() });
                        self.bar(at);
                        return;
                    }
                    if door.transport.is_plain() {
                        self.let_in(&protocol, stream, remote);
                    } else {
                        self.show_in(at as usize, stream, remote);
                    }
                }
                Err(Errno::WOULDBLOCK) => return,
                // It was gone before it came in.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => {
                    // Out of files or memory: the connection stays in the backlog; trying at once would only spin.
                    tracing::warn!("cannot accept {} connections: {error}; raise the open-file limit (ulimit -n)", protocol.name);
                    self.bar(at);
                    return;
                }
            }
        }
    }

    /// Looks no longer who knocks there, until the next tick.
    fn bar(&mut self, at: u32) {
        self.poller.remove(&self.doors.doors[at as usize].socket);
        self.doors.barred.push(at);
    }

    fn let_in(&mut self, protocol: &Protocol, stream: TcpStream, remote: SocketAddr) {
        let Ok(place) = self.place(protocol.name, remote) else { return };
        match self.seat_in(stream, Baggage::pack(place, Layers::default(), Vec::new())) {
            Ok(_) => self.floor.open(protocol, remote, &mut self.sockets),
            Err(error) => tracing::error!(%error, "cannot watch a new connection"),
        }
    }

    /// A connection that must show a PROXY header or do a TLS handshake before its protocol begins. Behind a
    /// load balancer it has its place when its real address is known.
    fn show_in(&mut self, at: usize, stream: TcpStream, remote: SocketAddr) {
        let protocol = self.doors.doors[at].protocol;
        let mut place = None;
        if !self.doors.doors[at].transport.proxy_protocol {
            let Ok(found) = self.place(protocol.name, remote) else { return };
            place = found;
        }
        let transport = self.doors.doors[at].transport.clone();
        self.patience.show_in(protocol, transport, stream, remote, place);
    }

    /// A place for a new connection among those of its address. `Err` when it is to be closed, which has
    /// been told then.
    pub fn place(&mut self, protocol: &'static str, remote: SocketAddr) -> Result<Option<Place>, ()> {
        self.addresses.enter(remote.ip()).map_err(|full| {
            self.ends.stats.refused += 1;
            self.ends.tell(protocol, remote, &Close { fault: Fault::Refused, why: full.to_string().into() });
        })
    }
}

/// One connection. It has taken over what its listener was tuned to.
fn accept(door: &Door) -> Result<(TcpStream, SocketAddr), Errno> {
    let (stream, remote): (OwnedFd, _) = acceptfrom_with(&door.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let remote = remote.ok_or(Errno::AFNOSUPPORT)?.try_into()?;
    Ok((stream.into(), remote))
}
