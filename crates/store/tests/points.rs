//! Points survive as they were measured, and are read in order whatever the page.

mod fixture;

use std::collections::BTreeMap;

use contract::store::{Latest, NewestOf, PointQuery, Points, Registry, StoreError};
use fixture::{a_device, with_devices};
use model::{DeviceNumber, Point, UnixMs, Value};
use store::Store;

const LAMP: DeviceNumber = DeviceNumber(1);
const FAN: DeviceNumber = DeviceNumber(2);

async fn with_lamp_and_fan(dir: &std::path::Path) -> Store {
    with_devices(dir, [a_device(LAMP, "lamp"), a_device(FAN, "fan")]).await
}

fn point(device: DeviceNumber, stream: &str, at: i64, value: Value) -> Point {
    Point { device, stream: stream.into(), at: UnixMs(at), value }
}

fn all(device: DeviceNumber) -> PointQuery {
    PointQuery { device, stream: None, from: None, to: None, limit: 100, cursor: None }
}

async fn read(store: &Store, query: PointQuery) -> Vec<(String, i64, Value)> {
    let page = store.points(query).await.unwrap();
    page.items.into_iter().map(|point| (point.stream, point.at.0, point.value)).collect()
}

#[tokio::test]
async fn every_kind_of_value_survives_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let values = [
        Value::Number(21.5),
        Value::Number(1.0),
        Value::Number(0.0),
        Value::Number(-9_007_199_254_740_992.0),
        Value::Number(1e-300),
        Value::Bool(true),
        Value::Bool(false),
        Value::Text("1".into()),
        Value::Text("开".into()),
        Value::Text(String::new()),
    ];
    let points: Vec<Point> = values.into_iter().zip(-3..).map(|(value, at)| point(LAMP, "温度", at, value)).collect();
    {
        let store = with_lamp_and_fan(dir.path()).await;
        store.append(points.clone()).await.unwrap();
        store.close().await;
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.points(all(LAMP)).await.unwrap().items, points);
    let nan = store.append(vec![point(LAMP, "a", 0, Value::Number(f64::NAN))]).await;
    assert!(matches!(nan, Err(StoreError::Engine(_))));
}

#[tokio::test]
async fn a_second_value_for_a_time_replaces_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_lamp_and_fan(dir.path()).await;
    store.append(vec![point(LAMP, "t", 5, Value::Number(1.0)), point(LAMP, "t", 5, Value::Number(2.0))]).await.unwrap();
    store.append(vec![point(LAMP, "t", 5, Value::Text("three".into()))]).await.unwrap();
    assert_eq!(read(&store, all(LAMP)).await, [("t".into(), 5, Value::Text("three".into()))]);
}

