//! Twins on disk: one row each, both parts whole, because they are read and written whole. The changes beside
//! it are bounded: each one that is written takes those with it that are too many.

use contract::store::{Later, Page, StoredPart, StoredTwin, TwinChange, Twins};
use model::{DeviceNumber, TwinPart, UnixMs, limits};
use rusqlite::{Row, params};

use crate::Store;
use crate::rows::{list, one_more, page, signed};
use crate::trouble::{Outcome, damaged};

impl Twins for Store {
    fn twins_owed(&self) -> Later<Vec<(DeviceNumber, u64)>> {
        self.reader.read(|db| {
            let sql = "SELECT device, desired_version FROM twins WHERE owed ORDER BY device";
            list(db, sql, &[], |row| Ok((DeviceNumber(row.get(0)?), number(row.get(1)?)?)))
        })
    }

    fn twins(&self, devices: Vec<DeviceNumber>) -> Later<Vec<StoredTwin>> {
        self.reader.read(move |db| {
            let mut found = Vec::with_capacity(devices.len());
            for device in devices {
                found.append(&mut list(db, "SELECT * FROM twins WHERE device = ?1", &[&device.0], twin)?);
            }
            Ok(found)
        })
    }

    fn twin_parts(&self, part: TwinPart, after: Option<DeviceNumber>, limit: usize) -> Later<Vec<(DeviceNumber, String)>> {
        self.reader.read(move |db| {
            let column = part.as_str();
            let sql = format!("SELECT device, {column} FROM twins WHERE device > ?1 ORDER BY device LIMIT ?2");
            let after = after.map_or(-1, |number| i64::from(number.0));
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            list(db, &sql, &[&after, &limit], |row| Ok((DeviceNumber(row.get(0)?), row.get(1)?)))
        })
    }

    fn put_twins(&self, twins: Vec<StoredTwin>, changes: Vec<TwinChange>) -> Later<()> {
        self.writer.grow(move |db| {
            let mut put = db.prepare_cached(
                "INSERT INTO twins SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
                 WHERE EXISTS (SELECT 1 FROM devices WHERE number = ?1)
                 ON CONFLICT (device) DO UPDATE SET desired = excluded.desired, desired_version = excluded.desired_version,
                 desired_at = excluded.desired_at, reported = excluded.reported, reported_version = excluded.reported_version,
                 reported_at = excluded.reported_at, dropped = excluded.dropped, acknowledged = excluded.acknowledged,
                 owed = excluded.owed",
            )?;
            for StoredTwin { device, desired, reported, dropped, acknowledged, owed } in twins {
                put.execute(params![
                    device.0,
                    desired.value,
                    signed(desired.version)?,
                    desired.at.map(|at| at.0),
                    reported.value,
                    signed(reported.version)?,
                    reported.at.map(|at| at.0),
                    dropped,
                    signed(acknowledged)?,
                    owed
                ])?;
            }
            let mut note = db.prepare_cached(
                "INSERT INTO twin_changes (device, part, version, place, at, who, patch) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
                 WHERE EXISTS (SELECT 1 FROM devices WHERE number = ?1)",
            )?;
            let mut forget = db.prepare_cached("DELETE FROM twin_changes WHERE device = ?1 AND part = ?2 AND version <= ?3")?;
            for TwinChange { device, part, version, at, who, patch, place } in changes {
                note.execute(params![device.0, part as u8, signed(version)?, signed(place)?, at.0, who, patch])?;
                if let Some(too_old) = version.checked_sub(limits::TWIN_CHANGES_KEPT) {
                    forget.execute(params![device.0, part as u8, signed(too_old)?])?;
                }
            }
            Ok(())
        })
    }

    fn twin_changes(
        &self,
        device: DeviceNumber,
        part: Option<TwinPart>,
        before: Option<u64>,
        limit: usize,
    ) -> Later<Page<TwinChange>> {
        self.reader.read(move |db| {
            let before = before.map_or(Ok(i64::MAX), signed)?;
            let sql = "SELECT * FROM twin_changes WHERE device = ?1 AND (?2 IS NULL OR part = ?2) AND place < ?3
                       ORDER BY place DESC LIMIT ?4";
            let part = part.map(|part| part as u8);
            let found = list(db, sql, &[&device.0, &part, &before, &one_more(limit)], change)?;
            Ok(page(found, limit, |change| change.place.to_string()))
        })
    }
}

fn number(value: i64) -> Outcome<u64> {
    u64::try_from(value).map_err(|_| damaged("a number of a twin is negative"))
}

fn twin(row: &Row<'_>) -> Outcome<StoredTwin> {
    let part = |value: &str, version: &str, at: &str| -> Outcome<StoredPart> {
        let at: Option<i64> = row.get(at)?;
        Ok(StoredPart { value: row.get(value)?, version: number(row.get(version)?)?, at: at.map(UnixMs) })
    };
    Ok(StoredTwin {
        device: DeviceNumber(row.get("device")?),
        desired: part("desired", "desired_version", "desired_at")?,
        reported: part("reported", "reported_version", "reported_at")?,
        dropped: row.get("dropped")?,
        acknowledged: number(row.get("acknowledged")?)?,
        owed: row.get("owed")?,
    })
}

fn change(row: &Row<'_>) -> Outcome<TwinChange> {
    Ok(TwinChange {
        device: DeviceNumber(row.get("device")?),
        part: match row.get("part")? {
            0u8 => TwinPart::Desired,
            1 => TwinPart::Reported,
            other => return Err(damaged(format_args!("a twin has no part {other}"))),
        },
        version: number(row.get("version")?)?,
        at: UnixMs(row.get("at")?),
        who: row.get("who")?,
        patch: row.get("patch")?,
        place: number(row.get("place")?)?,
    })
}
