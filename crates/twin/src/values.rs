//! Values of twins at all devices, for queries. A value that nobody asks for costs nothing; at the first question
//! it is read from all twins once, and from then on each change keeps it up to date. The memory is bounded: what
//! was not asked for longest is let go.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use contract::store::{StoreError, Twins};
use model::query::Latest;
use model::{DeviceNumber, TwinPart, TwinPath, Value};
use parking_lot::{Mutex, RwLock};

use crate::seek::seek;
use crate::state::Twin;

/// Twins read at once: a reader of the store is busy with them for some milliseconds.
const PAGE: usize = 5_000;

/// What a value costs beside its text, its share of the map's free places included.
const VALUE_BYTES: usize = 80;

/// Why there are no values.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ValuesError {
    /// They would take too much memory.
    #[error("these values of all twins do not fit into {0} MiB")]
    TooMuch(usize),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One value at all devices that have it.
#[derive(Default)]
struct Column {
    // While it is being read also what changed meanwhile, `None` for what went: that is newer than what is read.
    values: RwLock<HashMap<DeviceNumber, Option<Value>>>,
    bytes: AtomicUsize,
    // Whether it has all that the store had when it was begun.
    whole: AtomicBool,
    asked: AtomicU64,
}

/// All values that are held.
pub struct Values {
    columns: Mutex<HashMap<TwinPath, Arc<Column>>>,
    // One is read at a time, so that two who ask for the same read it once.
    reading: tokio::sync::Mutex<()>,
    turn: AtomicU64,
    bytes_max: usize,
}

/// The values of one query, held while it is carried out.
struct Held(Vec<Arc<Column>>);

impl Latest for Held {
    fn latest(&self, _: DeviceNumber, _: usize) -> Option<Value> {
        None
    }

    fn twin(&self, device: DeviceNumber, place: usize) -> Option<Value> {
        self.0.get(place)?.values.read().get(&device).cloned().flatten()
    }
}

fn cost(value: Option<&Value>) -> usize {
    VALUE_BYTES + if let Some(Value::Text(text)) = value { text.len() } else { 0 }
}

impl Column {
    /// Takes what was read, unless it has changed since.
    fn read(&self, read: impl Iterator<Item = (DeviceNumber, Value)>) {
        let mut values = self.values.write();
        for (device, value) in read {
            if let Entry::Vacant(place) = values.entry(device) {
                self.bytes.fetch_add(cost(Some(&value)), Ordering::Relaxed);
                place.insert(Some(value));
            }
        }
    }

    /// Takes what is on disk since a moment ago.
    fn stored(&self, device: DeviceNumber, value: Option<Value>) {
        let mut values = self.values.write();
        let now = if value.is_some() || !self.whole.load(Ordering::Relaxed) {
            let now = cost(value.as_ref());
            values.insert(device, value).map_or((0, now), |before| (cost(before.as_ref()), now))
        } else {
            values.remove(&device).map_or((0, 0), |before| (cost(before.as_ref()), 0))
        };
        self.bytes.fetch_add(now.1, Ordering::Relaxed);
        self.bytes.fetch_sub(now.0, Ordering::Relaxed);
    }

    /// All is read: what only says that something went is not needed any more.
    fn is_whole(&self) {
        let mut values = self.values.write();
        self.whole.store(true, Ordering::Relaxed);
        let before = values.len();
        values.retain(|_, value| value.is_some());
        self.bytes.fetch_sub((before - values.len()) * VALUE_BYTES, Ordering::Relaxed);
    }
}

impl Values {
    pub fn new(bytes_max: usize) -> Values {
        let (columns, reading, turn) = (Mutex::default(), tokio::sync::Mutex::default(), AtomicU64::new(0));
        Values { columns, reading, turn, bytes_max }
    }

