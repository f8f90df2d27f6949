//! What can lie in a shard's inbox, and what becomes of it: mail for the floor, connections that come from
//! other threads, and the order to stop.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use contract::{Close, ConnId, Login, Protocol, Session};
use hub::{Broadcast, Mail, Moving};
use model::Qos;
use tokio::sync::oneshot;

use crate::addresses::Place;
use crate::closing::Closing;
use crate::dial::Dial;
use crate::layer::Layers;
use crate::shard::Shard;
use crate::sockets::Baggage;

/// What can lie there.
pub(crate) enum Post {
    Mail(Mail),
    /// A connection, nonblocking and tuned.
    Arrival(Box<Arrival>),
    /// A connection that did not come in.
    Failed(Box<Failed>),
    Dial(Box<Dial>),
    /// Say goodbye to everyone and end.
    Stop(Option<Arc<str>>, Close),
}

impl Post {
    /// A QoS 0 message that nobody asked a receipt for may be lost when the shard cannot keep up.
    pub fn may_be_lost(&self) -> bool {
        match self {
            Post::Mail(Mail::Message(Broadcast { message, safe: None })) => {
                message.qos == Qos::AtMostOnce && message.receipt.is_none()
            }
            Post::Mail(Mail::Address(_, safe)) => safe.is_none(),
            _ => false,
        }
    }

    /// Whether somebody may come in by it.
    fn lets_in(&self) -> bool {
        matches!(self, Post::Arrival(_) | Post::Mail(Mail::Verdict(..)))
    }
}

/// A connection handed to a shard.
pub(crate) struct Arrival {
    pub how: Coming,
    pub stream: TcpStream,
    pub baggage: Option<Box<Baggage>>,
}

/// What a connection brings along.
pub(crate) enum Coming {
    /// Its machine and its session, from another shard.
    Moving(Moving),
    /// Nothing but what it has said so far.
    New(New),
    /// A connection that we made.
    Made(Made),
}

/// A connection that came in by a way of its own.
pub(crate) struct New {
    pub protocol: Protocol,
    pub remote: SocketAddr,
    /// Who it is by its certificate.
    pub login: Option<Login>,
    /// What it has said for its machine.
    pub plain: Vec<u8>,
    /// By which way: one that a shard has accepted is counted.
    pub counted: bool,
}

/// A connection that we made.
pub(crate) struct Made {
    pub protocol: &'static str,
    pub machine: Box<dyn Session>,
    pub remote: SocketAddr,
    /// What the remote has already said for the machine.
    pub plain: Vec<u8>,
    /// Who hears of its end.
    pub tell: oneshot::Sender<Close>,
}

/// A connection that did not come in.
pub(crate) struct Failed {
    pub protocol: &'static str,
    pub remote: SocketAddr,
    pub close: Close,
    pub stream: TcpStream,
    pub place: Option<Place>,
}

impl Shard {
    /// Takes everything out of the inbox.
    pub fn read_inbox(&mut self) {
        let mut posts = std::mem::take(&mut self.posts);
        if let Some(dropped) = self.shards.inboxes[usize::from(self.index)].take_now(&mut posts) {
            self.ends.stats.inbox_dropped += dropped;
            if posts.iter().any(Post::lets_in) {
                self.hear_known();
            }
            for post in posts.drain(..) {
                self.read_post(post);
            }
        }
        self.posts = posts;
    }

    fn read_post(&mut self, post: Post) {
        match post {
            Post::Mail(mail) => self.floor.mail(mail, &mut self.sockets),
            Post::Stop(go_to, close) => self.stop(go_to.as_ref(), &close),
            Post::Arrival(_) | Post::Dial(_) if self.is_stopping() => {}
            Post::Arrival(arrival) => self.arrive(*arrival),
            Post::Dial(mut dial) => {
                if let Some(machine) = dial.reserve.take() {
                    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
                    self.floor.open_machine(dial.protocol, machine, nowhere, &mut self.sockets);
                }
                self.patience.dial(*dial);
            }
            Post::Failed(failed) => {
                let Failed { protocol, remote, close, stream, place } = *failed;
                self.ends.tell(protocol, remote, &close);
                let closing = Closing { stream, place, unsent: Vec::new(), watched: false };
                self.closings.begin(closing, self.now, &self.poller);
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        let Arrival { how, stream, mut baggage } = arrival;
        if let Coming::New(new) = &how {
            self.ends.stats.accepted += u64::from(!new.counted);
            if baggage.as_ref().is_none_or(|baggage| baggage.place.is_none()) {
                let Ok(place) = self.place(new.protocol.name, new.remote) else { return };
                match &mut baggage {
                    Some(baggage) => baggage.place = place,
                    None => baggage = Baggage::pack(place, Layers::default(), Vec::new()),
                }
            }
        }
        let conn = match self.seat_in(stream, baggage) {
            Ok(conn) => conn,
            Err(error) => return tracing::error!(%error, "lost a connection that was handed to shard {}", self.index),
        };
        match how {
            Coming::Moving(moving) => self.floor.arrive(moving, &mut self.sockets),
            Coming::New(New { protocol, remote, login, plain, .. }) => {
                self.floor.open(&protocol, remote, &mut self.sockets);
                if let Some(login) = login {
                    self.floor.vouch(conn, login);
                }
                self.said(conn, &plain);
            }
            Coming::Made(Made { protocol, machine, remote, plain, tell }) => {
                self.floor.open_machine(protocol, machine, remote, &mut self.sockets);
                self.said(conn, &plain);
                // Its end, even one that has come already, is told at the end of this turn.
                self.dialled.insert(conn, tell);
            }
        }
    }

    /// What a connection has said on its way here.
    fn said(&mut self, conn: ConnId, plain: &[u8]) {
        if !plain.is_empty() {
            self.floor.bytes(conn, plain, &mut self.sockets);
        }
    }
}
