//! Pushes and deliveries on disk. Knows no life cycle: which state may follow which is `model::push`'s,
//! and the push room's to obey.

use std::sync::Arc;

use bytes::Bytes;
use contract::store::{DeliveryChange, DeliveryLife, FreshDelivery, Later, Page, Pushes, StoredPush, UnmadePush};
use model::{Delivery, DeliveryState, DeliveryStep, DeviceId, DeviceNumber, Order, Priority, PushId, Terms, UnixMs, limits};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::Store;
use crate::rows::{give, last_given, list, one_more, page, signed};
use crate::trouble::{Outcome, damaged};

/// The numbers of the states on disk. Never renumbered; `deliveries_open` counts on 0 to 2 being those
/// that are not final.
const STATES: [(DeliveryState, i64); 9] = [
    (DeliveryState::Queued, 0),
    (DeliveryState::Sent, 1),
    (DeliveryState::Delivered, 2),
    (DeliveryState::Applied, 3),
    (DeliveryState::Failed, 4),
    (DeliveryState::Expired, 5),
    (DeliveryState::Replaced, 6),
    (DeliveryState::Refused, 7),
    (DeliveryState::Cancelled, 8),
];

const PUSH: &str = "pushes.id, kind, verb, payload, audience, sender, created, expires, idempotency_key, collapse, resend_of, per_second, starts, priority";
const DELIVERY: &str = "push, device, devices.id, state, at, detail, answer";

impl Pushes for Store {
    fn last_push(&self) -> Later<PushId> {
        self.reader.read(|db| last_given(db, "push").map(PushId))
    }

    fn create_push(&self, push: StoredPush, deliveries: Vec<Delivery>) -> Later<()> {
        self.writer.grow(move |db| {
            let id = put_push(db, &push)?;
            let mut insert = db.prepare_cached(
                "INSERT INTO deliveries (push, device, state, at, detail, answer) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for delivery in &deliveries {
                insert.execute(params![
                    id,
                    delivery.number.0,
                    number_of(delivery.state),
                    delivery.at.0,
                    delivery.detail,
                    delivery.answer.as_deref()
                ])?;
            }
            Ok(())
        })
    }

    fn create_push_to(&self, push: StoredPush, parts: Vec<(u32, Vec<DeviceNumber>)>) -> Later<()> {
        self.writer.grow(move |db| {
            let id = put_push(db, &push)?;
            let mut insert =
                db.prepare_cached("INSERT INTO audiences (push, part, cancelled, devices) VALUES (?1, ?2, FALSE, ?3)")?;
            for (part, devices) in &parts {
                insert.execute(params![id, part, numbers_of(devices)])?;
            }
            Ok(())
        })
    }

    fn make_part(
        &self,
        push: PushId,
        part: u32,
        at: UnixMs,
        batch: Vec<FreshDelivery>,
        rest: Vec<DeviceNumber>,
    ) -> Later<Vec<Delivery>> {
        self.writer.grow(move |db| {
            let id = signed(push.0)?;
            let mut name = db.prepare_cached("SELECT id FROM devices WHERE number = ?1")?;
            let mut insert = db.prepare_cached(
                "INSERT INTO deliveries (push, device, state, at, detail, answer) VALUES (?1, ?2, ?3, ?4, ?5, NULL)",
            )?;
            let mut made = Vec::with_capacity(batch.len());
            for FreshDelivery { device, state, detail } in batch {
                let named: Option<String> = name.query_row([device.0], |row| row.get(0)).optional()?;
                let Some(named) = named else { continue };
                insert.execute(params![id, device.0, number_of(state), at.0, detail])?;
                let named = DeviceId::parse(&named).ok_or_else(|| damaged(format_args!("unreadable id of device {device}")))?;
                made.push(Delivery { push, number: device, device: named, state, at, detail, answer: None });
            }
            if rest.is_empty() {
                db.prepare_cached("DELETE FROM audiences WHERE push = ?1 AND part = ?2")?.execute(params![id, part])?;
            } else {
                db.prepare_cached("UPDATE audiences SET devices = ?3 WHERE push = ?1 AND part = ?2")?.execute(params![
                    id,
                    part,
                    numbers_of(&rest)
                ])?;
            }
            Ok(made)
        })
    }

