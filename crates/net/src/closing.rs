//! Sockets that are being closed politely: the rest of the bytes, then our side, then waiting for the
//! peer's. Closing with unread input would make the kernel reset the line and the peer lose our last words
//! (a CONNACK with a reason).

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use model::Millis;

use crate::addresses::Place;
use crate::poller::{For, Poller, Token};

/// Sockets that may be closing at once; beyond that they are just closed.
const CLOSING_MAX: usize = 1024;
/// How long a peer may take to read the rest and hang up.
pub(crate) const LINGER_MS: u64 = 3000;
/// What of its last words is read, only to have been read.
const IGNORED_MAX: usize = 64 * 1024;

/// A socket that is to be closed politely.
pub(crate) struct Closing {
    pub stream: TcpStream,
    /// Kept until the socket is closed.
    pub place: Option<Place>,
    pub unsent: Vec<u8>,
    /// Whether the poller watches it already, under another name.
    pub watched: bool,
}

/// Those that are under way.
#[derive(Default)]
pub(crate) struct Closings {
    seats: Vec<Option<Seat>>,
    free: Vec<u32>,
}

struct Seat {
    closing: Closing,
    sent: usize,
    /// Our side is closed.
    shut: bool,
    ignored: usize,
    until: Millis,
}

/// How far a closing has come.
#[derive(PartialEq, Eq)]
enum Stage {
    Sending,
    Waiting,
    Over,
}

impl Seat {
    /// Goes on as far as it goes without waiting.
    fn step(&mut self) -> Stage {
        let Closing { stream, unsent, .. } = &mut self.closing;
        if self.sent < unsent.len() {
            match (&*stream).write(&unsent[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if is_not_yet(&error) => {}
                Err(_) => return Stage::Over,
            }
            if self.sent < unsent.len() {
                return Stage::Sending;
            }
        }
        if !self.shut && stream.shutdown(Shutdown::Write).is_err() {
            return Stage::Over;
        }
        self.shut = true;
        let mut scrap = [0; 4096];
        match (&*stream).read(&mut scrap) {
            Ok(0) => Stage::Over,
            Ok(count) => {
                self.ignored += count;
                if self.ignored < IGNORED_MAX { Stage::Waiting } else { Stage::Over }
            }
            Err(error) if is_not_yet(&error) => Stage::Waiting,
            Err(_) => Stage::Over,
        }
    }
}

/// Whether it may go on later.
pub(crate) fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Closings {
    /// Closes a socket, at once if its peer has hung up already.
    pub fn begin(&mut self, closing: Closing, now: Millis, poller: &Poller) {
        if self.len() >= CLOSING_MAX {
            return;
        }
        let mut seat = Seat { closing, sent: 0, shut: false, ignored: 0, until: now.plus_ms(LINGER_MS) };
        let what = match seat.step() {
            Stage::Over => return,
            // What it says meanwhile would be told again and again, and nobody reads it yet.
            Stage::Sending => For::Writing,
            Stage::Waiting => For::Reading,
        };
        let place = self.free.last().copied().unwrap_or(self.seats.len() as u32);
        let (stream, token) = (&seat.closing.stream, Token::Closing(place));
        let watching = if seat.closing.watched { poller.change(stream, token, what) } else { poller.add(stream, token, what) };
        if let Err(error) = watching {
            return tracing::debug!(%error, "cannot watch a socket that is being closed");
        }
        match self.free.pop() {
            Some(place) => self.seats[place as usize] = Some(seat),
            None => self.seats.push(Some(seat)),
        }
    }

    /// The socket at `place` is ready for more.
    pub fn go_on(&mut self, place: u32, poller: &Poller) {
        let Some(Some(seat)) = self.seats.get_mut(place as usize) else { return };
        let was_sending = seat.sent < seat.closing.unsent.len();
        let over = match seat.step() {
            Stage::Over => true,
            Stage::Waiting if was_sending => poller.change(&seat.closing.stream, Token::Closing(place), For::Reading).is_err(),
            Stage::Sending | Stage::Waiting => false,
        };
        if over {
            self.end(place);
        }
    }

    /// Gives up on those that have had their time.
    pub fn tick(&mut self, now: Millis) {
        for place in 0..self.seats.len() {
            if self.seats[place].as_ref().is_some_and(|seat| seat.until <= now) {
                self.end(place as u32);
            }
        }
        if self.len() == 0 {
            (self.seats, self.free) = (Vec::new(), Vec::new());
        }
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    /// Closing the socket also ends its being watched.
    fn end(&mut self, place: u32) {
        self.seats[place as usize] = None;
        self.free.push(place);
    }
}
