//! What is in a database's files and what is not: every page is looked at, every damaged one is traced to
//! the table whose rows it held. Reads files that nobody writes to, without SQLite.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::Path;

use rusqlite::types::Value;

use crate::disk::image::{Image, Parent};
use crate::disk::tree::{self, Kind, Node};
use crate::schema;

/// Damaged pages that a sentence names; more are counted.
const NAMED_MAX: usize = 5;

/// A tree of pages: a table, or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) name: String,
    pub(crate) root: u32,
    /// Whether rows lie in it: not so in an index, which can be made again.
    pub(crate) is_table: bool,
    /// Whether its rows have numbers.
    pub(crate) by_rowid: bool,
}

/// Something that was written and cannot be read.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The page.
    pub page: u32,
    /// Its table or index; `None` where even that is lost.
    pub of: Option<String>,
    /// Whether rows lay there; an index is made again from its table.
    pub rows: bool,
    /// The key before those that lay there, and the key after them, as far as they are known.
    pub between: (Option<String>, Option<String>),
}

impl fmt::Display for Loss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.of, self.rows) {
            (Some(name), true) => write!(out, "page {} of the table {name}", self.page)?,
            (Some(name), false) => return write!(out, "page {} of the index {name}", self.page),
            (None, _) => return write!(out, "page {}", self.page),
        }
        match &self.between {
            (Some(after), Some(before)) => write!(out, " (rows between {after} and {before})"),
            (Some(after), None) => write!(out, " (rows after {after})"),
            (None, Some(before)) => write!(out, " (rows before {before})"),
            (None, None) => Ok(()),
        }
    }
}

/// What is wrong with a database.
#[derive(Clone, Debug, Default)]
pub struct Damage {
    /// The damaged pages.
    pub losses: Vec<Loss>,
    /// Pages that were cut off the end of the file.
    pub cut_off: u32,
    /// Whether the log is damaged: the last transactions are lost.
    pub log: bool,
}

impl Damage {
    /// Whether nothing is.
    pub fn is_none(&self) -> bool {
        self.losses.is_empty() && self.cut_off == 0 && !self.log
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.losses.iter().take(NAMED_MAX).map(Loss::to_string).collect();
        if self.losses.len() > NAMED_MAX {
            parts.push(format!("{} more pages", self.losses.len() - NAMED_MAX));
        }
        if self.cut_off > 0 {
            parts.push(format!("{} pages that were cut off the end of the file", self.cut_off));
        }
        if self.log {
            parts.push("the log (the last transactions are lost)".to_owned());
        }
        write!(out, "{}", parts.join(", "))
    }
}

/// Everything that the files still tell.
pub(crate) struct Survey {
    pub(crate) image: Image,
    pub(crate) trees: Vec<Tree>,
    /// The schema; `None` where it is lost, and the tables with it.
    pub(crate) version: Option<i64>,
    /// The tree of each page of a b-tree that was found.
    owner: HashMap<u32, usize>,
    lost: HashMap<u32, (usize, Between)>,
}

type Between = (Option<String>, Option<String>);

impl Survey {
    pub(crate) fn of(database: &Path) -> io::Result<Survey> {
        let image = Image::open(database)?;
        let mut survey = Survey { image, trees: Vec::new(), version: None, owner: HashMap::new(), lost: HashMap::new() };
        survey.trees.push(Tree { name: "sqlite_schema".to_owned(), root: 1, is_table: true, by_rowid: true });
        survey.descend(0, 1, (None, None));
        let schema: Vec<Row> = survey.rows(0).filter_map(Result::ok).collect();
        for row in schema {
            if let [Value::Text(kind), Value::Text(name), _, Value::Integer(root), sql] = &row.values[..]
                && let Ok(root) = u32::try_from(*root)
                && root > 1
            {
                let is_table = kind == "table";
                let without = matches!(sql, Value::Text(sql) if sql.to_uppercase().contains("WITHOUT ROWID"));
                survey.trees.push(Tree { name: name.clone(), root, is_table, by_rowid: is_table && !without });
            }
        }
        survey.version = survey.image.page(1).and_then(|page| tree::u32_at(&page[..], 60)).map(i64::from);
        if !survey.lost.is_empty() {
            // The list of tables itself has holes.
            let layout = schema::fitting(&survey.image, &survey.trees);
            survey.trees.truncate(1);
            survey.version = layout.as_ref().map(|layout| layout.version);
            survey.trees.extend(layout.into_iter().flat_map(|layout| layout.trees));
        }
        for tree in 1..survey.trees.len() {
            survey.descend(tree, survey.trees[tree].root, (None, None));
        }
        survey.adopt_orphans();
        Ok(survey)
    }

