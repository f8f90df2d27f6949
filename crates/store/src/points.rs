//! Points on disk: one row each, in the order device, stream, time. A device's series lie together, so
//! that a range is one walk and the newest value one step. Retention and compression are not here yet.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use contract::store::{Later, Latest, NewestOf, Page, PointQuery, Points, StoreError};
use model::{DeviceNumber, Point, UnixMs, Value, limits};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};

use crate::Store;
use crate::rows::list;
use crate::trouble::{Outcome, Trouble, damaged};

/// A stream's number within its device.
type Stream = i64;

impl Points for Store {
    fn append(&self, points: Vec<Point>) -> Later<()> {
        self.writer.grow(move |db| {
            let mut known: HashMap<(DeviceNumber, &str), Option<Stream>> = HashMap::new();
            let mut insert =
                db.prepare_cached("INSERT OR REPLACE INTO points (device, stream, at, value) VALUES (?1, ?2, ?3, ?4)")?;
            for point in &points {
                let name = (point.device, point.stream.as_str());
                let stream = match known.get(&name) {
                    Some(stream) => *stream,
                    None => *known.entry(name).or_insert(stream_for(db, point.device, &point.stream)?),
                };
                // Points of a device that was removed meanwhile go with it.
                let Some(stream) = stream else { continue };
                insert.execute(params![point.device.0, stream, point.at.0, to_sql(&point.value)?])?;
            }
            Ok(())
        })
    }

    fn points(&self, query: PointQuery) -> Later<Page<Point>> {
        self.reader.read(move |db| {
            let after = query.cursor.as_deref().map(parse_cursor).transpose()?;
            let mut streams = streams_of(db, query.device)?;
            if let Some(wanted) = &query.stream {
                streams.retain(|(_, name)| name == wanted);
            }
            merge(db, &query, &streams, after)
        })
    }

    fn latest(&self, device: DeviceNumber) -> Later<Vec<Latest>> {
        self.reader.read(move |db| {
            let mut newest =
                db.prepare_cached("SELECT at, value FROM points WHERE device = ?1 AND stream = ?2 ORDER BY at DESC LIMIT 1")?;
            let mut found = Vec::new();
            for (stream, name) in streams_of(db, device)? {
                let mut rows = newest.query(params![device.0, stream])?;
                if let Some(row) = rows.next()? {
                    let value = from_sql(row.get_ref(1)?)?;
                    found.push(Latest { stream: name, at: UnixMs(row.get(0)?), value });
                }
            }
            Ok(found)
        })
    }

    fn newest_of(&self, stream: String, after: Option<DeviceNumber>, limit: usize) -> Later<Vec<NewestOf>> {
        self.reader.read(move |db| {
            // Removed devices may still have points; whoever asks knows which devices there are.
            let sql = "SELECT points.device, at, value FROM streams CROSS JOIN points
                       ON points.device = streams.device AND points.stream = streams.stream AND at =
                           (SELECT max(at) FROM points AS all_of WHERE all_of.device = streams.device AND all_of.stream = streams.stream)
                       WHERE streams.device > ?1 AND streams.name = ?2 ORDER BY streams.device LIMIT ?3";
            let after = after.map_or(-1, |number| i64::from(number.0));
            list(db, sql, &[&after, &stream, &i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                let value = from_sql(row.get_ref(2)?)?;
                Ok(NewestOf { device: DeviceNumber(row.get(0)?), at: UnixMs(row.get(1)?), value })
            })
        })
    }

    fn streams(&self, device: DeviceNumber) -> Later<Vec<String>> {
        self.reader.read(move |db| Ok(streams_of(db, device)?.into_iter().map(|(_, name)| name).collect()))
    }
}

/// Deletes some points of a removed device, and its streams with the last of them. Whether there is more.
/// Works without the device's row: numbers are never given twice, so nobody else's points are met.
pub(crate) fn purge(db: &Connection) -> Outcome<bool> {
    let removed: Option<i64> =
        db.prepare_cached("SELECT device FROM removed LIMIT 1")?.query_row([], |row| row.get(0)).optional()?;
    let Some(device) = removed else { return Ok(false) };
    let deleted = db
        .prepare_cached(
            "DELETE FROM points WHERE (device, stream, at) IN
             (SELECT device, stream, at FROM points WHERE device = ?1 LIMIT ?2)",
        )?
        .execute(params![device, limits::STORE_PURGE_ROWS_MAX as i64])?;
    if deleted < limits::STORE_PURGE_ROWS_MAX {
        db.prepare_cached("DELETE FROM streams WHERE device = ?1")?.execute([device])?;
        db.prepare_cached("DELETE FROM removed WHERE device = ?1")?.execute([device])?;
    }
    Ok(true)
}

