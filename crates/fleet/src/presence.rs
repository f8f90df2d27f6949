//! Which devices hold a line, since when and why.

use contract::{Consumer, Event};

use crate::Fleet;

impl Consumer for Fleet {
    fn on_event(&self, event: &Event) {
        let _ = event;
        todo!()
    }
}
