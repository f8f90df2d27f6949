//! What a shard sleeps in: one epoll over all its sockets, and the bell by which other threads wake it.
//! Level-triggered: what is not taken whole is told again, after all others that are ready, so that a busy
//! line gets one read a turn and nobody must be read until "would block".

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use contract::ConnId;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use crate::inbox::Bell;

/// Sockets told of at once. The others keep their order and come next.
const EVENTS: usize = 1024;

/// Who is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Conn(ConnId),
    /// A listener, by its place among the shard's.
    Door(u32),
    /// A socket that is being closed, by its place among those.
    Closing(u32),
    Bell,
}

/// The kind of a token stands in the two highest bits of the place, which no table reaches.
const KIND_SHIFT: u32 = 30;

impl Token {
    fn to_data(self) -> epoll::EventData {
        let (kind, place, generation) = match self {
            Token::Conn(ConnId { index, generation }) => (0, index, generation),
            Token::Door(place) => (1, place, 0),
            Token::Closing(place) => (2, place, 0),
            Token::Bell => (3, 0, 0),
        };
        epoll::EventData::new_u64(u64::from(generation) << 32 | u64::from(kind << KIND_SHIFT | place))
    }

    fn from_data(data: epoll::EventData) -> Token {
        let (low, generation) = (data.u64() as u32, (data.u64() >> 32) as u32);
        let index = low & ((1 << KIND_SHIFT) - 1);
        match low >> KIND_SHIFT {
            0 => Token::Conn(ConnId { index, generation }),
            1 => Token::Door(index),
            2 => Token::Closing(index),
            _ => Token::Bell,
        }
    }
}

/// What a socket is watched for. Its end and its errors are always told.
#[derive(Clone, Copy)]
pub(crate) enum For {
    Reading,
    /// Something waits to be sent, too.
    Both,
    /// New connections: one of the shards that sleep is woken, not all.
    Accepting,
}

impl For {
    fn flags(self) -> epoll::EventFlags {
        match self {
            For::Reading => epoll::EventFlags::IN,
            For::Both => epoll::EventFlags::IN | epoll::EventFlags::OUT,
            For::Accepting => epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE,
        }
    }
}

/// One socket that is ready.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    pub token: Token,
    pub writable: bool,
    /// Something to read, or its end.
    pub readable: bool,
}

/// The epoll.
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// One that `bell` interrupts.
    pub fn new(bell: &ShardBell) -> io::Result<Poller> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered, so that nobody needs to read what was rung.
        epoll::add(&epoll, &fd, Token::Bell.to_data(), epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        let _ = bell.0.set(fd);
        Ok(Poller { epoll })
    }

    /// Begins to watch a socket.
    pub fn add(&self, socket: impl AsFd, token: Token, what: For) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, token.to_data(), what.flags())?)
    }

    /// Watches a socket for something else, or under another name.
    pub fn change(&self, socket: impl AsFd, token: Token, what: For) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, token.to_data(), what.flags())?)
    }

    /// Watches a socket no longer. Not needed before closing it, unless somebody else has it open, too.
    pub fn remove(&self, socket: impl AsFd) {
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Waits until something is ready, at most so long, and puts it into `ready`.
    pub fn wait(&self, ready: &mut Vec<Ready>, at_most: Duration) {
        let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: at_most.subsec_nanos().into() };
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        ready.clear();
        match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok((events, _)) => ready.extend(events.iter().map(|event| {
                let flags = event.flags;
                Ready {
                    token: Token::from_data(event.data),
                    writable: flags.contains(epoll::EventFlags::OUT),
                    readable: flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR),
                }
            })),
            Err(Errno::INTR) => {}
            // It is ours and stays open: there is no other error.
            Err(error) => tracing::error!(%error, "cannot wait for sockets"),
        }
    }
}

/// Wakes a shard. Silent until the shard runs: what was posted before is found when it first looks.
#[derive(Default)]
pub(crate) struct ShardBell(OnceLock<OwnedFd>);

impl Bell for ShardBell {
    fn ring(&self) {
        if let Some(fd) = self.0.get() {
            // It fails only when it has been rung 2^64 times.
            let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        let conn = |index, generation| Token::Conn(ConnId { index, generation });
        for token in [conn(0, 0), conn(1 << 29, u32::MAX), conn(7, 1 << 31), Token::Door(3), Token::Closing(1023), Token::Bell] {
            assert_eq!(Token::from_data(token.to_data()), token);
        }
    }

    #[test]
    fn a_ring_interrupts_once() {
        let bell = ShardBell::default();
        bell.ring();
        let poller = Poller::new(&bell).unwrap();
        let mut ready = Vec::new();
        poller.wait(&mut ready, Duration::ZERO);
        assert!(ready.is_empty(), "nobody slept yet");
        bell.ring();
        poller.wait(&mut ready, Duration::from_secs(20));
        assert_eq!(ready.iter().map(|ready| ready.token).collect::<Vec<_>>(), [Token::Bell]);
        poller.wait(&mut ready, Duration::ZERO);
        assert!(ready.is_empty());
    }
}
