//! The checksums that SQLite keeps in its write-ahead log. SQLite itself looks at them only when it opens a
//! log that was left behind; here every frame is held against its sum when it is read, so that what the
//! disk changed meanwhile is not folded into the database as if it were true.

use std::collections::HashMap;
use std::io::{self, Read};

use super::sums::{PAGE_BYTES, Page};

/// Bytes of the log's header, and of the header of each frame.
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// Whether `page`, read from the log at `at`, is what was written there. `read` fills a part of the log.
/// A frame's sum goes on from that of the frame before it, or from that of the log's header.
pub(crate) fn frame_fits(page: &[u8], at: i64, mut read: impl FnMut(&mut [u8], i64) -> bool) -> bool {
    let frame_at = at - FRAME_HEADER_BYTES as i64;
    let first = frame_at <= HEADER_BYTES as i64;
    let before_at = if first { 24 } else { frame_at - page.len() as i64 - 8 };
    let (mut magic, mut before, mut header) = ([0; 4], [0; 8], [0; FRAME_HEADER_BYTES]);
    if !(read(&mut magic, 0) && read(&mut before, before_at) && read(&mut header, frame_at)) {
        return false;
    }
    let words = Words { big_endian: magic[3] & 1 == 1 };
    let sum = words.sum(words.sum(stored(&before), &header[..8]), page);
    sum == stored(&header[16..])
}

/// What the finished transactions of a log have left in it.
#[derive(Default)]
pub(crate) struct Committed {
    /// The newest state of each page.
    pub(crate) pages: HashMap<u32, Box<Page>>,
    /// How many pages the database has after the last of them.
    pub(crate) database_pages: Option<u32>,
    /// Whether the log goes on behind a frame that does not fit. A crash can tear the last transaction,
    /// which nobody was told of; but a frame that follows the end of a transaction was written after that
    /// transaction was synced, and so what does not fit before it was changed by the disk.
    pub(crate) damaged: bool,
}

/// Reads a log that nobody writes to.
pub(crate) fn committed(log: &[u8]) -> Committed {
    let mut found = Committed::default();
    let mut unfinished: Vec<(u32, Box<Page>)> = Vec::new();
    let walk = walk(log, |number, end, page| {
        unfinished.push((number, Box::new(*page)));
        if end > 0 {
            found.database_pages = Some(end);
            found.pages.extend(unfinished.drain(..));
        }
    });
    // Reading from memory does not fail.
    found.damaged = walk.unwrap_or(true);
    found
}

/// Whether a log goes on behind a frame that does not fit; see [`Committed::damaged`].
pub(crate) fn is_damaged(log: impl Read) -> io::Result<bool> {
    walk(log, |_, _, _| {})
}

/// Shows every frame that fits, up to the first that does not: its page's number, the size of the database
/// if a transaction ends with it, and the page. Whether the log is damaged.
fn walk(mut log: impl Read, mut each: impl FnMut(u32, u32, &Page)) -> io::Result<bool> {
    let (mut header, mut frame) = ([0; HEADER_BYTES], vec![0; FRAME_HEADER_BYTES + PAGE_BYTES]);
    if !fill(&mut log, &mut header)? {
        return Ok(false);
    }
    let words = Words { big_endian: header[3] & 1 == 1 };
    let mut sum = words.sum((0, 0), &header[..24]);
    let mut fits = header[..3] == [0x37, 0x7F, 0x06] && sum == stored(&header[24..]);
    // Salts change with every new round of the log: what is left of an older round is no part of this.
    let mut salts = fits.then(|| header[16..24].to_vec());
    let (mut damaged, mut ended_behind) = (false, false);
    while fill(&mut log, &mut frame)? {
        let (about, page) = frame.split_at(FRAME_HEADER_BYTES);
        let Ok(page) = <&Page>::try_from(page) else { break };
        // Of a header that is damaged the first frame tells the salts.
        if about[8..16] != **salts.get_or_insert_with(|| about[8..16].to_vec()) {
            fits = false;
            continue;
        }
        let end = big(&about[4..8]);
        if fits {
            sum = words.sum(words.sum(sum, &about[..8]), page);
            fits = sum == stored(&about[16..]);
        }
        if fits {
            each(big(&about[..4]), end, page);
        } else {
            damaged |= ended_behind;
            ended_behind |= end > 0;
        }
    }
    Ok(damaged)
}

/// Fills `into`; false where there is not so much left.
fn fill(log: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(into) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

/// Two numbers as the log stores them, whatever the order of its words.
fn stored(bytes: &[u8]) -> (u32, u32) {
    (big(&bytes[..4]), big(&bytes[4..8]))
}

fn big(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The order in which a log's sums read their words: that of the machine that made the log.
struct Words {
    big_endian: bool,
}

impl Words {
    /// The log's running sum, carried on over `bytes`.
    fn sum(&self, from: (u32, u32), bytes: &[u8]) -> (u32, u32) {
        let word = |word: &[u8; 4]| if self.big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) };
        let mut words = bytes.as_chunks::<4>().0.iter().map(word);
        let (mut a, mut b) = from;
        while let (Some(x), Some(y)) = (words.next(), words.next()) {
            a = a.wrapping_add(x).wrapping_add(b);
            b = b.wrapping_add(y).wrapping_add(a);
        }
        (a, b)
    }
}
