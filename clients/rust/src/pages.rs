//! A list as one goes on reading it.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;

use crate::client::{Client, encoded};
use crate::error::Error;
use crate::models::Page;

/// The rows of a list; the next page is asked for when it is wanted. Ends after an error.
#[derive(Clone, Debug)]
pub struct Pages<T> {
    client: Client,
    path: String,
    rows: VecDeque<T>,
    // The cursor of the next page, if there is one: none for the first.
    next: Option<Option<String>>,
}

impl<T> Pages<T> {
    /// `path` has a query already.
    pub(crate) fn new(client: &Client, path: String) -> Pages<T> {
        Pages { client: client.clone(), path, rows: VecDeque::new(), next: Some(None) }
    }
}

impl<T: DeserializeOwned> Iterator for Pages<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Result<T, Error>> {
        while self.rows.is_empty() {
            let path = match self.next.take()? {
                Some(cursor) => format!("{}&cursor={}", self.path, encoded(&cursor)),
                None => self.path.clone(),
            };
            let page: Page<T> = match self.client.get(&path) {
                Ok(page) => page,
                Err(error) => return Some(Err(error)),
            };
            self.rows = page.items.into();
            self.next = page.next.map(Some);
        }
        self.rows.pop_front().map(Ok)
    }
}
