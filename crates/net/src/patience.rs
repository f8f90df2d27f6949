//! What needs patience, on the house's common runtime instead of a shard's thread: handshakes and PROXY
//! headers of those who come in, and dialling. Its results come back to the shard by its inbox. It ends
//! when the shard stops.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use contract::Protocol;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::addresses::Place;
use crate::dial::{self, Dial};
use crate::entrance::{Entered, Transport, enter};
use crate::layer::Layers;
use crate::posts::{Arrival, Coming, Failed, New, Post};
use crate::sockets::Baggage;
use crate::{Shards, Surroundings};

/// A shard's way to the runtime.
pub(crate) struct Patience {
    runtime: Handle,
    desk: Desk,
    /// Closed when all is to end.
    going_on: Option<watch::Sender<()>>,
}

/// Where the results go, and what is needed to get them.
#[derive(Clone)]
pub(crate) struct Desk {
    pub house: Surroundings,
    shards: Arc<Shards>,
    index: u16,
}

impl Desk {
    /// Hands a result to the shard.
    pub fn post(&self, post: Post) {
        self.shards.post(usize::from(self.index), post);
    }
}

impl Patience {
    /// The way of shard `index`.
    pub fn new(index: u16, shards: &Arc<Shards>, house: &Surroundings) -> Patience {
        let desk = Desk { house: house.clone(), shards: shards.clone(), index };
        Patience { runtime: house.runtime.clone(), desk, going_on: Some(watch::Sender::new(())) }
    }

    /// Ends all that is under way. Nothing is begun afterwards.
    pub fn end(&mut self) {
        self.going_on = None;
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Some(going_on) = &self.going_on else { return };
        let mut going_on = going_on.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                () = work => {}
                // Nothing is ever sent: this is the end.
                _ = going_on.changed() => {}
            }
        });
    }

    /// Keeps a connection made.
    pub fn dial(&self, dial: Dial) {
        self.spawn(dial::keep(self.desk.clone(), dial));
    }

    /// Has a connection show its PROXY header and do its TLS handshake.
    pub fn show_in(&self, protocol: Protocol, transport: Transport, stream: TcpStream, remote: SocketAddr, place: Option<Place>) {
        let desk = self.desk.clone();
        self.spawn(async move {
            match come_in(&desk, protocol, transport, stream, remote, place).await {
                Ok(post) => desk.post(post),
                Err(error) => tracing::error!(%error, "lost a connection on its way in"),
            }
        });
    }
}

async fn come_in(
    desk: &Desk,
    protocol: Protocol,
    transport: Transport,
    stream: TcpStream,
    remote: SocketAddr,
    place: Option<Place>,
) -> std::io::Result<Post> {
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let within = Duration::from_secs(desk.house.limits.login_s.into());
    Ok(match enter(&stream, &transport, remote, within).await {
        Ok(Entered { remote, tls, login, plain }) => {
            let layers = tls.map(Layers::of).unwrap_or_default();
            let new = New { protocol, remote, login, plain, counted: true };
            let baggage = Baggage::pack(place, layers, Vec::new());
            Post::Arrival(Box::new(Arrival { how: Coming::New(new), stream: stream.into_std()?, baggage }))
        }
        Err(close) => {
            let stream = stream.into_std()?;
            Post::Failed(Box::new(Failed { protocol: protocol.name, remote, close, stream, place }))
        }
    })
}
