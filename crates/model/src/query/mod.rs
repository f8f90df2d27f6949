//! The one query language over devices, for lists, audiences and whatever else chooses devices:
//! `app = 7 and tags has "kitchen" and firmware < "1.4.0" and online and data.temp > 30`. The grammar
//! stands in `docs/en/audience.md`. [`Query::parse`] checks everything that can be checked without a
//! device, so that evaluating cannot fail; [`Query`] prints itself as text that reads back as the same.
//!
//! Deliberately absent: where devices come from (see [`Subject`]) and where points and twins do (see [`Latest`]).

mod error;
mod eval;
mod expand;
mod field;
pub mod fuzz;
mod lexer;
mod parser;
mod print;
mod version;

#[cfg(test)]
mod tests;

pub use error::QueryError;
pub use eval::{Latest, NoPoints, Subject};
pub use expand::{GroupError, Groups};
pub use field::{TextField, TimeField, TruthField, WholeField};
pub(crate) use lexer::is_word_char;
pub use print::quoted;
pub use version::compare as compare_versions;

use std::cmp::Ordering;

use crate::point::Value;
use crate::time::UnixMs;
use crate::twin::TwinPath;

/// A query that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    expr: Expr,
    // The streams that it names, each once; `Test::Data` names them by their place here.
    streams: Vec<Box<str>>,
    // The same for values of twins and `Test::Twin`.
    twins: Vec<TwinPath>,
}

/// How conditions are joined.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    // Never one within itself, never of less than two: so a query has one form.
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Test(Test),
}

/// One condition, typed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Truth(TruthField),
    Whole(WholeField, Whole),
    Text(TextField, Words),
    Tag(Box<str>),
    Firmware(Words),
    Time(TimeField, Compare, Moment),
    Data(usize, Reading),
    Twin(usize, Reading),
    Meta(Box<str>, Reading),
    // One of ours that has another query behind it; see `expand`.
    Group(Box<str>),
}

/// What a whole number is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Whole {
    Is(Compare, u32),
    In(Vec<u32>),
}

/// What a text is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Words {
    Is(Compare, Box<str>),
    In(Vec<Box<str>>),
    // Both in lower case.
    Starts(Box<str>),
    Contains(Box<str>),
}

/// What the newest point of a stream, what an owner wrote down, or a value of a twin is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reading {
    Number(Compare, f64),
    Truth(Compare, bool),
    Text(Words),
    In(Vec<Value>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// A time, or a length of time before the moment of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    At(UnixMs),
    AgoMs(i64),
}

impl Query {
    /// Reads a query.
    pub fn parse(text: &str) -> Result<Query, QueryError> {
        parser::parse(text)
    }

    /// The streams whose newest points it looks at, each once: the numbers of [`Latest::latest`] are places here.
    pub fn streams(&self) -> &[Box<str>] {
        &self.streams
    }

    /// The values of twins that it looks at, each once: the numbers of [`Latest::twin`] are places here.
    pub fn twins(&self) -> &[TwinPath] {
        &self.twins
    }

    /// Whether a device is one that the query asks for, at the moment `now`.
    pub fn matches(&self, device: &impl Subject, points: &(impl Latest + ?Sized), now: UnixMs) -> bool {
        eval::holds(&self.expr, device, points, now)
    }
}

impl Expr {
    /// All of them; `and` within `and` is one `and`.
    pub(crate) fn and(parts: Vec<Expr>) -> Expr {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Expr::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        one_or(flat, Expr::And)
    }

    /// Any of them; `or` within `or` is one `or`.
    pub(crate) fn or(parts: Vec<Expr>) -> Expr {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Expr::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        one_or(flat, Expr::Or)
    }
}

fn one_or(mut parts: Vec<Expr>, many: fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            many(parts)
        }
        None => many(parts),
    }
}

impl Compare {
    pub(crate) fn accepts(self, order: Ordering) -> bool {
        match self {
            Compare::Equal => order.is_eq(),
            Compare::Unequal => order.is_ne(),
            Compare::Less => order.is_lt(),
            Compare::LessEqual => order.is_le(),
            Compare::Greater => order.is_gt(),
            Compare::GreaterEqual => order.is_ge(),
        }
    }

    pub(crate) fn is_equality(self) -> bool {
        matches!(self, Compare::Equal | Compare::Unequal)
    }
}
