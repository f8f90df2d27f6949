//! The newest value of each device in the streams that queries name. A stream that nobody asks for costs
//! nothing; at the first question its values are read from the store once, and from then on each upload
//! keeps them up to date. The memory is bounded: the stream that was not asked for longest is let go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use contract::store::{Points, StoreError};
use model::query::Latest;
use model::{DeviceNumber, Point, UnixMs, Value};
use parking_lot::{Mutex, RwLock};

/// Values read at once: a reader of the store is busy with them for some milliseconds.
const PAGE: usize = 10_000;

/// What a value costs beside its text, its share of the map's free places included.
const VALUE_BYTES: usize = 90;

/// Why there are no newest values.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NewestError {
    /// They would take too much memory.
    #[error("the newest values of these streams do not fit into {0} MiB")]
    TooMuch(usize),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Kept {
    at: UnixMs,
    value: Value,
}

/// A stream.
#[derive(Default)]
struct Column {
    values: RwLock<HashMap<DeviceNumber, Kept>>,
    bytes: AtomicUsize,
    // Whether it has all that the store had when it was begun.
    whole: AtomicBool,
    asked: AtomicU64,
}

/// All streams that are held.
pub(crate) struct Newest {
    columns: Mutex<HashMap<Box<str>, Arc<Column>>>,
    // One stream is read at a time, so that two who ask for the same read it once.
    reading: tokio::sync::Mutex<()>,
    turn: AtomicU64,
    bytes_max: usize,
}

/// The streams of one query, held while it is carried out.
struct Held(Vec<Arc<Column>>);

impl Latest for Held {
    fn latest(&self, device: DeviceNumber, place: usize) -> Option<Value> {
        self.0.get(place)?.values.read().get(&device).map(|kept| kept.value.clone())
    }
}

impl Column {
    /// Takes a value unless there is a newer one. Of two with the same time, one that was uploaded
    /// (`told`) counts more than one that was read: it may have replaced it since.
    fn put(&self, device: DeviceNumber, at: UnixMs, value: Value, told: bool) {
        let cost = |value: &Value| if let Value::Text(text) = value { VALUE_BYTES + text.len() } else { VALUE_BYTES };
        let mut values = self.values.write();
        let before = match values.get(&device) {
            Some(kept) if kept.at > at || (kept.at == at && !told) => return,
            Some(kept) => cost(&kept.value),
            None => 0,
        };
        self.bytes.fetch_add(cost(&value), Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
        values.insert(device, Kept { at, value });
    }
}

impl Newest {
    pub fn new(bytes_max: usize) -> Newest {
        let (columns, reading, turn) = (Mutex::default(), tokio::sync::Mutex::default(), AtomicU64::new(0));
        Newest { columns, reading, turn, bytes_max }
    }

    /// The newest values of some streams, in their order.
    pub async fn of(&self, store: &dyn Points, streams: &[Box<str>]) -> Result<Arc<dyn Latest>, NewestError> {
        let _turn = self.reading.lock().await;
        let asked = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        let mut held = Vec::with_capacity(streams.len());
        for stream in streams {
            let known = self.columns.lock().get(stream).filter(|column| column.whole.load(Ordering::Relaxed)).cloned();
            let column = match known {
                Some(column) => column,
                None => self.read(store, stream, asked).await?,
            };
            column.asked.store(asked, Ordering::Relaxed);
            held.push(column);
        }
        Ok(Arc::new(Held(held)))
    }

    /// Reads a stream. It is known before it is whole, so that what is uploaded meanwhile is not missed.
    async fn read(&self, store: &dyn Points, stream: &str, asked: u64) -> Result<Arc<Column>, NewestError> {
        let column = Arc::new(Column::default());
        column.asked.store(asked, Ordering::Relaxed);
        // One that an earlier reader left half read, because who asked went away, is replaced.
        self.columns.lock().insert(stream.into(), column.clone());
        let mut after = None;
        loop {
            let page = store.newest_of(stream.to_owned(), after, PAGE).await.inspect_err(|_| self.forget(stream))?;
            let (more, last) = (page.len() == PAGE, page.last().map(|newest| newest.device));
            for newest in page {
                column.put(newest.device, newest.at, newest.value, false);
            }
            if !self.make_room(asked) {
                self.forget(stream);
                return Err(NewestError::TooMuch(self.bytes_max >> 20));
            }
            if !more {
                column.whole.store(true, Ordering::Relaxed);
                return Ok(column);
            }
            after = last;
        }
    }

