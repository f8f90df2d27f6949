//! SQLite's pages as they lie on disk, read without SQLite: cells of a b-tree page, records, the map of
//! parents. For what SQLite refuses to read, because a page on its way is damaged. Every byte here may be
//! wrong: what does not fit is `None`, nothing panics, nothing loops.

use rusqlite::types::Value;

use super::sums::{PAGE_BYTES, Page};

/// Longest record that is believed: SQLite's own limit.
const RECORD_BYTES_MAX: usize = 1_000_000_000;

/// What a page of a b-tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    InnerIndex,
    InnerTable,
    LeafIndex,
    LeafTable,
}

impl Kind {
    pub(crate) fn is_inner(self) -> bool {
        matches!(self, Kind::InnerIndex | Kind::InnerTable)
    }

    pub(crate) fn is_index(self) -> bool {
        matches!(self, Kind::InnerIndex | Kind::LeafIndex)
    }
}

/// A cell of a b-tree page.
#[derive(Debug)]
pub(crate) struct Cell {
    /// The child before it, on an inner page.
    pub(crate) left: Option<u32>,
    /// Its key, in a table's tree.
    pub(crate) rowid: Option<i64>,
    /// Its record, unless it is an inner table's.
    pub(crate) payload: Option<Payload>,
}

/// A record: what of it lies on the page, and where the rest begins.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: usize,
    pub(crate) local: Vec<u8>,
    pub(crate) overflow: Option<u32>,
}

/// A b-tree page, taken apart.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) cells: Vec<Cell>,
    /// The last child of an inner page.
    pub(crate) right: Option<u32>,
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?)))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number of one to nine bytes, and how many they were.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0u64;
    for (n, byte) in bytes.iter().take(9).enumerate() {
        if n == 8 {
            return Some((number << 8 | u64::from(*byte), 9));
        }
        number = number << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Some((number, n + 1));
        }
    }
    None
}

/// Takes the b-tree page with this number apart; `usable` bytes of it are SQLite's.
pub(crate) fn node(page: &Page, number: u32, usable: usize) -> Option<Node> {
    // The first page begins with the database's header.
    let at = if number == 1 { 100 } else { 0 };
    let kind = match page[at] {
        2 => Kind::InnerIndex,
        5 => Kind::InnerTable,
        10 => Kind::LeafIndex,
        13 => Kind::LeafTable,
        _ => return None,
    };
    let count = u16_at(page, at + 3)?;
    let (right, pointers) = if kind.is_inner() { (u32_at(page, at + 8), at + 12) } else { (None, at + 8) };
    let cell_at = |n| cell(page.get(u16_at(page, pointers + 2 * n)?..usable)?, kind, usable);
    let cells = (0..count).map(cell_at).collect::<Option<Vec<_>>>()?;
    Some(Node { kind, cells, right })
}

fn cell(mut bytes: &[u8], kind: Kind, usable: usize) -> Option<Cell> {
    let left = if kind.is_inner() { Some(u32_at(bytes, 0)?) } else { None };
    bytes = bytes.get(left.map_or(0, |_| 4)..)?;
    let mut number = || {
        let (number, length) = varint(bytes)?;
        bytes = bytes.get(length..)?;
        Some(number)
    };
    if kind == Kind::InnerTable {
        return Some(Cell { left, rowid: Some(number()? as i64), payload: None });
    }
    let length = usize::try_from(number()?).ok().filter(|length| *length <= RECORD_BYTES_MAX)?;
    let rowid = if kind == Kind::LeafTable { Some(number()? as i64) } else { None };
    let (local, overflows) = split(length, kind, usable);
    let overflow = if overflows { Some(u32_at(bytes, local)?) } else { None };
    let payload = Payload { bytes: length, local: bytes.get(..local)?.to_vec(), overflow };
    Some(Cell { left, rowid, payload: Some(payload) })
}

