//! Connections that the house makes itself: one task each, which connects, hands the connection to the home
//! shard of its session like an accepted one, and dials again when it has ended, until the shards stop.
//! Deliberately absent: what is said on the line (that is its machine's), and any opinion about the remote.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use contract::session::Peer;
use contract::{Close, Fault, Session};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::entrance::{shake_hands, write_all};
use crate::layer::Layers;
use crate::listen::tune;
use crate::patience::Desk;
use crate::posts::{Arrival, Coming, Made, Post};
use crate::sockets::Baggage;
use crate::trust::TlsClient;

/// How long a remote may take to answer a connection request.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// The pause after the first failure; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause: a remote that comes back is found within a minute.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A connection that lived so long was a good one: the pauses begin anew.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// Makes the machine for a connection that has come about.
pub type Open = Box<dyn Fn(Peer) -> Box<dyn Session> + Send>;
/// Hears why a connection ended or did not come about, and how long the pause before the next attempt is.
pub type Told = Box<dyn Fn(&Close, Duration) + Send>;

/// A connection to be made and kept.
pub struct Dial {
    /// The label of its metrics and log lines, in the place of a protocol's name.
    pub protocol: &'static str,
    /// `host:port`; a name is looked up at each attempt, so that the remote may move.
    pub addr: String,
    /// Speak TLS on it.
    pub tls: Option<TlsClient>,
    /// The name of the session that its machine will say hello with: decides the shard, so that the
    /// connection need not be handed over.
    pub session: String,
    /// A machine that is seated once, before the first attempt and without any line: it may begin the
    /// session, so that what is meant for the remote waits from the start.
    pub reserve: Option<Box<dyn Session>>,
    /// Makes its machine, anew for each attempt that came about.
    pub open: Open,
    /// Hears of each end.
    pub told: Told,
}

/// Makes the connection again and again. The home shard has seated what is reserved.
pub(crate) async fn keep(desk: Desk, dial: Dial) {
    // One by one: what is held while this waits must be shareable, and makers of machines need not be.
    let Dial { protocol, addr, tls, open, told, .. } = dial;
    let mut pauses = Pauses::default();
    loop {
        let connected = connect(&addr, tls.as_ref()).await;
        let (close, life) = match connected {
            Ok(Connected { stream, remote, layers, plain }) => {
                let begun = Instant::now();
                let machine = open(Peer { remote, now: desk.house.clock.millis(), limits: desk.house.limits });
                let (tell, ended) = oneshot::channel();
                let made = Made { protocol, machine, remote, plain, tell };
                let baggage = Baggage::pack(None, layers, Vec::new());
                desk.post(Post::Arrival(Box::new(Arrival { how: Coming::Made(made), stream, baggage })));
                // A shard that is stopping tells nothing.
                let Ok(close) = ended.await else { return };
                (close, begun.elapsed())
            }
            Err(why) => (Close { fault: Fault::Line, why: why.into() }, Duration::ZERO),
        };
        let pause = pauses.next(life, RandomState::new().hash_one(0));
        told(&close, pause);
        sleep(pause).await;
    }
}

/// A connection that has come about.
struct Connected {
    stream: std::net::TcpStream,
    remote: SocketAddr,
    layers: Layers,
    /// What the remote has already said for the machine.
    plain: Vec<u8>,
}

async fn connect(addr: &str, tls: Option<&TlsClient>) -> Result<Connected, String> {
    let connecting = async {
        let unreachable = |error: std::io::Error| format!("cannot reach {addr}: {error}");
        let stream = TcpStream::connect(addr).await.map_err(unreachable)?;
        let remote = stream.peer_addr().map_err(unreachable)?;
        tune(&stream);
        let (mut layers, mut plain) = (Layers::default(), Vec::new());
        if let Some(client) = tls {
            let failed = |close: Close| format!("no TLS with {addr}: {}", close.why);
            let mut hello = Vec::new();
            let tls = client.call(&mut hello).map_err(|error| format!("no TLS with {addr}: {error}"))?;
            write_all(&stream, &hello).await.map_err(failed)?;
            layers = Layers::of(shake_hands(&stream, tls, false, Vec::new(), &mut plain).await.map_err(failed)?);
        }
        Ok(Connected { stream: stream.into_std().map_err(unreachable)?, remote, layers, plain })
    };
    let late = || format!("{addr} did not answer within {} s", CONNECT_MAX.as_secs());
    timeout(CONNECT_MAX, connecting).await.unwrap_or_else(|_| Err(late()))
}

/// How long to wait before each attempt.
struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses { next: PAUSE_MIN }
    }
}

impl Pauses {
    /// The pause after a connection that lived so long (not at all, if it did not come about). A quarter
    /// more or less, by `chance`: everyone who lost the same remote would come back in the same moment.
    fn next(&mut self, life: Duration, chance: u64) -> Duration {
        if life >= GOOD_LIFE {
            self.next = PAUSE_MIN;
        }
        let pause = self.next;
        self.next = (pause * 2).min(PAUSE_MAX);
        pause * 3 / 4 + pause / 2 * (chance % 1024) as u32 / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_begin_anew_after_a_good_life() {
        let mut pauses = Pauses::default();
        // A chance in the middle leaves the pause as it is.
        let mut after = |life| pauses.next(Duration::from_secs(life), 512).as_secs();
        let seen: Vec<u64> = (0..8).map(|_| after(0)).collect();
        assert_eq!(seen, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(after(59), 60, "a short life is no good one");
        assert_eq!((after(60), after(0)), (1, 2));
    }

    #[test]
    fn chance_moves_a_pause_by_a_quarter_at_most() {
        for chance in [0, 1, 511, 1023, u64::MAX] {
            let pause = Pauses::default().next(Duration::ZERO, chance).as_millis();
            assert!((750..=1250).contains(&pause), "{pause}");
        }
    }
}