    /// The values at some paths, in their order.
    pub async fn of(&self, store: &dyn Twins, paths: &[TwinPath]) -> Result<Arc<dyn Latest>, ValuesError> {
        let _turn = self.reading.lock().await;
        let asked = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        let known = |path| self.columns.lock().get(path).filter(|column| column.whole.load(Ordering::Relaxed)).cloned();
        for part in [TwinPart::Desired, TwinPart::Reported] {
            let new: Vec<&TwinPath> = paths.iter().filter(|path| path.part == part && known(path).is_none()).collect();
            for path in paths.iter().filter(|path| path.part == part) {
                if let Some(column) = known(path) {
                    column.asked.store(asked, Ordering::Relaxed);
                }
            }
            if !new.is_empty() {
                self.read(store, part, &new, asked).await?;
            }
        }
        let held: Option<Vec<Arc<Column>>> = paths.iter().map(known).collect();
        // One may have been let go again for the next.
        held.map(|held| Arc::new(Held(held)) as Arc<dyn Latest>).ok_or_else(|| self.too_much())
    }

    /// Reads values of one part. They are known before they are whole, so that what changes meanwhile is not missed.
    async fn read(&self, store: &dyn Twins, part: TwinPart, paths: &[&TwinPath], asked: u64) -> Result<(), ValuesError> {
        let columns: Vec<Arc<Column>> = paths.iter().map(|_| Arc::new(Column::default())).collect();
        for (path, column) in paths.iter().zip(&columns) {
            column.asked.store(asked, Ordering::Relaxed);
            // One that an earlier reader left half read, because who asked went away, is replaced.
            self.columns.lock().insert((*path).clone(), column.clone());
        }
        let mut coming = Some(store.twin_parts(part, None, PAGE));
        while let Some(page) = coming.take() {
            let page = page.await.inspect_err(|_| self.forget(paths))?;
            // The store reads the next while we look at this one.
            if let (PAGE, Some((last, _))) = (page.len(), page.last()) {
                coming = Some(store.twin_parts(part, Some(*last), PAGE));
            }
            let columns = columns.clone();
            let wanted: Vec<TwinPath> = paths.iter().map(|path| (*path).clone()).collect();
            let looking = tokio::task::spawn_blocking(move || {
                for (path, column) in wanted.iter().zip(&columns) {
                    // A twin that cannot be read has no values; whoever looks at it is told.
                    column.read(page.iter().filter_map(|(device, text)| Some((*device, seek(text, path)?))));
                }
            });
            looking.await.map_err(|_| StoreError::Closed)?;
            if !self.make_room(asked) {
                self.forget(paths);
                return Err(self.too_much());
            }
        }
        columns.iter().for_each(|column| column.is_whole());
        Ok(())
    }

    fn too_much(&self) -> ValuesError {
        ValuesError::TooMuch(self.bytes_max >> 20)
    }

    fn forget(&self, paths: &[&TwinPath]) {
        let mut columns = self.columns.lock();
        paths.iter().for_each(|path| drop(columns.remove(*path)));
    }

    /// Lets go of values that were asked for before `turn`, until the rest fits. Whether it does.
    fn make_room(&self, turn: u64) -> bool {
        let mut columns = self.columns.lock();
        loop {
            let bytes: usize = columns.values().map(|column| column.bytes.load(Ordering::Relaxed)).sum();
            if bytes <= self.bytes_max {
                return true;
            }
            let oldest = columns.iter().min_by_key(|(_, column)| column.asked.load(Ordering::Relaxed));
            let Some((path, _)) = oldest.filter(|(_, column)| column.asked.load(Ordering::Relaxed) < turn) else { return false };
            let path = path.clone();
            columns.remove(&path);
        }
    }

    /// This twin is on disk.
    pub fn stored(&self, device: DeviceNumber, twin: &Twin) {
        let columns = {
            let columns = self.columns.lock();
            if columns.is_empty() {
                return;
            }
            columns.clone()
        };
        for (path, column) in columns {
            let part = match path.part {
                TwinPart::Desired => &twin.desired,
                TwinPart::Reported => &twin.reported,
            };
            column.stored(device, path.value_in(&part.value));
        }
        // What is not asked for may go; a query that runs holds its own.
        self.make_room(u64::MAX);
    }

