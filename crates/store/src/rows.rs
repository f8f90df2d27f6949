//! Rows into values and pages, and the counters that outlive what they counted.

use contract::store::{Page, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use crate::trouble::{Outcome, Trouble, damaged};

/// Every row of a question, read by `each`.
pub(crate) fn list<T>(
    db: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    each: impl Fn(&Row<'_>) -> Outcome<T>,
) -> Outcome<Vec<T>> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(each(row)?);
    }
    Ok(items)
}

/// What to ask for when `limit` rows are wanted: one more tells whether there is a next page.
pub(crate) fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// The page of what [`one_more`] brought.
pub(crate) fn page<T>(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(cursor) } else { None };
    Page { items, next }
}

/// SQLite's integers have a sign. Numbers that we count up never reach it.
pub(crate) fn signed(number: u64) -> Outcome<i64> {
    i64::try_from(number).map_err(|_| Trouble(StoreError::Engine(format!("the number {number} is too large"))))
}

/// The highest number given of a kind, 0 when none was.
pub(crate) fn last_given<N: TryFrom<i64>>(db: &Connection, kind: &str) -> Outcome<N> {
    let last: Option<i64> =
        db.prepare_cached("SELECT last FROM counters WHERE kind = ?1")?.query_row([kind], |row| row.get(0)).optional()?;
    N::try_from(last.unwrap_or(0)).map_err(|_| damaged(format_args!("the counter {kind} is out of its range")))
}

/// Remembers that `number` was given, whatever becomes of what bears it.
pub(crate) fn give(db: &Connection, kind: &str, number: i64) -> Outcome<()> {
    let sql = "INSERT INTO counters (kind, last) VALUES (?1, ?2)
               ON CONFLICT (kind) DO UPDATE SET last = max(last, excluded.last)";
    db.prepare_cached(sql)?.execute(params![kind, number])?;
    Ok(())
}