/// How much of a record stays on its page, and whether there is more elsewhere.
fn split(length: usize, kind: Kind, usable: usize) -> (usize, bool) {
    let most = if kind == Kind::LeafTable { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
    if length <= most {
        return (length, false);
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let fitting = least + (length - least) % (usable - 4);
    (if fitting <= most { fitting } else { least }, true)
}

/// The columns of a record.
pub(crate) fn record(bytes: &[u8]) -> Option<Vec<Value>> {
    let (header, length) = varint(bytes)?;
    let header = usize::try_from(header).ok()?;
    let mut types = bytes.get(length..header)?;
    let mut body = bytes.get(header..)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        let (kind, length) = varint(types)?;
        types = &types[length..];
        let bytes = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            more => usize::try_from((more - 12) / 2).ok()?,
        };
        let (value, rest) = body.split_at_checked(bytes)?;
        body = rest;
        values.push(match kind {
            0 => Value::Null,
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            7 => Value::Real(f64::from_be_bytes(value.try_into().ok()?)),
            1..=6 => Value::Integer(integer(value)),
            text if text % 2 == 1 => Value::Text(String::from_utf8(value.to_vec()).ok()?),
            _ => Value::Blob(value.to_vec()),
        });
    }
    Some(values)
}

/// A big-endian number with a sign, of as many bytes as there are.
fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    bytes.iter().fold(if negative { -1 } else { 0 }, |number, byte| number << 8 | i64::from(*byte))
}

/// Where the parent of page `number` is written: the page of the map, and the place on it.
pub(crate) fn parent_at(number: u32, usable: usize) -> Option<(u32, usize)> {
    let per_map = usable as u32 / 5 + 1;
    let mut map = number.checked_sub(2)? / per_map * per_map + 2;
    if map == lock_page() {
        map += 1;
    }
    // A page of the map has no parent.
    Some((map, 5 * number.checked_sub(map + 1)? as usize))
}

/// The page that SQLite never uses, because its locks lie there.
pub(crate) const fn lock_page() -> u32 {
    (0x4000_0000 / PAGE_BYTES + 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length() {
        for (bytes, want) in [
            (&[0x7F][..], Some((127, 1))),
            (&[0x81, 0x00], Some((128, 2))),
            (&[0xFF; 9], Some((u64::MAX, 9))),
            (&[0x80], None),
            (&[], None),
        ] {
            assert_eq!(varint(bytes), want, "{bytes:?}");
        }
        assert_eq!((integer(&[0xFF, 0xFE]), integer(&[0x01, 0x00]), integer(&[])), (-2, 256, 0));
    }

    #[test]
    fn a_record_of_every_type() {
        let bytes = [8, 0, 1, 7, 9, 15, 18, 4, 0xFE, 0x40, 0x09, 0x21, 0xFB, 0x54, 0x44, 0x2D, 0x18, b'a', 1, 2, 3, 0, 0, 1, 0];
        let pi = Value::Real(std::f64::consts::PI);
        let want = [
            Value::Null,
            Value::Integer(-2),
            pi,
            Value::Integer(1),
            Value::Text("a".into()),
            Value::Blob(vec![1, 2, 3]),
            Value::Integer(256),
        ];
        assert_eq!(record(&bytes).unwrap(), want);
        assert_eq!(record(&bytes[..20]), None);
    }

    #[test]
    fn no_page_makes_it_panic() {
        arbtest::arbtest(|u| {
            let mut page = [0; PAGE_BYTES];
            u.fill_buffer(&mut page)?;
            page[0] = *u.choose(&[2, 5, 10, 13])?;
            if let Some(node) = node(&page, 2, PAGE_BYTES - 12) {
                for payload in node.cells.iter().filter_map(|cell| cell.payload.as_ref()) {
                    let _ = record(&payload.local);
                }
            }
            let _ = record(&page);
            let _ = parent_at(u.arbitrary()?, PAGE_BYTES - 12);
            Ok(())
        })
        .size_min(PAGE_BYTES as u32 + 64);
    }
}