/// The number of a stream, given now if it is new. `None` when there is no such device.
fn stream_for(db: &Connection, device: DeviceNumber, name: &str) -> Outcome<Option<Stream>> {
    let known: Option<Stream> = db
        .prepare_cached(
            "SELECT stream FROM streams WHERE device = ?1 AND name = ?2 AND EXISTS (SELECT 1 FROM devices WHERE number = ?1)",
        )?
        .query_row(params![device.0, name], |row| row.get(0))
        .optional()?;
    if known.is_some() {
        return Ok(known);
    }
    let given = db
        .prepare_cached(
            "INSERT INTO streams (device, stream, name)
             SELECT ?1, (SELECT coalesce(max(stream), 0) + 1 FROM streams WHERE device = ?1), ?2
             WHERE EXISTS (SELECT 1 FROM devices WHERE number = ?1) RETURNING stream",
        )?
        .query_row(params![device.0, name], |row| row.get(0))
        .optional()?;
    Ok(given)
}

/// A device's streams by name; none for a device that is not in the registry, whose points may still
/// be waiting to be purged.
fn streams_of(db: &Connection, device: DeviceNumber) -> Outcome<Vec<(Stream, String)>> {
    let sql = "SELECT stream, streams.name FROM streams JOIN devices ON number = device WHERE device = ?1 ORDER BY streams.name";
    list(db, sql, &[&device.0], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// A page over several streams, oldest first: one walk a stream, all of them advanced together, so that
/// a page costs its own rows and one row a stream, however many points there are.
fn merge(
    db: &Connection,
    query: &PointQuery,
    streams: &[(Stream, String)],
    after: Option<(i64, Stream)>,
) -> Outcome<Page<Point>> {
    let sql = "SELECT at, value FROM points WHERE device = ?1 AND stream = ?2 AND at >= ?3 AND at < ?4 ORDER BY at";
    let from = query.from.map_or(i64::MIN, |at| at.0);
    let to = query.to.map_or(i64::MAX, |at| at.0);
    let mut walks = streams.iter().map(|_| db.prepare(sql)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::with_capacity(walks.len());
    // Earliest first, equal times by the stream's number: the order that the cursor names.
    let mut heads = BinaryHeap::with_capacity(walks.len());
    for (place, (walk, (stream, _))) in walks.iter_mut().zip(streams).enumerate() {
        let begin = match after {
            Some((at, last)) if *stream <= last => at.saturating_add(1),
            Some((at, _)) => at,
            None => i64::MIN,
        };
        let mut walk = walk.query(params![query.device.0, stream, from.max(begin), to])?;
        if let Some(row) = walk.next()? {
            heads.push(Reverse((row.get::<_, i64>(0)?, *stream, place, Shown(from_sql(row.get_ref(1)?)?))));
        }
        rows.push(walk);
    }
    let mut page = Page { items: Vec::new(), next: None };
    let mut last = None;
    while let Some(Reverse((at, stream, place, Shown(value)))) = heads.pop() {
        if page.items.len() == query.limit {
            page.next = last.map(|(at, stream)| format!("{at}.{stream}"));
            break;
        }
        last = Some((at, stream));
        page.items.push(Point { device: query.device, stream: streams[place].1.clone(), at: UnixMs(at), value });
        if let Some(row) = rows[place].next()? {
            heads.push(Reverse((row.get::<_, i64>(0)?, stream, place, Shown(from_sql(row.get_ref(1)?)?))));
        }
    }
    Ok(page)
}

/// A value that rides in the heap and does not count in its order.
struct Shown(Value);

impl PartialEq for Shown {
    fn eq(&self, _: &Shown) -> bool {
        true
    }
}

impl Eq for Shown {}

impl PartialOrd for Shown {
    fn partial_cmp(&self, other: &Shown) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Shown {
    fn cmp(&self, _: &Shown) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

fn parse_cursor(text: &str) -> Outcome<(i64, Stream)> {
    let parsed = text.split_once('.').and_then(|(at, stream)| Some((at.parse().ok()?, stream.parse().ok()?)));
    parsed.ok_or(Trouble(StoreError::BadCursor))
}

fn to_sql(value: &Value) -> Outcome<ToSqlOutput<'_>> {
    Ok(match value {
        Value::Bool(truth) => ToSqlOutput::from(i64::from(*truth)),
        // SQLite would make NULL of a NaN.
        Value::Number(number) if number.is_finite() => ToSqlOutput::from(*number),
        Value::Number(_) => return Err(Trouble(StoreError::Engine("a point must be a finite number".to_owned()))),
        Value::Text(text) => ToSqlOutput::from(text.as_str()),
    })
}

fn from_sql(value: ValueRef<'_>) -> Outcome<Value> {
    match value {
        ValueRef::Real(number) => Ok(Value::Number(number)),
        ValueRef::Integer(truth @ (0 | 1)) => Ok(Value::Bool(truth == 1)),
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).map(Value::Text).map_err(|_| damaged("a point is not UTF-8")),
        _ => Err(damaged("a point is neither number, text nor truth value")),
    }
}
