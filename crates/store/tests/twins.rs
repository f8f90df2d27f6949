//! Twins and their changes survive as they were written, bounded, and go with their devices.

mod fixture;

use contract::store::{Registry, StoredSide, StoredTwin, TwinChange, Twins};
use fixture::{a_device, with_devices};
use model::{DeviceNumber, TwinSide, UnixMs, limits};
use store::Store;

const LAMP: DeviceNumber = DeviceNumber(7);
const FAN: DeviceNumber = DeviceNumber(8);

fn side(value: &str, version: u64) -> StoredSide {
    StoredSide { value: value.into(), version, at: (version > 0).then_some(UnixMs(version as i64)) }
}

fn twin(device: DeviceNumber, desired: u64, reported: u64, owed: bool) -> StoredTwin {
    StoredTwin {
        device,
        desired: side(r#"{"led":"on"}"#, desired),
        reported: side("{}", reported),
        dropped: r#"{"old":null}"#.into(),
        acknowledged: 3,
        owed,
    }
}

fn change(device: DeviceNumber, side: TwinSide, version: u64, place: u64) -> TwinChange {
    let patch = format!("{{\"n\":{version}}}");
    TwinChange { device, side, version, at: UnixMs(place as i64), who: "token ci".into(), patch, place }
}

#[tokio::test]
async fn they_come_back_and_go_with_their_device() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), [a_device(LAMP, "lamp"), a_device(FAN, "fan")]).await;
    let first = change(LAMP, TwinSide::Desired, 1, 1);
    store.put_twins(vec![twin(LAMP, 1, 0, true), twin(FAN, 4, 2, false)], vec![first.clone()]).await.unwrap();
    let second = change(LAMP, TwinSide::Reported, 1, 2);
    let stranger = twin(DeviceNumber(99), 1, 0, true);
    let of_stranger = change(stranger.device, TwinSide::Desired, 1, 1);
    store.put_twins(vec![twin(LAMP, 1, 1, true), stranger], vec![second.clone(), of_stranger]).await.unwrap();
    store.close().await;

    let store = Store::open(dir.path()).unwrap();
    let both = vec![twin(LAMP, 1, 1, true), twin(FAN, 4, 2, false)];
    assert_eq!(store.twins(vec![LAMP, DeviceNumber(99), FAN]).await.unwrap(), both);
    assert_eq!(store.twins_owed().await.unwrap(), [(LAMP, 1)]);
    let sides = store.twin_sides(TwinSide::Desired, None, 1).await.unwrap();
    assert_eq!(sides, [(LAMP, r#"{"led":"on"}"#.to_owned())]);
    assert_eq!(store.twin_sides(TwinSide::Reported, Some(LAMP), 9).await.unwrap(), [(FAN, "{}".to_owned())]);
    let page = store.twin_changes(LAMP, None, None, 1).await.unwrap();
    assert_eq!((page.items, page.next.as_deref()), (vec![second.clone()], Some("2")));
    assert_eq!(store.twin_changes(LAMP, None, Some(2), 1).await.unwrap().items, [first]);
    assert_eq!(store.twin_changes(LAMP, Some(TwinSide::Reported), None, 9).await.unwrap().items, [second]);

    store.delete_device(LAMP).await.unwrap();
    assert!(store.twins(vec![LAMP]).await.unwrap().is_empty() && store.twins_owed().await.unwrap().is_empty());
    assert!(store.twin_changes(LAMP, None, None, 9).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn only_so_many_changes_of_each_side_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), [a_device(LAMP, "lamp"), a_device(FAN, "fan")]).await;
    let kept = limits::TWIN_CHANGES_KEPT;
    let others = vec![change(LAMP, TwinSide::Desired, 1, 1), change(FAN, TwinSide::Reported, 1, 1)];
    store.put_twins(vec![], others).await.unwrap();
    let many = (1..=kept + 3).map(|version| change(LAMP, TwinSide::Reported, version, version + 1)).collect();
    store.put_twins(vec![], many).await.unwrap();
    let left = store.twin_changes(LAMP, Some(TwinSide::Reported), None, 1000).await.unwrap().items;
    assert_eq!((left.len() as u64, left.last().unwrap().version), (kept, 4));
    assert_eq!(store.twin_changes(LAMP, Some(TwinSide::Desired), None, 9).await.unwrap().items.len(), 1);
    assert_eq!(store.twin_changes(FAN, None, None, 9).await.unwrap().items.len(), 1);
}