#[tokio::test]
async fn the_newest_value_is_the_one_measured_last_not_the_one_that_came_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_lamp_and_fan(dir.path()).await;
    let number = |stream, at| point(LAMP, stream, at, Value::Number(at as f64));
    store.append(vec![number("t", 9), number("t", 3), number("a", 1), point(FAN, "t", 99, Value::Bool(true))]).await.unwrap();
    let latest = |stream: &str, at: i64| Latest { stream: stream.into(), at: UnixMs(at), value: Value::Number(at as f64) };
    assert_eq!(store.latest(LAMP).await.unwrap(), [latest("a", 1), latest("t", 9)]);
    assert_eq!(store.streams(LAMP).await.unwrap(), ["a", "t"]);
    assert!(store.latest(DeviceNumber(77)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_range_takes_its_beginning_and_leaves_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_lamp_and_fan(dir.path()).await;
    let number = |stream, at| point(LAMP, stream, at, Value::Number(0.0));
    store.append((1..=5).flat_map(|at| [number("a", at), number("b", at)]).collect()).await.unwrap();
    let times = |rows: Vec<(String, i64, Value)>| rows.into_iter().map(|row| row.1).collect::<Vec<_>>();
    let range = PointQuery { from: Some(UnixMs(2)), to: Some(UnixMs(4)), ..all(LAMP) };
    assert_eq!(times(read(&store, PointQuery { stream: Some("a".into()), ..range.clone() }).await), [2, 3]);
    assert_eq!(times(read(&store, range.clone()).await), [2, 2, 3, 3]);
    assert!(read(&store, PointQuery { stream: Some("none".into()), ..range }).await.is_empty());
}

/// Whatever was written in whatever order, reading a range in pages gives what a sorted map gives.
#[test]
fn reading_agrees_with_a_sorted_map() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = runtime.block_on(with_lamp_and_fan(dir.path()));
    let mut number = 100;
    arbtest::arbtest(|u| {
        // A device of its own for every case, in a store that has the others' points too.
        number += 1;
        let device = DeviceNumber(number);
        runtime.block_on(store.put_device(a_device(device, &format!("d{number}")), Some("s".into()))).unwrap();
        let mut numbers: Vec<&str> = Vec::new();
        let mut map: BTreeMap<(i64, usize), f64> = BTreeMap::new();
        for _ in 0..u.int_in_range(1..=3)? {
            let mut batch = Vec::new();
            for _ in 0..u.int_in_range(0..=20)? {
                let stream = *u.choose(&["a", "b", "c", "d"])?;
                let (at, value) = (u.int_in_range(-5..=15)?, f64::from(u.arbitrary::<u8>()?));
                // Equal times go by the stream's number, which is given at first sight.
                let place = numbers.iter().position(|known| *known == stream).unwrap_or(numbers.len());
                if place == numbers.len() {
                    numbers.push(stream);
                }
                map.insert((at, place), value);
                batch.push(point(device, stream, at, Value::Number(value)));
            }
            runtime.block_on(store.append(batch)).unwrap();
        }
        let from = u.arbitrary::<bool>()?.then_some(u.int_in_range(-7..=17)?);
        let to = u.arbitrary::<bool>()?.then_some(u.int_in_range(-7..=17)?);
        let only = u.arbitrary::<bool>()?.then_some(*u.choose(&["a", "b", "none"])?);
        let limit = u.int_in_range(1..=12)?;
        let expected: Vec<(String, i64, Value)> = map
            .iter()
            .filter(|((at, place), _)| {
                from.is_none_or(|from| *at >= from)
                    && to.is_none_or(|to| *at < to)
                    && only.is_none_or(|only| numbers[*place] == only)
            })
            .map(|((at, place), value)| (numbers[*place].to_owned(), *at, Value::Number(*value)))
            .collect();
        let mut query = PointQuery {
            device,
            stream: only.map(str::to_owned),
            from: from.map(UnixMs),
            to: to.map(UnixMs),
            limit,
            cursor: None,
        };
        let mut seen = Vec::new();
        loop {
            let page = runtime.block_on(store.points(query.clone())).unwrap();
            assert!(page.items.len() <= limit);
            seen.extend(page.items.into_iter().map(|point| (point.stream, point.at.0, point.value)));
            match page.next {
                Some(next) => query.cursor = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, expected);
        Ok(())
    });
}

#[tokio::test]
async fn pages_of_any_size_give_every_point_once_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_lamp_and_fan(dir.path()).await;
    // Streams that overlap, tie and end at different times; the first named is not the first by name.
    let mut points = Vec::new();
    for (stream, step, count) in [("z", 1, 20), ("a", 2, 15), ("m", 5, 6), ("late", 1, 1)] {
        let begin = if stream == "late" { 500 } else { 0 };
        points.extend((0..count).map(|i| point(LAMP, stream, begin + i * step, Value::Number(i as f64))));
    }
    points.push(point(FAN, "z", 3, Value::Bool(true)));
    store.append(points).await.unwrap();
    let whole = read(&store, all(LAMP)).await;
    assert_eq!(whole.len(), 42);
    assert!(whole.is_sorted_by_key(|row| row.1), "oldest first");
    for limit in 1..=43 {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = store.points(PointQuery { limit, cursor, ..all(LAMP) }).await.unwrap();
            assert!(page.items.len() <= limit);
            seen.extend(page.items.into_iter().map(|point| (point.stream, point.at.0, point.value)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, whole, "limit {limit}");
    }
    let bad = store.points(PointQuery { cursor: Some("nonsense".into()), ..all(LAMP) }).await;
    assert!(matches!(bad, Err(StoreError::BadCursor)));
}

#[tokio::test]
async fn the_newest_of_a_stream_is_told_device_by_device() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_lamp_and_fan(dir.path()).await;
    assert!(store.newest_of("temp".into(), None, 9).await.unwrap().is_empty());
    let number = Value::Number;
    let points = [
        point(LAMP, "temp", 5, number(2.0)),
        point(LAMP, "temp", 9, Value::Text("warm".into())),
        point(LAMP, "temp", 7, number(3.0)),
        point(LAMP, "other", 99, number(4.0)),
        point(FAN, "on", 1, Value::Bool(true)),
        point(FAN, "temp", -1, number(5.0)),
    ];
    store.append(points.into()).await.unwrap();
    let newest = |device, at, value| NewestOf { device, at: UnixMs(at), value };
    let (lamp, fan) = (newest(LAMP, 9, Value::Text("warm".into())), newest(FAN, -1, number(5.0)));
    assert_eq!(store.newest_of("temp".into(), None, 9).await.unwrap(), [lamp.clone(), fan.clone()]);
    assert_eq!(store.newest_of("temp".into(), None, 1).await.unwrap(), [lamp]);
    assert_eq!(store.newest_of("temp".into(), Some(LAMP), 1).await.unwrap(), [fan]);
    assert_eq!(store.newest_of("on".into(), None, 9).await.unwrap(), [newest(FAN, 1, Value::Bool(true))]);
}