    fn cancel_unmade(&self, push: PushId) -> Later<()> {
        self.writer.write(move |db| {
            db.prepare_cached("UPDATE audiences SET cancelled = TRUE WHERE push = ?1")?.execute([signed(push.0)?])?;
            Ok(())
        })
    }

    fn unmade_pushes(&self) -> Later<Vec<UnmadePush>> {
        self.reader.read(|db| {
            let rows = list(db, "SELECT push, part, cancelled, devices FROM audiences ORDER BY push, part", &[], |row| {
                let bytes: Vec<u8> = row.get(3)?;
                let numbers =
                    bytes.chunks_exact(4).map(|four| DeviceNumber(u32::from_le_bytes([four[0], four[1], four[2], four[3]])));
                Ok((push_id(row.get(0)?)?, row.get::<_, u32>(1)?, row.get::<_, bool>(2)?, numbers.collect::<Vec<_>>()))
            })?;
            let mut found: Vec<UnmadePush> = Vec::new();
            for (id, part, cancelled, devices) in rows {
                if found.last().is_none_or(|last| last.push.id != id) {
                    let push =
                        one_push(db, id)?.ok_or_else(|| damaged(format_args!("push {id} has an audience but is missing")))?;
                    found.push(UnmadePush { push, parts: Vec::new(), cancelled });
                }
                if let Some(last) = found.last_mut() {
                    last.parts.push((part, devices));
                }
            }
            Ok(found)
        })
    }

    fn collapsed_by(&self, key: Arc<str>, push: PushId, devices: Vec<DeviceNumber>) -> Later<Vec<(DeviceNumber, PushId)>> {
        self.reader.read(move |db| {
            // By `deliveries_device`, which holds a device's pushes in order: only the later ones are looked at.
            let mut last = db.prepare_cached(
                "SELECT max(push) FROM deliveries JOIN pushes ON id = push
                 WHERE device = ?1 AND push > ?2 AND state <> ?3 AND collapse = ?4",
            )?;
            let mut found = Vec::new();
            for device in devices {
                let wanted = params![device.0, signed(push.0)?, number_of(DeliveryState::Refused), key];
                if let Some(later) = last.query_row(wanted, |row| row.get::<_, Option<i64>>(0))? {
                    found.push((device, push_id(later)?));
                }
            }
            Ok(found)
        })
    }

    fn update_deliveries(&self, batch: Vec<DeliveryChange>) -> Later<()> {
        self.writer.write(move |db| {
            // One that is gone with its device stays gone. What it was becomes a line of its steps; of too many the
            // older half goes.
            let mut update = db.prepare_cached(
                "UPDATE deliveries SET
                     steps = CASE WHEN length(steps) > ?8
                             THEN substr(substr(steps, ?8 / 2), instr(substr(steps, ?8 / 2), char(10)) + 1)
                             ELSE coalesce(steps, '') END
                         || state || ' ' || at || ' ' || replace(detail, char(10), ' ') || char(10) || ?7,
                     state = ?3, at = ?4, detail = ?5, answer = ?6
                 WHERE push = ?1 AND device = ?2",
            )?;
            for DeliveryChange { delivery, passed } in &batch {
                let line =
                    |step: &DeliveryStep| format!("{} {} {}\n", number_of(step.state), step.at.0, step.detail.replace('\n', " "));
                update.execute(params![
                    signed(delivery.push.0)?,
                    delivery.number.0,
                    number_of(delivery.state),
                    delivery.at.0,
                    delivery.detail,
                    delivery.answer.as_deref(),
                    passed.iter().map(line).collect::<String>(),
                    limits::DELIVERY_STEPS_BYTES_MAX as i64
                ])?;
            }
            Ok(())
        })
    }

