//! What a shard sleeps in: one epoll over all its sockets, and the bell by which other threads wake it.
//! Level-triggered: what is not taken whole is told again, after all others that are ready, so that a busy
//! line gets one read a turn and nobody must be read until "would block".

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use contract::ConnId;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use crate::inbox::Bell;

/// Sockets told of at once. The others keep their order and come next.
const EVENTS: usize = 1024;
/// How often a shard is woken to look at what is due.
const BEAT: Duration = Duration::from_millis(500);

/// Who is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Conn(ConnId),
    /// A listener, by its place among the shard's.
    Door(u32),
    /// A socket that is being closed, by its place among those.
    Closing(u32),
    Bell,
    /// The beat of the clock that wakes a shard twice a second.
    Beat,
    /// A quick one, while lines are at leisure.
    Pulse,
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
            Token::Beat => (3, 1, 0),
            Token::Pulse => (3, 2, 0),
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
            _ => [Token::Bell, Token::Beat, Token::Pulse][index.min(2) as usize],
        }
    }
}

/// What a socket is watched for. Its end and its errors are always told.
#[derive(Clone, Copy)]
pub(crate) enum For {
    /// Only for its end and errors.
    Nothing,
    Reading,
    /// Something waits to be sent, too.
    Both,
    /// Only for room to send, and its end: what it says is not heard any more.
    Writing,
    /// New connections: one of the shards that sleep is woken, not all.
    Accepting,
}

impl For {
    fn flags(self) -> epoll::EventFlags {
        match self {
            For::Nothing => epoll::EventFlags::empty(),
            For::Reading => epoll::EventFlags::IN,
            For::Both => epoll::EventFlags::IN | epoll::EventFlags::OUT,
            For::Writing => epoll::EventFlags::OUT,
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
    beat: OwnedFd,
    pulse: OwnedFd,
    /// It beat, and nobody has asked since: whoever looks for sockets in the middle of a turn must not swallow it.
    has_beaten: Cell<bool>,
}

impl Poller {
    /// One that `bell` interrupts.
    pub fn new(bell: &ShardBell) -> io::Result<Poller> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered, so that nobody needs to read what was rung.
        epoll::add(&epoll, &fd, Token::Bell.to_data(), epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        let _ = bell.0.set(fd);
        // A timeout for each sleep would have the kernel set a timer and take it back each time.
        let (beat, pulse) = (timer(&epoll, Token::Beat)?, timer(&epoll, Token::Pulse)?);
        set(&beat, BEAT)?;
        Ok(Poller { epoll, beat, pulse, has_beaten: Cell::new(false) })
    }

    /// Whether half a second has passed since this was true last.
    pub fn take_beat(&self) -> bool {
        self.has_beaten.take()
    }

    /// Wakes the shard every so often from now on; never, when that is zero.
    pub fn pulse(&self, every: Duration) -> io::Result<()> {
        set(&self.pulse, every)
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
    pub fn wait(&self, ready: &mut Vec<Ready>, at_most: Option<Duration>) {
        let timeout = at_most.map(|most| Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() });
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        ready.clear();
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => ready.extend(events.iter().map(|event| {
                let (token, flags) = (Token::from_data(event.data), event.flags);
                match token {
                    Token::Beat => {
                        self.has_beaten.set(true);
                        go_on(&self.beat);
                    }
                    Token::Pulse => go_on(&self.pulse),
                    Token::Conn(_) | Token::Door(_) | Token::Closing(_) | Token::Bell => {}
                }
                Ready {
                    token,
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

/// A timer that interrupts `epoll` as `token`.
fn timer(epoll: &OwnedFd, token: Token) -> io::Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    epoll::add(epoll, &timer, token.to_data(), epoll::EventFlags::IN)?;
    Ok(timer)
}

/// A timer that is not read beats no more.
fn go_on(timer: &OwnedFd) {
    // It fails when it was set anew meanwhile, and beats then.
    let _ = rustix::io::read(timer, &mut [0; 8]);
}

fn set(timer: &OwnedFd, every: Duration) -> io::Result<()> {
    let every = Timespec { tv_sec: every.as_secs() as i64, tv_nsec: every.subsec_nanos().into() };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: every, it_value: every })?;
    Ok(())
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
        for token in [
            conn(0, 0),
            conn(1 << 29, u32::MAX),
            conn(7, 1 << 31),
            Token::Door(3),
            Token::Closing(1023),
            Token::Bell,
            Token::Beat,
        ] {
            assert_eq!(Token::from_data(token.to_data()), token);
        }
    }

    #[test]
    fn a_ring_interrupts_once() {
        let bell = ShardBell::default();
        bell.ring();
        let poller = Poller::new(&bell).unwrap();
        let mut ready = Vec::new();
        poller.wait(&mut ready, Some(Duration::ZERO));
        assert!(ready.is_empty(), "nobody slept yet");
        bell.ring();
        poller.wait(&mut ready, Some(Duration::from_secs(20)));
        assert_eq!(ready.iter().map(|ready| ready.token).collect::<Vec<_>>(), [Token::Bell]);
        poller.wait(&mut ready, Some(Duration::ZERO));
        assert!(ready.is_empty());
    }

    #[test]
    fn beat_and_pulse_go_on_until_they_are_stopped() {
        let poller = Poller::new(&ShardBell::default()).unwrap();
        let mut ready = Vec::new();
        let mut next = || {
            poller.wait(&mut ready, None);
            ready.iter().map(|ready| ready.token).collect::<Vec<_>>()
        };
        assert_eq!([next(), next()], [[Token::Beat]; 2]);
        assert!(poller.take_beat() && !poller.take_beat(), "once, whoever waited when it beat");
        poller.pulse(Duration::from_millis(2)).unwrap();
        let mut pulses = 0;
        while pulses < 20 {
            pulses += next().iter().filter(|token| **token == Token::Pulse).count();
        }
        poller.pulse(Duration::ZERO).unwrap();
        while next() != [Token::Beat] {}
    }
}
