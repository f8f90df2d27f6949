//! A board's life on a real socket: connect, play, come back after trouble with growing patience. One
//! task a board; while nothing happens it holds no buffers, so that ten thousand fit in one process.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::board::Board;
use crate::fleet::Plan;
use crate::tally::Tally;
use crate::wire::{Ended, Told, Wire};

/// How long the server may take to accept and to let the board in.
const LOGIN: Duration = Duration::from_secs(20);
/// Patience after the first failure; it doubles up to the longest.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_MAX: Duration = Duration::from_secs(30);

/// Plays board `index` until `stop` says so.
pub(crate) async fn play(plan: Arc<Plan>, index: u32, tally: Arc<Tally>, mut stop: watch::Receiver<bool>) {
    let mut board = Board::new(plan.seed.wrapping_add(u64::from(index)));
    let mut patience = PATIENCE;
    while !*stop.borrow() {
        let connected = tokio::select! {
            connected = timeout(LOGIN, TcpStream::connect(&plan.server)) => connected,
            () = told_to_stop(&mut stop) => return,
        };
        let mut logged_in = false;
        let ended = match connected {
            Ok(Ok(stream)) => {
                let mut wire = plan.wire(index);
                let mut line = Line::new(&stream, wire.as_mut(), &mut board, &plan, &tally);
                let ended = line.hold(&mut stop).await;
                logged_in = line.online.is_some();
                ended
            }
            Ok(Err(error)) => Ended::Broken(format!("cannot reach {}: {error}", plan.server)),
            Err(_) => Ended::Broken(format!("{} does not answer", plan.server)),
        };
        if logged_in {
            patience = PATIENCE;
        }
        match ended {
            Ended::Stopped => return,
            Ended::Restart => board.restart(),
            Ended::Refused(why) => {
                tally.refused(why);
                patience = PATIENCE_MAX;
            }
            Ended::Broken(why) => tally.broken(why),
        }
        // Spread by board, so that a fleet does not come back in one instant after the server's restart.
        let jitter = patience.mul_f64(f64::from(index % 16) / 32.0);
        tokio::select! {
            () = sleep(patience + jitter) => {}
            () = told_to_stop(&mut stop) => return,
        }
        patience = (patience * 2).min(PATIENCE_MAX);
    }
}

/// Done when the fleet stops, or is gone.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// One connection.
struct Line<'a> {
    stream: &'a TcpStream,
    wire: &'a mut dyn Wire,
    board: &'a mut Board,
    plan: &'a Plan,
    tally: &'a Tally,
    tail: Vec<u8>,
    out: Vec<u8>,
    clock: Instant,
    online: Option<crate::tally::Online<'a>>,
    beat_at: Instant,
    upload_at: Option<Instant>,
}

impl<'a> Line<'a> {
    fn new(stream: &'a TcpStream, wire: &'a mut dyn Wire, board: &'a mut Board, plan: &'a Plan, tally: &'a Tally) -> Line<'a> {
        let now = Instant::now();
        let mut out = Vec::new();
        wire.hello(board, &mut out);
        let beat_at = now + LOGIN; // until the login, this is its deadline
        Line { stream, wire, board, plan, tally, tail: vec![], out, clock: now, online: None, beat_at, upload_at: None }
    }

    /// Holds the line until it ends.
    async fn hold(&mut self, stop: &mut watch::Receiver<bool>) -> Ended {
        let _ = self.stream.set_nodelay(true);
        loop {
            if let Err(error) = self.write() {
                return Ended::Broken(error.to_string());
            }
            let interest = if self.out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            let next = self.upload_at.map_or(self.beat_at, |at| at.min(self.beat_at));
            let turn = tokio::select! {
                ready = self.stream.ready(interest) => match ready {
                    Ok(ready) if ready.is_readable() || ready.is_read_closed() => self.read(),
                    Ok(_) => Ok(()),
                    Err(error) => Err(Ended::Broken(error.to_string())),
                },
                () = sleep_until(next) => self.wake(),
                () = told_to_stop(stop) => {
                    self.wire.goodbye(&mut self.out);
                    Err(Ended::Stopped)
                }
            };
            if let Err(ended) = turn {
                let _ = self.write(); // the last words, as far as the socket takes them at once
                return ended;
            }
        }
    }

    fn read(&mut self) -> Result<(), Ended> {
        let broken = |error: io::Error| Ended::Broken(error.to_string());
        let mut buffer = [0; 4096];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => return Err(Ended::Broken("the server closed the line".to_owned())),
            Ok(count) => self.tail.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(broken(error)),
        }
        self.age();
        let mut told = Told::default();
        let input = std::mem::take(&mut self.tail);
        let used = self.wire.on_bytes(self.board, &input, &mut self.out, &mut told);
        self.tally.told(&told);
        if told.logged_in && self.online.is_none() {
            self.online = Some(self.tally.online());
            self.beat_at = Instant::now() + self.wire.heartbeat();
            if let Some(every) = self.plan.upload_every {
                self.wire.upload(self.board, &mut self.out);
                self.upload_at = Some(Instant::now() + every);
            }
        }
        self.tail = input.get(used?..).unwrap_or_default().to_vec();
        Ok(())
    }

    /// The next thing is due.
    fn wake(&mut self) -> Result<(), Ended> {
        self.age();
        let now = Instant::now();
        if now >= self.beat_at {
            if self.online.is_none() {
                return Err(Ended::Broken("the server does not answer the login".to_owned()));
            }
            self.wire.beat(&mut self.out)?;
            self.beat_at = now + self.wire.heartbeat();
        }
        if let (Some(at), Some(every)) = (self.upload_at, self.plan.upload_every)
            && now >= at
        {
            self.wire.upload(self.board, &mut self.out);
            self.upload_at = Some(now + every);
        }
        Ok(())
    }

    /// The board's own time goes on.
    fn age(&mut self) {
        let passed_ms = self.clock.elapsed().as_millis() as u64;
        self.board.pass(passed_ms);
        self.clock += Duration::from_millis(passed_ms);
    }

    /// Writes what the socket takes now; the rest stays.
    fn write(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out = Vec::new(); // an idle board holds no buffer
        Ok(())
    }
}
