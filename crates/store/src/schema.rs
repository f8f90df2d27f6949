//! Which tree lies where, without asking the database: its list of tables may be what is damaged. Tables are
//! made by migrations and by copies alone, and SQLite numbers their roots in the order in which they are
//! made; so there are only a few ways in which a database of ours can be laid out.

use rusqlite::Connection;

use crate::disk::image::Image;
use crate::migrations;
use crate::survey::Tree;

/// A way in which a database may be laid out.
pub(crate) struct Layout {
    pub(crate) version: i64,
    pub(crate) trees: Vec<Tree>,
}

/// The layout that fits what can be read; `None` if none does, or several that differ do. Versions that differ
/// in columns alone look the same: then the newest is taken, in which the older rows are right too, only shorter.
pub(crate) fn fitting(image: &Image, known: &[Tree]) -> Option<Layout> {
    let mut fitting: Vec<Layout> = layouts().ok()?.into_iter().filter(|layout| fits(layout, image, known)).collect();
    let last = fitting.pop()?;
    let same = |other: &Layout| other.trees == last.trees;
    fitting.iter().all(same).then_some(last)
}

/// Whether a layout contradicts nothing: neither what is left of the list of tables, nor the map of parents,
/// nor the kind of the pages themselves.
fn fits(layout: &Layout, image: &Image, known: &[Tree]) -> bool {
    let version = image.page(1).and_then(|page| crate::disk::tree::u32_at(&page[..], 60));
    let is_root = |page: u32| layout.trees.iter().any(|tree| tree.root == page);
    let last = layout.trees.iter().map(|tree| tree.root).max().unwrap_or(1);
    version.is_none_or(|version| i64::from(version) == layout.version)
        && known.iter().skip(1).all(|tree| layout.trees.contains(tree))
        && (3..=last + 1).all(|page| image.is_root(page).is_none_or(|root| root == is_root(page)))
        && layout.trees.iter().all(|tree| {
            let node = image.page(tree.root).and_then(|_| image.node(tree.root));
            node.is_none_or(|node| node.kind.is_index() != tree.by_rowid)
        })
}

/// Every layout: made by all migrations in a row, or copied at some version and migrated from there.
fn layouts() -> rusqlite::Result<Vec<Layout>> {
    let mut all = Vec::new();
    for version in 1..=migrations::NEWEST {
        let mut made = empty()?;
        migrations::migrate_to(&mut made, 0, version)?;
        all.push(Layout { version, trees: trees(&made)? });
        for copied_at in 1..=version {
            let mut original = empty()?;
            migrations::migrate_to(&mut original, 0, copied_at)?;
            let mut copy = empty()?;
            // As a copy is made: first the tables, then the indexes.
            for kind in ["table", "index"] {
                let mut list =
                    original.prepare("SELECT sql FROM sqlite_schema WHERE type = ?1 AND sql IS NOT NULL ORDER BY rowid")?;
                for sql in list.query_map([kind], |row| row.get::<_, String>(0))? {
                    copy.execute_batch(&sql?)?;
                }
            }
            migrations::migrate_to(&mut copy, copied_at, version)?;
            all.push(Layout { version, trees: trees(&copy)? });
        }
    }
    Ok(all)
}

fn empty() -> rusqlite::Result<Connection> {
    let db = Connection::open_in_memory()?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    Ok(db)
}

fn trees(db: &Connection) -> rusqlite::Result<Vec<Tree>> {
    let sql = "SELECT name, rootpage, type = 'table', type = 'table' AND upper(sql) NOT LIKE '%WITHOUT ROWID%' FROM sqlite_schema
               WHERE rootpage > 1 ORDER BY rootpage";
    let tree =
        |row: &rusqlite::Row<'_>| Ok(Tree { name: row.get(0)?, root: row.get(1)?, is_table: row.get(2)?, by_rowid: row.get(3)? });
    db.prepare(sql)?.query_map([], tree)?.collect()
}