    fn forget(&self, stream: &str) {
        self.columns.lock().remove(stream);
    }

    /// Lets go of streams that were asked for before `turn`, until the rest fits. Whether it does.
    fn make_room(&self, turn: u64) -> bool {
        let mut columns = self.columns.lock();
        loop {
            let bytes: usize = columns.values().map(|column| column.bytes.load(Ordering::Relaxed)).sum();
            if bytes <= self.bytes_max {
                return true;
            }
            let oldest = columns.iter().map(|(name, column)| (column.asked.load(Ordering::Relaxed), name)).min();
            let Some((_, name)) = oldest.filter(|(asked, _)| *asked < turn) else { return false };
            let name = name.clone();
            columns.remove(&name);
        }
    }

    /// These points are on disk.
    pub fn stored(&self, points: &[Point]) {
        let columns = {
            let columns = self.columns.lock();
            if columns.is_empty() {
                return;
            }
            columns.clone()
        };
        let mut met = false;
        for point in points {
            if let Some(column) = columns.get(point.stream.as_str()) {
                column.put(point.device, point.at, point.value.clone(), true);
                met = true;
            }
        }
        if met {
            // What is not asked for may go; a query that runs holds its own.
            self.make_room(u64::MAX);
        }
    }

    /// The device is registered no more.
    pub fn removed(&self, device: DeviceNumber) {
        for column in self.columns.lock().values() {
            if let Some(kept) = column.values.write().remove(&device) {
                let text = if let Value::Text(text) = kept.value { text.len() } else { 0 };
                column.bytes.fetch_sub(VALUE_BYTES + text, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::store::{Later, Latest as LatestOf, NewestOf, Page, PointQuery};

    use super::*;

    /// Every stream has a value at two devices.
    struct Two;

    impl Points for Two {
        fn append(&self, _: Vec<Point>) -> Later<()> {
            unreachable!("nothing is stored here")
        }
        fn points(&self, _: PointQuery) -> Later<Page<Point>> {
            unreachable!("nor read back")
        }
        fn latest(&self, _: DeviceNumber) -> Later<Vec<LatestOf>> {
            unreachable!("nor asked by device")
        }
        fn newest_of(&self, _: String, _: Option<DeviceNumber>, _: usize) -> Later<Vec<NewestOf>> {
            let of = |device| NewestOf { device: DeviceNumber(device), at: UnixMs(1), value: Value::Bool(true) };
            Box::pin(async move { Ok(vec![of(1), of(2)]) })
        }
        fn streams(&self, _: DeviceNumber) -> Later<Vec<String>> {
            unreachable!("nor its streams")
        }
    }

    #[tokio::test]
    async fn what_was_not_asked_for_longest_goes_first_and_what_cannot_fit_is_said() {
        let newest = Newest::new(5 * VALUE_BYTES);
        let names = || {
            let mut names: Vec<String> = newest.columns.lock().keys().map(|name| name.to_string()).collect();
            names.sort();
            names
        };
        for name in ["a", "b", "a", "c"] {
            newest.of(&Two, &[name.into()]).await.unwrap();
        }
        assert_eq!(names(), ["a", "c"]);
        let three: Vec<Box<str>> = ["a", "b", "c"].map(Box::from).into();
        assert!(matches!(newest.of(&Two, &three).await, Err(NewestError::TooMuch(_))));
        // A long text of one device must not fill the memory either.
        let held = newest.of(&Two, &["a".into()]).await.unwrap();
        let text = Value::Text("x".repeat(9 * VALUE_BYTES));
        newest.stored(&[Point { device: DeviceNumber(1), stream: "a".into(), at: UnixMs(2), value: text.clone() }]);
        assert_eq!((names(), held.latest(DeviceNumber(1), 0)), (vec![], Some(text)), "who asked still has it");
    }
}
