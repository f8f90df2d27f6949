//! Twins and their changes survive as they were written, bounded, and go with their devices.

mod fixture;

use contract::store::{Registry, StoredPart, StoredTwin, TwinChange, Twins};
use fixture::{a_device, with_devices};
use model::{DeviceNumber, TwinPart, UnixMs, limits};
use store::Store;

const LAMP: DeviceNumber = DeviceNumber(7);
const FAN: DeviceNumber = DeviceNumber(8);

fn part(value: &str, version: u64) -> StoredPart {
    StoredPart { value: value.into(), version, at: (version > 0).then_some(UnixMs(version as i64)) }
}

fn twin(device: DeviceNumber, desired: u64, reported: u64, owed: bool) -> StoredTwin {
    StoredTwin {
        device,
        desired: part(r#"{"led":"on"}"#, desired),
        reported: part("{}", reported),
        dropped: r#"{"old":null}"#.into(),
        acknowledged: 3,
        owed,
    }
}

fn change(device: DeviceNumber, part: TwinPart, version: u64, place: u64) -> TwinChange {
    let patch = format!("{{\"n\":{version}}}");
    TwinChange { device, part, version, at: UnixMs(place as i64), who: "token ci".into(), patch, place }
}

#[tokio::test]
async fn they_come_back_and_go_with_their_device() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), [a_device(LAMP, "lamp"), a_device(FAN, "fan")]).await;
    let first = change(LAMP, TwinPart::Desired, 1, 1);
    store.put_twins(vec![twin(LAMP, 1, 0, true), twin(FAN, 4, 2, false)], vec![first.clone()]).await.unwrap();
    let second = change(LAMP, TwinPart::Reported, 1, 2);
    let stranger = twin(DeviceNumber(99), 1, 0, true);
    let of_stranger = change(stranger.device, TwinPart::Desired, 1, 1);
    store.put_twins(vec![twin(LAMP, 1, 1, true), stranger], vec![second.clone(), of_stranger]).await.unwrap();
    store.close().await;

    let store = Store::open(dir.path()).unwrap();
    let both = vec![twin(LAMP, 1, 1, true), twin(FAN, 4, 2, false)];
    assert_eq!(store.twins(vec![LAMP, DeviceNumber(99), FAN]).await.unwrap(), both);
    assert_eq!(store.twins_owed().await.unwrap(), [(LAMP, 1)]);
    let parts = store.twin_parts(TwinPart::Desired, None, 1).await.unwrap();
    assert_eq!(parts, [(LAMP, r#"{"led":"on"}"#.to_owned())]);
    assert_eq!(store.twin_parts(TwinPart::Reported, Some(LAMP), 9).await.unwrap(), [(FAN, "{}".to_owned())]);
    let page = store.twin_changes(LAMP, None, None, 1).await.unwrap();
    assert_eq!((page.items, page.next.as_deref()), (vec![second.clone()], Some("2")));
    assert_eq!(store.twin_changes(LAMP, None, Some(2), 1).await.unwrap().items, [first]);
    assert_eq!(store.twin_changes(LAMP, Some(TwinPart::Reported), None, 9).await.unwrap().items, [second]);

    store.delete_device(LAMP).await.unwrap();
    assert!(store.twins(vec![LAMP]).await.unwrap().is_empty() && store.twins_owed().await.unwrap().is_empty());
    assert!(store.twin_changes(LAMP, None, None, 9).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn only_so_many_changes_of_each_side_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), [a_device(LAMP, "lamp"), a_device(FAN, "fan")]).await;
    let kept = limits::TWIN_CHANGES_KEPT;
    let others = vec![change(LAMP, TwinPart::Desired, 1, 1), change(FAN, TwinPart::Reported, 1, 1)];
    store.put_twins(vec![], others).await.unwrap();
    let many = (1..=kept + 3).map(|version| change(LAMP, TwinPart::Reported, version, version + 1)).collect();
    store.put_twins(vec![], many).await.unwrap();
    let left = store.twin_changes(LAMP, Some(TwinPart::Reported), None, 1000).await.unwrap().items;
    assert_eq!((left.len() as u64, left.last().unwrap().version), (kept, 4));
    assert_eq!(store.twin_changes(LAMP, Some(TwinPart::Desired), None, 9).await.unwrap().items.len(), 1);
    assert_eq!(store.twin_changes(FAN, None, None, 9).await.unwrap().items.len(), 1);
}
