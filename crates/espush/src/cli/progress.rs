//! How far a long command is: a bar with bytes and the time left on a terminal, a plain line for each tenth
//! where nobody watches. On stderr, so that stdout stays what the command has to say.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Cells of the bar.
const CELLS: u64 = 30;
/// How often the bar is drawn: more would only flicker.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// One command's progress, step after step.
pub struct Progress {
    what: &'static str,
    begun: Instant,
    drawn: Option<Instant>,
    tenths: u64,
    terminal: bool,
    unit: fn(u64) -> String,
}

impl Progress {
    /// For a command that calls its first step `what`.
    pub fn new(what: &'static str) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        Progress { what, begun: Instant::now(), drawn: None, tenths: 0, terminal, unit: size }
    }

    /// For a step `what` that counts something else than bytes, and only for somebody who watches.
    pub fn counting(what: &'static str, unit: fn(u64) -> String) -> Option<Progress> {
        let progress = Progress { unit, ..Progress::new(what) };
        progress.terminal.then_some(progress)
    }

    /// What the step is called.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Tells how many bytes, or what is counted, of how many are done. One that goes back has begun its next step.
    pub fn tell(&mut self, done: u64, of: u64) {
        let tenths = (done * 10).checked_div(of).unwrap_or(10);
        if self.terminal {
            let whole = done == of;
            if whole || self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY) {
                self.drawn = Some(Instant::now());
                let line = format!(
                    "\r{}\u{1b}[K{}",
                    bar(self.what, done, of, self.unit, self.begun.elapsed()),
                    if whole { "\n" } else { "" }
                );
                // A terminal that went away is no reason to stop.
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
        } else if tenths > self.tenths {
            eprintln!("espush: {} {}0 % of {}", self.what, tenths, (self.unit)(of));
        }
        self.tenths = tenths;
        if done == of {
            (self.begun, self.tenths) = (Instant::now(), 0);
        }
    }
}

fn bar(what: &str, done: u64, of: u64, unit: fn(u64) -> String, took: Duration) -> String {
    let full = (done * CELLS).checked_div(of).unwrap_or(CELLS).min(CELLS) as usize;
    let cells = format!("{}{}", "#".repeat(full), "-".repeat(CELLS as usize - full));
    let left = match done {
        0 => String::new(),
        _ => format!(", {} left", time((took.as_secs_f64() * of.saturating_sub(done) as f64 / done as f64).ceil() as u64)),
    };
    format!("{what} [{cells}] {} of {}{left}", unit(done), unit(of))
}

/// Bytes as people read them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_bytes_and_time() {
        let mib = 1024 * 1024;
        assert_eq!(
            bar("copying", 10 * mib, 40 * mib, size, Duration::from_secs(5)),
            "copying [#######-----------------------] 10.0 MiB of 40.0 MiB, 15 s left"
        );
        assert_eq!(bar("copying", 0, 0, size, Duration::ZERO), format!("copying [{}] 0 B of 0 B", "#".repeat(30)));
        assert_eq!((time(61), time(3720), size(2048)), ("1:01 min".into(), "1:02 h".into(), "2 KiB".into()));
    }
}