    fn open_deliveries(&self, delivered_since: UnixMs) -> Later<Vec<(Arc<StoredPush>, Delivery)>> {
        self.reader.read(move |db| {
            // Two questions, so that a push to a million devices has its payload read once.
            let open = list(
                db,
                &format!(
                    "SELECT {DELIVERY} FROM deliveries JOIN devices ON number = device WHERE state <= 1 \
                     UNION ALL \
                     SELECT {DELIVERY} FROM deliveries JOIN devices ON number = device \
                     WHERE state = 2 AND at >= ?1 AND push IN (SELECT id FROM pushes WHERE kind <> 'message') \
                     ORDER BY push, device"
                ),
                &[&delivered_since.0],
                delivery,
            )?;
            let mut found: Vec<(Arc<StoredPush>, Delivery)> = Vec::with_capacity(open.len());
            for delivery in open {
                let push = match found.last() {
                    Some((push, _)) if push.id == delivery.push => Arc::clone(push),
                    _ => one_push(db, delivery.push)?
                        .map(Arc::new)
                        .ok_or_else(|| damaged(format_args!("push {} has deliveries but is missing", delivery.push)))?,
                };
                found.push((push, delivery));
            }
            Ok(found)
        })
    }

    fn devices_in(&self, push: PushId, states: Vec<DeliveryState>) -> Later<Vec<DeviceNumber>> {
        self.reader.read(move |db| {
            // They are numbers of ours: nothing to escape.
            let states = states.into_iter().map(|state| number_of(state).to_string()).collect::<Vec<_>>().join(", ");
            let sql = format!("SELECT device FROM deliveries WHERE push = ?1 AND state IN ({states}) ORDER BY device");
            list(db, &sql, &[&signed(push.0)?], |row| Ok(DeviceNumber(row.get(0)?)))
        })
    }

    fn push(&self, id: PushId) -> Later<Option<StoredPush>> {
        self.reader.read(move |db| one_push(db, id))
    }