    /// The device is registered no more.
    pub fn removed(&self, device: DeviceNumber) {
        for column in self.columns.lock().values() {
            column.stored(device, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::store::{Later, Page, StoredTwin, TwinChange};
    use serde_json::json;

    use super::*;
    use crate::patch::Object;
    use crate::state::Part;

    /// Two devices have twins; what is reported has `a` and `b`.
    struct Two;

    impl Twins for Two {
        fn twins_owed(&self) -> Later<Vec<(DeviceNumber, u64)>> {
            unreachable!("nobody is told anything here")
        }
        fn twins(&self, _: Vec<DeviceNumber>) -> Later<Vec<StoredTwin>> {
            unreachable!("nor looked at")
        }
        fn twin_parts(&self, part: TwinPart, _: Option<DeviceNumber>, _: usize) -> Later<Vec<(DeviceNumber, String)>> {
            let text = if part == TwinPart::Reported { r#"{"a":1,"b":true,"c":"x"}"# } else { "{}" };
            Box::pin(async move { Ok(vec![(DeviceNumber(1), text.to_owned()), (DeviceNumber(2), text.to_owned())]) })
        }
        fn put_twins(&self, _: Vec<StoredTwin>, _: Vec<TwinChange>) -> Later<()> {
            unreachable!("nor changed")
        }
        fn twin_changes(&self, _: DeviceNumber, _: Option<TwinPart>, _: Option<u64>, _: usize) -> Later<Page<TwinChange>> {
            unreachable!("nor asked for its past")
        }
    }

    fn path(name: &str) -> TwinPath {
        TwinPath { part: TwinPart::Reported, members: vec![name.into()] }
    }

    fn twin(reported: serde_json::Value) -> Twin {
        let value: Object = serde_json::from_value(reported).unwrap();
        let mut twin = Twin::default();
        twin.reported = Part { value, ..Part::default() };
        twin
    }

    #[tokio::test]
    async fn what_was_not_asked_for_longest_goes_first_and_what_cannot_fit_is_said() {
        let values = Values::new(5 * VALUE_BYTES);
        let names = || {
            let mut names: Vec<String> = values.columns.lock().keys().map(|path| path.to_string()).collect();
            names.sort();
            names
        };
        for name in ["a", "b", "a", "c"] {
            assert!(values.of(&Two, &[path(name)]).await.is_ok());
        }
        assert_eq!(names(), ["twin.a", "twin.c"]);
        let three = ["a", "b", "c"].map(path);
        assert!(matches!(values.of(&Two, &three).await, Err(ValuesError::TooMuch(_))));
        // A long text of one device must not fill the memory either.
        let held = values.of(&Two, &[path("a")]).await.unwrap();
        let text = "x".repeat(9 * VALUE_BYTES);
        values.stored(DeviceNumber(1), &twin(json!({ "a": text })));
        assert_eq!((names(), held.twin(DeviceNumber(1), 0)), (vec![], Some(Value::Text(text))), "who asked still has it");
    }

    #[tokio::test]
    async fn changes_count_more_than_what_is_read_and_what_went_is_gone() {
        let values = Values::new(1 << 20);
        // As if the change came while the column is being read.
        let column = Arc::new(Column::default());
        column.stored(DeviceNumber(1), None);
        column.read([1, 2].map(|number| (DeviceNumber(number), Value::Bool(true))).into_iter());
        column.is_whole();
        assert_eq!((column.values.read().len(), column.bytes.load(Ordering::Relaxed)), (1, VALUE_BYTES));
        let held = values.of(&Two, &[path("a"), path("gone")]).await.unwrap();
        assert_eq!((held.twin(DeviceNumber(1), 0), held.twin(DeviceNumber(1), 1)), (Some(Value::Number(1.0)), None));
        values.stored(DeviceNumber(1), &twin(json!({"gone": "back"})));
        values.removed(DeviceNumber(2));
        assert_eq!(held.twin(DeviceNumber(1), 0), None);
        assert_eq!((held.twin(DeviceNumber(1), 1), held.twin(DeviceNumber(2), 0)), (Some(Value::Text("back".into())), None));
        let bytes: usize = values.columns.lock().values().map(|column| column.bytes.load(Ordering::Relaxed)).sum();
        assert_eq!(bytes, VALUE_BYTES + 4);
    }
}
