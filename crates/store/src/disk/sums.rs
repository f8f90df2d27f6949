//! The checksum of a page: XXH3-64 over the page and its number, in the last bytes of the page, which
//! SQLite leaves alone because the database reserves them. The number is counted in so that a page which
//! the disk wrote to the wrong place is found too; a page of zeros never fits.
//!
//! SQLite's own checksum extension does the same with 8 bytes and weaker sums, to which zeroed and
//! misplaced pages look right. Our 12 keep its readers from taking our sums for theirs.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of every page, in every database of ours.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Bytes at the end of a page that are not SQLite's: the mark and the checksum.
pub(crate) const RESERVED_BYTES: usize = MARK.len() + 8;
/// Where the database's header tells how many bytes of each page are reserved.
pub(crate) const HEADER_RESERVED_AT: usize = 20;

const MARK: [u8; 4] = *b"esp1";
const SUMMED_BYTES: usize = PAGE_BYTES - 8;

/// A page as it lies on disk.
pub(crate) type Page = [u8; PAGE_BYTES];

/// Puts mark and checksum into the page with this number (the first is 1).
pub(crate) fn seal(page: &mut Page, number: u64) {
    page[PAGE_BYTES - RESERVED_BYTES..SUMMED_BYTES].copy_from_slice(&MARK);
    let sum = sum(page, number);
    page[SUMMED_BYTES..].copy_from_slice(&sum);
}

/// Whether the page is what was sealed under this number.
pub(crate) fn fits(page: &Page, number: u64) -> bool {
    page[PAGE_BYTES - RESERVED_BYTES..SUMMED_BYTES] == MARK && page[SUMMED_BYTES..] == sum(page, number)
}

fn sum(page: &Page, number: u64) -> [u8; 8] {
    xxh3_64_with_seed(&page[..SUMMED_BYTES], number).to_be_bytes()
}

/// Whether a file that begins with these bytes keeps checksums. The header says so; but the header may be
/// what is damaged, and then it must not turn the checks off: a sealed page among the first tells.
pub(crate) fn kept(begin: &[u8]) -> bool {
    let said = begin.get(HEADER_RESERVED_AT).is_none_or(|bytes| usize::from(*bytes) == RESERVED_BYTES);
    said || begin.as_chunks::<PAGE_BYTES>().0.iter().zip(1..).any(|(page, number)| fits(page, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = std::array::from_fn(|at| at as u8);
        seal(&mut page, 7);
        page
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let good = page();
        assert!(fits(&good, 7));
        for bit in 0..PAGE_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!fits(&bad, 7), "bit {bit}");
        }
    }

    #[test]
    fn torn_zeroed_and_misplaced_pages_are_found() {
        let good = page();
        assert!(!fits(&good, 8), "in another page's place");
        assert!(!fits(&[0; PAGE_BYTES], 7));
        let mut newer = good;
        newer[..PAGE_BYTES / 2].fill(9);
        seal(&mut newer, 7);
        for sector in 1..8 {
            let mut torn = good;
            torn[..sector * 512].copy_from_slice(&newer[..sector * 512]);
            assert!(!fits(&torn, 7), "{sector} sectors of the newer page");
        }
    }

    #[test]
    fn a_damaged_header_does_not_turn_the_checks_off() {
        let mut first = [0; PAGE_BYTES];
        first[HEADER_RESERVED_AT] = RESERVED_BYTES as u8;
        seal(&mut first, 1);
        assert!(kept(&first) && kept(&[]));
        let mut second = [1; PAGE_BYTES];
        seal(&mut second, 2);
        first[HEADER_RESERVED_AT] = 0;
        assert!(kept(&[first, second].concat()));
        assert!(!kept(&[first, [1; PAGE_BYTES]].concat()), "made before checksums were kept");
    }
}