    fn push_by_key(&self, key: String) -> Later<Option<PushId>> {
        self.reader.read(move |db| {
            let id: Option<i64> = db
                .prepare_cached("SELECT id FROM pushes WHERE idempotency_key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()?;
            id.map(push_id).transpose()
        })
    }

    fn pushes(&self, before: Option<PushId>, limit: usize) -> Later<Page<StoredPush>> {
        self.reader.read(move |db| {
            // i64::MAX is never given, so "before" it is everything.
            let before = before.map_or(i64::MAX, |id| i64::try_from(id.0).unwrap_or(i64::MAX));
            let sql = format!("SELECT {PUSH} FROM pushes WHERE id < ?1 ORDER BY id DESC LIMIT ?2");
            let items = list(db, &sql, &[&before, &one_more(limit)], stored_push)?;
            Ok(page(items, limit, |push| push.id.to_string()))
        })
    }

    fn deliveries(&self, push: PushId, after: Option<DeviceNumber>, limit: usize) -> Later<Page<DeliveryLife>> {
        self.reader.read(move |db| {
            let after = after.map_or(-1, |number| i64::from(number.0));
            let sql = format!(
                "SELECT {DELIVERY}, steps FROM deliveries JOIN devices ON number = device
                 WHERE push = ?1 AND device > ?2 ORDER BY device LIMIT ?3"
            );
            let items = list(db, &sql, &[&signed(push.0)?, &after, &one_more(limit)], life)?;
            Ok(page(items, limit, |life| life.delivery.number.to_string()))
        })
    }

    fn deliveries_of(&self, device: DeviceNumber, before: Option<PushId>, limit: usize) -> Later<Page<DeliveryLife>> {
        self.reader.read(move |db| {
            let before = before.map_or(i64::MAX, |id| i64::try_from(id.0).unwrap_or(i64::MAX));
            let sql = format!(
                "SELECT {DELIVERY}, steps FROM deliveries JOIN devices ON number = device
                 WHERE device = ?1 AND push < ?2 ORDER BY push DESC LIMIT ?3"
            );
            let items = list(db, &sql, &[&device.0, &before, &one_more(limit)], life)?;
            Ok(page(items, limit, |life| life.delivery.push.to_string()))
        })
    }

    fn pushes_of(&self, device: DeviceNumber, before: Option<PushId>, limit: usize) -> Later<Page<StoredPush>> {
        self.reader.read(move |db| {
            let before = before.map_or(i64::MAX, |id| i64::try_from(id.0).unwrap_or(i64::MAX));
            let sql = format!(
                "SELECT {PUSH} FROM deliveries JOIN pushes ON pushes.id = push
                 WHERE device = ?1 AND push < ?2 ORDER BY push DESC LIMIT ?3"
            );
            let items = list(db, &sql, &[&device.0, &before, &one_more(limit)], stored_push)?;
            Ok(page(items, limit, |push| push.id.to_string()))
        })
    }

    fn old_pushes(&self, before: UnixMs, after: Option<(UnixMs, PushId)>, limit: usize) -> Later<Vec<(UnixMs, PushId)>> {
        self.reader.read(move |db| {
            // The index has both columns: no row of a push is read.
            let sql = "SELECT created, id FROM pushes WHERE created < ?1 AND (created, id) > (?2, ?3)
                       ORDER BY created, id LIMIT ?4";
            let (at, id) = after.map_or((i64::MIN, 0), |(at, id)| (at.0, i64::try_from(id.0).unwrap_or(i64::MAX)));
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            list(db, sql, &[&before.0, &at, &id, &limit], |row| Ok((UnixMs(row.get(0)?), push_id(row.get(1)?)?)))
        })
    }

    fn prune_pushes(&self, pushes: Vec<PushId>, rows: usize) -> Later<(u64, Vec<PushId>)> {
        self.writer.write(move |db| {
            // Both questions about deliveries are answered by `deliveries_open`, from its first row on.
            let mut open = db.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM deliveries WHERE push = ?1 AND state <= 1)
                     OR EXISTS (SELECT 1 FROM audiences WHERE push = ?1)
                     OR EXISTS (SELECT 1 FROM pushes WHERE id = ?1 AND collapse IS NOT NULL)
                         AND (EXISTS (SELECT 1 FROM deliveries WHERE state <= 1 AND push < ?1)
                             OR EXISTS (SELECT 1 FROM audiences WHERE push < ?1))",
            )?;
            let mut shrink = db.prepare_cached(
                "DELETE FROM deliveries WHERE (push, device) IN
                 (SELECT push, device FROM deliveries WHERE push = ?1 LIMIT ?2)",
            )?;
            let mut remove = db.prepare_cached("DELETE FROM pushes WHERE id = ?1")?;
            let (mut left, mut gone) = (i64::try_from(rows).unwrap_or(i64::MAX), 0);
            for (at, push) in pushes.iter().enumerate() {
                let id = signed(push.0)?;
                if open.query_row([id], |row| row.get::<_, bool>(0))? {
                    continue;
                }
                left -= shrink.execute([id, left])? as i64 + 1;
                if left <= 0 {
                    // There may be more of its deliveries.
                    return Ok((gone, pushes[at..].to_vec()));
                }
                gone += remove.execute([id])? as u64;
            }
            Ok((gone, Vec::new()))
        })
    }

    fn push_standing(&self, push: PushId) -> Later<(Vec<(DeliveryState, u64)>, u64)> {
        self.reader.read(move |db| {
            let id = signed(push.0)?;
            let sql = "SELECT state, count(*) FROM deliveries WHERE push = ?1 GROUP BY state ORDER BY state";
            let counts = list(db, sql, &[&id], |row| Ok((state_of(row.get(0)?)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
            let sql = "SELECT coalesce(sum(length(devices)), 0) / 4 FROM audiences WHERE push = ?1";
            let unmade: i64 = db.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
            Ok((counts, unmade.unsigned_abs()))
        })
    }
}

/// Writes the push itself. Its number as SQLite has it.
fn put_push(db: &Connection, push: &StoredPush) -> Outcome<i64> {
    let id = signed(push.id.0)?;
    give(db, "push", id)?;
    let (kind, verb) = match &push.order {
        Order::Message => ("message", None),
        Order::Ask => ("ask", None),
        Order::Command { verb } => ("command", Some(verb)),
    };
    db.prepare_cached(
        "INSERT INTO pushes (id, kind, verb, payload, audience, sender, created, expires, idempotency_key, collapse, resend_of,
             per_second, starts, priority)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        id,
        kind,
        verb,
        &push.payload[..],
        push.audience,
        push.sender,
        push.created.0,
        push.expires.map(|at| at.0),
        push.idempotency_key,
        push.terms.collapse,
        push.terms.resend_of.map(|id| signed(id.0)).transpose()?,
        push.terms.per_second,
        push.terms.starts.map(|at| at.0),
        match push.terms.priority {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Low => 2,
        }
    ])?;
    Ok(id)
}

