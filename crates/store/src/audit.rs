//! Who changed what, on disk. Bounded by rows and by age: each entry that is written takes some of the oldest
//! with it, if their time is over.

use contract::store::{Audit, AuditEntry, AuditQuery, Later, Page};
use model::{Role, UnixMs, limits};
use rusqlite::{Row, params};

use crate::Store;
use crate::rows::{list, one_more, page, signed};
use crate::trouble::{Outcome, damaged};

/// Old entries that go with each new one, at most: more than one, so that there come to be fewer.
const TRIMMED: i64 = 16;

impl Audit for Store {
    fn record(&self, entry: AuditEntry) -> Later<()> {
        // Also in a store that is full: what it says is about what happened, and it is bounded.
        self.writer.write(move |db| {
            let token = entry.token.map(signed).transpose()?;
            let fields = serde_json::to_string(&entry.fields).unwrap_or_default();
            db.prepare_cached(
                "INSERT INTO audit (at, who, token, role, remote, call, target, fields, status, code)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                entry.at.0,
                entry.who,
                token,
                entry.role.as_str(),
                entry.remote,
                entry.call,
                entry.target,
                fields,
                entry.status,
                entry.code
            ])?;
            let last = db.last_insert_rowid();
            let too_old = entry.at.0.saturating_sub_unsigned(limits::AUDIT_S_MAX * 1000);
            db.prepare_cached(
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT ?1) AND (id <= ?2 OR at < ?3)",
            )?
            .execute([TRIMMED, last - limits::AUDIT_ROWS_MAX as i64, too_old])?;
            Ok(())
        })
    }

    fn entries(&self, query: AuditQuery, before: Option<u64>, limit: usize) -> Later<Page<AuditEntry>> {
        self.reader.read(move |db| {
            let before = before.map_or(Ok(i64::MAX), signed)?;
            let (from, to) = (query.from.map_or(i64::MIN, |at| at.0), query.to.map_or(i64::MAX, |at| at.0));
            let sql = "SELECT * FROM audit WHERE id < ?1 AND at >= ?2 AND at < ?3 AND (?4 IS NULL OR who = ?4)
                       AND (?5 IS NULL OR target = ?5) AND (?6 IS NULL OR instr(call, ?6) > 0)
                       AND (?7 IS NULL OR (status >= 400) = ?7) ORDER BY id DESC LIMIT ?8";
            let limit_sql = one_more(limit);
            let values: [&dyn rusqlite::ToSql; 8] =
                [&before, &from, &to, &query.who, &query.target, &query.call, &query.failed, &limit_sql];
            Ok(page(list(db, sql, &values, entry)?, limit, |entry| entry.id.to_string()))
        })
    }
}

fn entry(row: &Row<'_>) -> Outcome<AuditEntry> {
    let id: i64 = row.get("id")?;
    let bad = |what: &str| damaged(format_args!("{what} of audit entry {id}"));
    Ok(AuditEntry {
        id: u64::try_from(id).map_err(|_| bad("a negative number"))?,
        at: UnixMs(row.get("at")?),
        who: row.get("who")?,
        token: row.get::<_, Option<i64>>("token")?.and_then(|token| u64::try_from(token).ok()),
        role: Role::parse(&row.get::<_, String>("role")?).ok_or_else(|| bad("unknown role"))?,
        remote: row.get("remote")?,
        call: row.get("call")?,
        target: row.get("target")?,
        fields: serde_json::from_str(&row.get::<_, String>("fields")?).map_err(|_| bad("unreadable fields"))?,
        status: row.get("status")?,
        code: row.get("code")?,
    })
}
