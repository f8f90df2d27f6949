//! The live events, over lines that may break.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind};

use ureq::BodyReader;

use crate::client::Client;
use crate::error::Error;
use crate::models::Event;
use crate::sse::{Backoff, Parser};

/// Longest line that is read: above anything the server sends.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What happens, as it happens. A line that breaks is called again, from the last event on. Ends after an
/// error: that the first call failed, or that the server refuses (the token was removed, the device is gone).
pub struct Events {
    client: Client,
    path: String,
    last_id: Option<String>,
    line: Option<(BufReader<BodyReader<'static>>, Parser)>,
    backoff: Backoff,
    stood: bool,
    over: bool,
}

impl fmt::Debug for Events {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Events").field("path", &self.path).field("last_id", &self.last_id).finish_non_exhaustive()
    }
}

impl Events {
    pub(crate) fn new(client: Client, path: String, last_id: Option<String>) -> Events {
        Events { client, path, last_id, line: None, backoff: Backoff::default(), stood: false, over: false }
    }

    /// Calls, and again after a pause where that may help.
    fn connect(&mut self) -> Result<(), Error> {
        loop {
            if self.stood {
                std::thread::sleep(self.backoff.pause());
            }
            match self.client.live(&self.path, self.last_id.as_deref()) {
                Ok(body) => {
                    self.line = Some((BufReader::new(body.into_reader()), Parser::default()));
                    self.stood = true;
                    return Ok(());
                }
                Err(Error::Problem(problem)) if !self.stood || (problem.status < 500 && problem.status != 429) => {
                    return Err(problem.into());
                }
                Err(error) if !self.stood => return Err(error),
                Err(_) => {}
            }
        }
    }
}

impl Iterator for Events {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Result<Event, Error>> {
        while !self.over {
            let Some((lines, parser)) = &mut self.line else {
                if let Err(error) = self.connect() {
                    self.over = true;
                    return Some(Err(error));
                }
                continue;
            };
            let mut line = Vec::new();
            match std::io::Read::take(lines, LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                // A line without its end is where the stream broke.
                Ok(_) if line.last() == Some(&b'\n') => {
                    self.backoff.stood();
                    let text = String::from_utf8_lossy(&line);
                    let Some(event) = parser.line(text.trim_end_matches(['\r', '\n'])) else { continue };
                    if event.id.is_some() {
                        self.last_id.clone_from(&event.id);
                    }
                    return Some(Ok(event));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => self.line = None,
            }
        }
        None
    }
}