/// Devices as `audiences` has them.
fn numbers_of(devices: &[DeviceNumber]) -> Vec<u8> {
    devices.iter().flat_map(|device| device.0.to_le_bytes()).collect()
}

fn number_of(state: DeliveryState) -> i64 {
    STATES.iter().find(|(known, _)| *known == state).map(|(_, number)| *number).expect("every state has its number")
}

fn state_of(number: i64) -> Outcome<DeliveryState> {
    let found = STATES.iter().find(|(_, known)| *known == number);
    found.map(|(state, _)| *state).ok_or_else(|| damaged(format_args!("a delivery has the unknown state {number}")))
}

fn push_id(id: i64) -> Outcome<PushId> {
    u64::try_from(id).map(PushId).map_err(|_| damaged("a push's number is negative"))
}

fn one_push(db: &Connection, id: PushId) -> Outcome<Option<StoredPush>> {
    // A number beyond what can be written was never given.
    let Ok(id) = i64::try_from(id.0) else { return Ok(None) };
    let mut found = list(db, &format!("SELECT {PUSH} FROM pushes WHERE id = ?1"), &[&id], stored_push)?;
    Ok(found.pop())
}

fn stored_push(row: &Row<'_>) -> Outcome<StoredPush> {
    let id = push_id(row.get(0)?)?;
    let kind: String = row.get(1)?;
    let order = match (kind.as_str(), row.get(2)?) {
        ("message", None) => Order::Message,
        ("ask", None) => Order::Ask,
        ("command", Some(verb)) => Order::Command { verb },
        _ => return Err(damaged(format_args!("push {id} has an unknown order"))),
    };
    Ok(StoredPush {
        id,
        order,
        payload: Bytes::from(row.get::<_, Vec<u8>>(3)?),
        audience: row.get(4)?,
        sender: row.get(5)?,
        created: UnixMs(row.get(6)?),
        expires: row.get::<_, Option<i64>>(7)?.map(UnixMs),
        idempotency_key: row.get(8)?,
        terms: Terms {
            collapse: row.get(9)?,
            resend_of: row.get::<_, Option<i64>>(10)?.map(push_id).transpose()?,
            per_second: row.get(11)?,
            starts: row.get::<_, Option<i64>>(12)?.map(UnixMs),
            priority: match row.get(13)? {
                0 => Priority::High,
                1 => Priority::Normal,
                2 => Priority::Low,
                _ => return Err(damaged(format_args!("push {id} has an unknown priority"))),
            },
        },
    })
}

fn delivery(row: &Row<'_>) -> Outcome<Delivery> {
    let push = push_id(row.get(0)?)?;
    let number = DeviceNumber(row.get(1)?);
    Ok(Delivery {
        push,
        number,
        device: DeviceId::parse(&row.get::<_, String>(2)?)
            .ok_or_else(|| damaged(format_args!("unreadable id of device {number}")))?,
        state: state_of(row.get(3)?)?,
        at: UnixMs(row.get(4)?),
        detail: row.get(5)?,
        answer: row.get::<_, Option<Vec<u8>>>(6)?.map(Bytes::from),
    })
}

/// A delivery with its steps, which stand behind its other columns.
fn life(row: &Row<'_>) -> Outcome<DeliveryLife> {
    let delivery = delivery(row)?;
    let steps: Option<String> = row.get(7)?;
    let step = |line: &str| {
        let (state, rest) = line.split_once(' ')?;
        let (at, detail) = rest.split_once(' ')?;
        let state = state_of(state.parse().ok()?).ok()?;
        Some(DeliveryStep { state, at: UnixMs(at.parse().ok()?), detail: detail.to_owned() })
    };
    let read = |line: &str| step(line).ok_or_else(|| damaged(format_args!("a step of push {} is unreadable", delivery.push)));
    let before = steps.as_deref().unwrap_or_default().lines().map(read).collect::<Outcome<_>>()?;
    Ok(DeliveryLife { delivery, before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_number_and_the_open_ones_come_first() {
        for state in DeliveryState::ALL {
            assert_eq!(state_of(number_of(state)).unwrap(), state);
            assert_eq!(number_of(state) <= 2, !state.is_final(), "{state:?}: deliveries_open would miss it");
        }
    }
}
