//! What is wrong with a query, where, and what was probably meant.

use std::fmt;

/// Why a query was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    /// Where: the character's place, counted from 1. One beyond the last when something is missing at the end.
    pub position: usize,
    /// What is wrong, as a sentence for people.
    pub what: String,
    /// What to write instead, where that can be guessed.
    pub hint: Option<String>,
}

impl QueryError {
    pub(crate) fn new(position: usize, what: impl Into<String>) -> QueryError {
        QueryError { position, what: what.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> QueryError {
        QueryError { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "at character {}: {}", self.position, self.what)
    }
}

impl std::error::Error for QueryError {}
