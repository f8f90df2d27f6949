//! Lines that say nothing but "got it", hundreds of times a second, are read at leisure: not when each
//! acknowledgement comes, but in the first turn of the next millisecond, or two when there is none. A wake-up
//! is most of what reading four bytes costs, and nobody waits for these (`hub::Heard`). Whatever else such a
//! line says ends its leisure, and costs two milliseconds at most.
//!
//! The pulse is a timer that beats by itself. A timeout of each sleep would be set and taken back for every
//! message, which costs more than the wake-ups that it saves.

use std::time::Duration;

use contract::ConnId;
use hub::Heard;
use model::Millis;

use crate::poller::{For, Poller, Token};
use crate::shard::Shard;

/// Lines at leisure at most: each is read once a millisecond.
const AT_LEISURE_MAX: usize = 16;
/// Reads in half a second that brought nothing but acknowledgements, before a line is left to leisure.
const READS: u16 = 250;
/// Reads without anything, one after the other, that end leisure.
const SILENT_MAX: u8 = 8;
/// One read that brought more than this ends leisure: so many acknowledgements come together by themselves.
const READ_BYTES_MAX: usize = 256;
/// How long what a line says may wait.
const PATIENCE: Duration = Duration::from_millis(2);
/// Lines that are counted at once; one pushes another out.
const COUNTED: usize = 64;

/// Who is at leisure, and who may come to it.
pub(crate) struct Leisure {
    lines: Vec<AtLeisure>,
    counted: [Option<(ConnId, u16)>; COUNTED],
    looked_at: Millis,
    /// Whether the pulse beats.
    pulsing: bool,
}

#[derive(Clone, Copy)]
struct AtLeisure {
    conn: ConnId,
    silent: u8,
}

impl Default for Leisure {
    fn default() -> Leisure {
        Leisure { lines: Vec::new(), counted: [None; COUNTED], looked_at: Millis(0), pulsing: false }
    }
}

impl Leisure {
    /// Counts one read of a line that is watched. Whether it is to be left to leisure now.
    fn count(&mut self, conn: ConnId, heard: Heard) -> bool {
        let slot = &mut self.counted[conn.index as usize % COUNTED];
        if heard != Heard::Acknowledgements {
            *slot = slot.filter(|(counted, _)| *counted != conn);
            return false;
        }
        match slot {
            Some((counted, reads)) if *counted == conn => *reads = reads.saturating_add(1),
            _ => *slot = Some((conn, 1)),
        }
        slot.is_some_and(|(_, reads)| reads >= READS) && self.lines.len() < AT_LEISURE_MAX
    }

    /// A line that is watched again for another reason is at leisure no longer.
    pub fn forget(&mut self, conn: ConnId) {
        self.lines.retain(|line| line.conn != conn);
    }

    /// Half a second is over: who has not come to leisure begins anew.
    pub fn tick(&mut self) {
        self.counted = [None; COUNTED];
    }

    /// Before a sleep: it lasts no longer than those at leisure have patience.
    pub fn keep_pulse(&mut self, poller: &Poller) {
        let wanted = !self.lines.is_empty();
        if wanted != self.pulsing {
            self.pulsing = wanted;
            if let Err(error) = poller.pulse(if wanted { PATIENCE } else { Duration::ZERO }) {
                tracing::error!(%error, "cannot set a timer");
            }
        }
    }

    /// Whether it is time to look.
    fn is_due(&self, now: Millis) -> bool {
        !self.lines.is_empty() && self.looked_at != now
    }
}

impl Shard {
    /// Takes note of what a watched line's bytes were about.
    pub fn note_heard(&mut self, conn: ConnId, heard: Heard) {
        // One that is slow to read is watched for that, and must stay so.
        if self.leisure.count(conn, heard) && !self.sockets.is_clogged(conn) {
            self.leisure.lines.push(AtLeisure { conn, silent: 0 });
            self.ends.stats.left_to_leisure += 1;
            self.watch(conn, For::Nothing);
        }
    }

    /// Reads the lines at leisure, if their time has come.
    pub fn hear_at_leisure(&mut self) {
        if self.leisure.is_due(self.now) {
            self.hear_all_at_leisure();
        }
    }

    /// Reads the lines at leisure.
    pub fn hear_all_at_leisure(&mut self) {
        self.leisure.looked_at = self.now;
        let mut lines = std::mem::take(&mut self.leisure.lines);
        lines.retain_mut(|line| {
            let (count, heard) = self.read(line.conn);
            line.silent = if count == 0 { line.silent + 1 } else { 0 };
            let stays = match heard {
                Heard::Acknowledgements => count <= READ_BYTES_MAX,
                Heard::Nothing => count == 0 && line.silent < SILENT_MAX,
                Heard::More => false,
            };
            if !stays {
                self.watch(line.conn, For::Reading);
            }
            stays
        });
        self.leisure.lines = lines;
    }

    /// Watches a line's socket for something else, if it is still there.
    pub fn watch(&mut self, conn: ConnId, what: For) {
        if let Some(stream) = self.sockets.stream(conn)
            && let Err(error) = self.poller.change(stream, Token::Conn(conn), what)
        {
            tracing::error!(%error, "cannot watch a connection");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn conn(index: u32) -> ConnId {
        ConnId { index, generation: 0 }
    }

    fn count(leisure: &mut Leisure, conn: ConnId, reads: u16) -> bool {
        (0..reads).any(|_| leisure.count(conn, Heard::Acknowledgements))
    }

    #[test]
    fn who_only_acknowledges_often_comes_to_leisure() {
        let mut leisure = Leisure::default();
        assert!(!count(&mut leisure, conn(1), READS - 1));
        assert!(count(&mut leisure, conn(1), 1));
    }

    #[test]
    fn one_other_word_or_half_a_second_begins_anew() {
        let mut leisure = Leisure::default();
        for heard in [Heard::More, Heard::Nothing] {
            assert!(!count(&mut leisure, conn(1), READS - 1));
            assert!(!leisure.count(conn(2 + COUNTED as u32), Heard::More), "of somebody else");
            assert!(!leisure.count(conn(1), heard));
            assert!(!count(&mut leisure, conn(1), READS - 1));
            leisure.tick();
        }
        assert!(!count(&mut leisure, conn(1), READS - 1));
    }

    #[test]
    fn leisure_has_places_for_some() {
        let lines = (0..AT_LEISURE_MAX as u32).map(|index| AtLeisure { conn: conn(index), silent: 0 }).collect();
        let mut leisure = Leisure { lines, ..Leisure::default() };
        assert!(!count(&mut leisure, conn(100), READS * 2));
        leisure.forget(conn(3));
        assert!(count(&mut leisure, conn(100), 1));
    }
}