    /// Walks a tree from its root; what cannot be read is noted with the keys on either side of it.
    fn descend(&mut self, tree: usize, root: u32, between: Between) {
        let mut open = vec![(root, between)];
        while let Some((number, between)) = open.pop() {
            // A page that two ways lead to belongs to the first.
            if self.owner.contains_key(&number) || self.lost.contains_key(&number) {
                continue;
            }
            let Some(node) = self.image.node(number) else {
                self.lost.insert(number, (tree, between));
                continue;
            };
            self.owner.insert(number, tree);
            let mut after = between.0;
            for cell in &node.cells {
                let key = if node.kind.is_inner() { self.key(cell) } else { None };
                if let Some(left) = cell.left {
                    open.push((left, (after, key.clone())));
                }
                after = key;
            }
            if let Some(right) = node.right {
                open.push((right, (after, between.1)));
            }
        }
    }

    fn key(&self, cell: &tree::Cell) -> Option<String> {
        if let Some(rowid) = cell.rowid {
            return Some(rowid.to_string());
        }
        let values = tree::record(&self.image.whole(cell.payload.as_ref()?)?)?;
        Some(shown(&values))
    }

    /// Pages whose way from the root is lost: the map of parents says whose they are.
    fn adopt_orphans(&mut self) {
        let free = self.image.free();
        let strays = (2..=self.image.pages).filter(|page| self.image.is_there(*page) && !free.contains(page));
        let mut strays: Vec<u32> =
            strays.filter(|page| !self.owner.contains_key(page) && !self.lost.contains_key(page)).collect();
        let mut adopted = HashSet::new();
        loop {
            let before = strays.len();
            strays.retain(|stray| {
                let Some(Parent::OfNode(parent)) = self.image.parent(*stray) else { return true };
                let lost = self.lost.get(&parent).map(|(tree, _)| *tree);
                let tree = lost.or_else(|| self.owner.get(&parent).copied().filter(|_| adopted.contains(&parent)));
                let Some(tree) = tree else { return true };
                match self.image.node(*stray) {
                    Some(_) => drop(self.owner.insert(*stray, tree)),
                    None => drop(self.lost.insert(*stray, (tree, (None, None)))),
                }
                adopted.insert(*stray);
                false
            });
            if strays.len() == before {
                return;
            }
        }
    }

    /// Every row of a tree that is on a readable page; one that goes on on a damaged page is an error with
    /// its key.
    pub(crate) fn rows(&self, tree: usize) -> impl Iterator<Item = Result<Row, Option<String>>> + '_ {
        let mut pages: Vec<u32> = self.owner.iter().filter(|(_, owner)| **owner == tree).map(|(page, _)| *page).collect();
        pages.sort_unstable();
        pages.into_iter().filter_map(|page| self.image.node(page)).flat_map(|node| self.rows_of(node))
    }

    fn rows_of(&self, node: Node) -> Vec<Result<Row, Option<String>>> {
        if node.kind == Kind::InnerTable {
            return Vec::new();
        }
        let row = |cell: &tree::Cell| {
            let payload = cell.payload.as_ref()?;
            Some(Row { rowid: cell.rowid, values: tree::record(&self.image.whole(payload)?)? })
        };
        node.cells.iter().map(|cell| row(cell).ok_or_else(|| cell.rowid.map(|rowid| rowid.to_string()))).collect()
    }

    /// What is wrong, after a look at every page.
    pub(crate) fn damage(&self) -> Damage {
        let free = self.image.free();
        let matters = |page: &u32| *page != tree::lock_page() && !free.contains(page);
        let (there, gone): (Vec<u32>, Vec<u32>) =
            (1..=self.image.pages).filter(matters).partition(|page| self.image.is_there(*page));
        for page in there {
            self.image.page(page);
        }
        // Taken out first: tracing one page may meet another.
        let bad = self.image.bad.take();
        let mut bad: Vec<u32> = bad.iter().copied().filter(|page| matters(page) && self.image.is_there(*page)).collect();
        bad.sort_unstable();
        let losses = bad.into_iter().map(|page| self.loss(page)).collect();
        Damage { losses, cut_off: gone.len() as u32, log: self.image.log_damaged }
    }

    fn loss(&self, page: u32) -> Loss {
        if let Some((tree, between)) = self.lost.get(&page) {
            let tree = &self.trees[*tree];
            return Loss { page, of: Some(tree.name.clone()), rows: tree.is_table, between: between.clone() };
        }
        // Perhaps the rest of a long record: the map says whose.
        let mut at = page;
        for _ in 0..64 {
            if let Some(tree) = self.owner.get(&at) {
                let tree = &self.trees[*tree];
                return Loss { page, of: Some(tree.name.clone()), rows: tree.is_table, between: (None, None) };
            }
            match self.image.parent(at) {
                Some(Parent::OfNode(parent) | Parent::OfRest(parent)) => at = parent,
                None => break,
            }
        }
        Loss { page, of: None, rows: false, between: (None, None) }
    }
}

/// A row.
pub(crate) struct Row {
    pub(crate) rowid: Option<i64>,
    pub(crate) values: Vec<Value>,
}

/// The first columns of a row, which are its key where rows have no number.
pub(crate) fn shown(values: &[Value]) -> String {
    let one = |value: &Value| match value {
        Value::Null => "null".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        Value::Blob(bytes) => format!("{} bytes", bytes.len()),
    };
    format!("({})", values.iter().take(3).map(one).collect::<Vec<_>>().join(", "))
}
