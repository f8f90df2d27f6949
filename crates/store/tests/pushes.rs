//! Pushes and deliveries survive as they were written.

mod fixture;

use bytes::Bytes;
use contract::store::{DeliveryChange, DeliveryLife, FreshDelivery, Page, Pushes, Registry, StoredPush};
use model::{Delivery, DeliveryState, DeliveryStep, DeviceId, DeviceNumber, Order, Priority, PushId, Terms, UnixMs, limits};
use store::Store;

async fn with_devices(dir: &std::path::Path, devices: u32) -> Store {
    let all = (1..=devices).map(|number| fixture::a_device(DeviceNumber(number), id(number).as_str()));
    fixture::with_devices(dir, all).await
}

fn id(number: u32) -> DeviceId {
    DeviceId::parse(&format!("d{number}")).unwrap()
}

fn push(id: u64, order: Order) -> StoredPush {
    StoredPush {
        id: PushId(id),
        order,
        payload: Bytes::from_static(b"\x00on\xff"),
        audience: r#"{"device":"d1"}"#.into(),
        sender: "token ci".into(),
        created: UnixMs(100),
        expires: Some(UnixMs(200)),
        idempotency_key: Some(format!("key {id}")),
        terms: Terms {
            collapse: id.is_multiple_of(2).then(|| "colour".into()),
            resend_of: (id == 3).then_some(PushId(1)),
            per_second: (id == 2).then_some(7),
            starts: (id == 3).then_some(UnixMs(150)),
            priority: [Priority::Normal, Priority::High, Priority::Low][id as usize % 3],
        },
    }
}

fn delivery(push: u64, number: u32, state: DeliveryState) -> Delivery {
    let push = PushId(push);
    Delivery {
        push,
        number: DeviceNumber(number),
        device: id(number),
        state,
        at: UnixMs(100),
        detail: "away".into(),
        answer: None,
    }
}

fn changes(deliveries: Vec<Delivery>) -> Vec<DeliveryChange> {
    deliveries.into_iter().map(|delivery| DeliveryChange { delivery, passed: Vec::new() }).collect()
}

fn as_they_stand(page: Page<DeliveryLife>) -> Vec<Delivery> {
    page.items.into_iter().map(|life| life.delivery).collect()
}

fn same(a: &StoredPush, b: &StoredPush) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

#[tokio::test]
async fn a_push_and_its_deliveries_survive() {
    let dir = tempfile::tempdir().unwrap();
    let orders = [Order::Message, Order::Ask, Order::Command { verb: "gpio.write".into() }];
    let pushes: Vec<StoredPush> = orders.into_iter().zip(1..).map(|(order, id)| push(id, order)).collect();
    let plain = StoredPush { expires: None, idempotency_key: None, payload: Bytes::new(), ..push(4, Order::Message) };
    {
        let store = with_devices(dir.path(), 2).await;
        assert_eq!(store.last_push().await.unwrap(), PushId(0));
        for one in &pushes {
            store.create_push(one.clone(), vec![delivery(one.id.0, 1, DeliveryState::Queued)]).await.unwrap();
        }
        store.create_push(plain.clone(), vec![]).await.unwrap();
        store.create_push(StoredPush { idempotency_key: None, ..push(5, Order::Ask) }, vec![]).await.unwrap();
        store.close().await;
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.last_push().await.unwrap(), PushId(5));
    for one in pushes.iter().chain([&plain]) {
        assert!(same(&store.push(one.id).await.unwrap().unwrap(), one));
    }
    assert!(store.push(PushId(99)).await.unwrap().is_none());
    assert_eq!(store.push_by_key("key 2".into()).await.unwrap(), Some(PushId(2)));
    assert_eq!(store.push_by_key("key 4".into()).await.unwrap(), None);
    let open = store.open_deliveries(UnixMs(0)).await.unwrap();
    assert_eq!(open.len(), 3);
    for ((stored, delivered), wanted) in open.iter().zip(&pushes) {
        assert!(same(stored, wanted));
        assert_eq!(*delivered, delivery(wanted.id.0, 1, DeliveryState::Queued));
    }
}

#[tokio::test]
async fn a_push_is_kept_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), 1).await;
    let queued = |number| delivery(1, number, DeliveryState::Queued);
    assert!(store.create_push(push(1, Order::Ask), vec![queued(1), queued(2)]).await.is_err(), "there is no device 2");
    assert!(store.push(PushId(1)).await.unwrap().is_none());
    assert!(store.open_deliveries(UnixMs(0)).await.unwrap().is_empty());
    store.create_push(push(1, Order::Ask), vec![queued(1)]).await.unwrap();
    assert!(store.create_push(push(1, Order::Ask), vec![]).await.is_err(), "the number is taken");
    let twice = StoredPush { id: PushId(2), ..push(1, Order::Ask) };
    assert!(store.create_push(twice, vec![]).await.is_err(), "the idempotency key is taken");
}

#[tokio::test]
async fn deliveries_take_their_steps_and_leave_the_open_ones() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), 9).await;
    let queued = (1..=9).map(|number| delivery(1, number, DeliveryState::Queued)).collect();
    store.create_push(push(1, Order::Ask), queued).await.unwrap();
    let steps: Vec<Delivery> = DeliveryState::ALL
        .into_iter()
        .zip(1..)
        .map(|(state, number)| Delivery {
            at: UnixMs(300),
            detail: String::new(),
            answer: Some(Bytes::from_static(b"\xff")),
            ..delivery(1, number, state)
        })
        .collect();
    store.update_deliveries(changes(steps.clone())).await.unwrap();
    store.update_deliveries(changes(vec![delivery(7, 1, DeliveryState::Sent)])).await.unwrap(); // nowhere: no harm

    assert_eq!(as_they_stand(store.deliveries(PushId(1), None, 100).await.unwrap()), steps);
    let open: Vec<Delivery> = store.open_deliveries(UnixMs(0)).await.unwrap().into_iter().map(|(_, delivery)| delivery).collect();
    assert_eq!(open, steps[..3]);
    assert_eq!(store.open_deliveries(UnixMs(301)).await.unwrap().len(), 2, "too long ago for an answer");
    store.create_push(push(2, Order::Message), vec![delivery(2, 1, DeliveryState::Delivered)]).await.unwrap();
    assert_eq!(store.open_deliveries(UnixMs(0)).await.unwrap().len(), 3, "nobody answers a plain message");
    let counts = store.push_standing(PushId(1)).await.unwrap().0;
    assert_eq!(counts, DeliveryState::ALL.map(|state| (state, 1)));

    store.delete_device(DeviceNumber(2)).await.unwrap();
    assert_eq!(store.deliveries(PushId(1), None, 100).await.unwrap().items.len(), 8, "they go with their device");
    assert_eq!(store.open_deliveries(UnixMs(0)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_devices_in_some_states_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), 9).await;
    let all = DeliveryState::ALL.into_iter().zip(1..).map(|(state, number)| delivery(1, number, state));
    store.create_push(push(1, Order::Message), all.collect()).await.unwrap();
    let found = store.devices_in(PushId(1), vec![DeliveryState::Refused, DeliveryState::Failed]).await.unwrap();
    assert_eq!(found, [DeviceNumber(5), DeviceNumber(8)]);
    assert!(store.devices_in(PushId(2), DeliveryState::ALL.into()).await.unwrap().is_empty());
    assert!(store.devices_in(PushId(1), vec![]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_collapse_key_names_the_last_of_the_later_pushes_of_each_device() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), 4).await;
    let queued = |push, devices: &[u32]| devices.iter().map(|n| delivery(push, *n, DeliveryState::Queued)).collect();
    // Even numbers have the key: see `push`.
    for (id, devices) in [(1, &[1, 2, 3][..]), (2, &[1, 2, 3, 4]), (3, &[1, 2]), (4, &[1, 3]), (6, &[1])] {
        store.create_push(push(id, Order::Message), queued(id, devices)).await.unwrap();
    }
    store.update_deliveries(changes(vec![delivery(4, 3, DeliveryState::Refused)])).await.unwrap();
    let asked = |from| store.collapsed_by("colour".into(), PushId(from), (1..=9).map(DeviceNumber).collect());
    assert_eq!(asked(2).await.unwrap(), [(DeviceNumber(1), PushId(6))]);
    let later = [(1, 6), (2, 2), (3, 2), (4, 2)].map(|(device, push)| (DeviceNumber(device), PushId(push)));
    assert_eq!(asked(1).await.unwrap(), later);
    assert!(store.collapsed_by("other".into(), PushId(0), vec![DeviceNumber(1)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn lists_are_given_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), 5).await;
    for id in 1..=5 {
        let to = if id == 1 { (1..=5).map(|number| delivery(1, number, DeliveryState::Sent)).collect() } else { vec![] };
        store.create_push(push(id, Order::Message), to).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.pushes(before, 2).await.unwrap();
        seen.extend(page.items.iter().map(|push| push.id.0));
        let Some(next) = page.next else { break };
        before = Some(PushId(next.parse().unwrap()));
    }
    assert_eq!(seen, [5, 4, 3, 2, 1], "newest first");

    let first = store.deliveries(PushId(1), None, 3).await.unwrap();
    assert_eq!((first.items.len(), first.next.as_deref()), (3, Some("3")));
    let rest = store.deliveries(PushId(1), Some(DeviceNumber(3)), 2).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (2, None));
}

#[tokio::test]
async fn a_push_to_many_is_kept_at_once_and_made_in_batches() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = |from: u32, to: u32| (from..=to).map(DeviceNumber).collect::<Vec<_>>();
    let fresh = |devices: Vec<DeviceNumber>, state| -> Vec<FreshDelivery> {
        devices.into_iter().map(|device| FreshDelivery { device, state, detail: "why".into() }).collect()
    };
    {
        let store = with_devices(dir.path(), 5).await;
        store.create_push_to(push(1, Order::Ask), vec![(0, numbers(1, 3)), (1, numbers(4, 5))]).await.unwrap();
        store.create_push_to(push(2, Order::Ask), vec![(0, numbers(1, 1))]).await.unwrap();
        assert!(store.create_push_to(push(2, Order::Ask), vec![]).await.is_err(), "the number is taken");
        assert_eq!((store.push_standing(PushId(1)).await.unwrap().1, store.push_standing(PushId(9)).await.unwrap().1), (5, 0));
        store.delete_device(DeviceNumber(2)).await.unwrap();
        let made = store.make_part(PushId(1), 0, UnixMs(150), fresh(numbers(1, 3), DeliveryState::Queued), vec![]).await.unwrap();
        assert_eq!(made.iter().map(|made| made.device.as_str()).collect::<Vec<_>>(), ["d1", "d3"], "2 was removed");
        assert_eq!(as_they_stand(store.deliveries(PushId(1), None, 9).await.unwrap()), made);
        // A part of the second batch, the rest of which stays.
        let made = store.make_part(PushId(1), 1, UnixMs(150), fresh(numbers(4, 4), DeliveryState::Queued), numbers(5, 5)).await;
        assert_eq!(made.unwrap().len(), 1);
        store.cancel_unmade(PushId(1)).await.unwrap();
        store.close().await;
    }
    let store = Store::open(dir.path()).unwrap();
    let unmade = store.unmade_pushes().await.unwrap();
    let [first, second] = &unmade[..] else { panic!("{unmade:?}") };
    assert!(same(&first.push, &push(1, Order::Ask)) && first.cancelled && !second.cancelled);
    assert_eq!(first.parts, [(1, numbers(5, 5))]);
    store.make_part(PushId(1), 1, UnixMs(150), fresh(numbers(5, 5), DeliveryState::Cancelled), vec![]).await.unwrap();
    assert_eq!((store.push_standing(PushId(1)).await.unwrap().1, store.unmade_pushes().await.unwrap().len()), (0, 1));
    let counts = store.push_standing(PushId(1)).await.unwrap().0;
    assert_eq!(counts, [(DeliveryState::Queued, 3), (DeliveryState::Cancelled, 1)]);
}

#[tokio::test]
async fn a_delivery_remembers_its_steps_and_a_device_its_deliveries() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), 2).await;
    for id in 1..=4 {
        let to =
            if id == 3 { vec![] } else { vec![delivery(id, 1, DeliveryState::Queued), delivery(id, 2, DeliveryState::Queued)] };
        store.create_push(push(id, Order::Ask), to).await.unwrap();
    }
    let step = |state, at, detail: &str| DeliveryStep { state, at: UnixMs(at), detail: detail.into() };
    let change = |state, at, detail: &str, passed| DeliveryChange {
        delivery: Delivery { at: UnixMs(at), detail: detail.into(), ..delivery(1, 1, state) },
        passed,
    };
    let passed = vec![step(DeliveryState::Sent, 110, ""), step(DeliveryState::Queued, 120, "the line\nbroke")];
    store.update_deliveries(vec![change(DeliveryState::Sent, 130, "", passed)]).await.unwrap();
    store.update_deliveries(vec![change(DeliveryState::Failed, 140, "no", vec![])]).await.unwrap();
    store.close().await;
    let store = Store::open(dir.path()).unwrap();
    let wanted = [
        step(DeliveryState::Queued, 100, "away"),
        step(DeliveryState::Sent, 110, ""),
        step(DeliveryState::Queued, 120, "the line broke"),
        step(DeliveryState::Sent, 130, ""),
    ];
    let page = store.deliveries_of(DeviceNumber(1), None, 2).await.unwrap();
    assert_eq!(
        (page.items.iter().map(|life| life.delivery.push.0).collect::<Vec<_>>(), page.next.as_deref()),
        (vec![4, 2], Some("2"))
    );
    let rest = store.deliveries_of(DeviceNumber(1), Some(PushId(2)), 2).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
    assert_eq!((rest.items[0].delivery.state, &rest.items[0].before[..]), (DeliveryState::Failed, &wanted[..]));
    assert_eq!(store.deliveries(PushId(1), None, 1).await.unwrap().items, rest.items);
    let pushes = store.pushes_of(DeviceNumber(1), None, 2).await.unwrap();
    assert_eq!((pushes.items.iter().map(|push| push.id.0).collect::<Vec<_>>(), pushes.next.as_deref()), (vec![4, 2], Some("2")));

    // A line that breaks for ever is remembered in its newest part.
    for at in 0..2_000 {
        let state = if at % 2 == 0 { DeliveryState::Sent } else { DeliveryState::Queued };
        let change = DeliveryChange { delivery: Delivery { at: UnixMs(at), ..delivery(2, 1, state) }, passed: vec![] };
        store.update_deliveries(vec![change]).await.unwrap();
    }
    let before = store.deliveries(PushId(2), None, 1).await.unwrap().items.remove(0).before;
    assert!((20..limits::DELIVERY_STEPS_BYTES_MAX / 8).contains(&before.len()), "{}", before.len());
    assert!(before.iter().map(|step| step.at.0).eq(1_999 - before.len() as i64..1_999), "the newest, without a gap");
}

#[tokio::test]
async fn old_pushes_go_a_few_rows_at_a_time_and_open_ones_never() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_devices(dir.path(), 5).await;
    let make = async |id: u64, created: i64, collapse: bool, states: &[DeliveryState]| {
        let terms = Terms { collapse: collapse.then(|| "colour".into()), ..Terms::default() };
        let push = StoredPush { created: UnixMs(created), terms, ..push(id, Order::Message) };
        let deliveries = states.iter().zip(1..).map(|(state, device)| delivery(id, device, *state)).collect();
        store.create_push(push, deliveries).await.unwrap();
    };
    use DeliveryState::{Applied, Cancelled, Delivered, Expired, Failed, Queued, Sent};
    make(1, 10, false, &[Applied, Failed, Expired, Delivered, Cancelled]).await;
    make(2, 20, false, &[Applied, Queued]).await;
    make(3, 5, false, &[Sent]).await;
    // Its key counts for the two that are open and older.
    make(4, 30, true, &[Applied]).await;
    make(5, 40, false, &[Applied]).await;
    make(6, 50, false, &[Applied]).await;
    let many = StoredPush { created: UnixMs(15), ..push(7, Order::Message) };
    store.create_push_to(StoredPush { idempotency_key: None, ..many }, vec![(0, vec![DeviceNumber(1)])]).await.unwrap();

    let all = |list: &[(i64, u64)]| list.iter().map(|(at, id)| (UnixMs(*at), PushId(*id))).collect::<Vec<_>>();
    let old = store.old_pushes(UnixMs(50), None, 4).await.unwrap();
    assert_eq!(old, all(&[(5, 3), (10, 1), (15, 7), (20, 2)]));
    assert_eq!(store.old_pushes(UnixMs(50), old.last().copied(), 4).await.unwrap(), all(&[(30, 4), (40, 5)]));

    let ids = |list: &[u64]| list.iter().map(|id| PushId(*id)).collect::<Vec<_>>();
    // Five rows and one; four go, and the push stays until its last.
    assert_eq!(store.prune_pushes(ids(&[3, 1, 7, 2, 4, 5]), 4).await.unwrap(), (0, ids(&[1, 7, 2, 4, 5])));
    assert_eq!(store.deliveries(PushId(1), None, 9).await.unwrap().items.len(), 1);
    assert_eq!(store.prune_pushes(ids(&[1, 7, 2, 4, 5]), 100).await.unwrap(), (2, vec![]));
    assert!(store.push(PushId(1)).await.unwrap().is_none() && store.push(PushId(5)).await.unwrap().is_none());
    assert_eq!(store.push_by_key("key 5".into()).await.unwrap(), None);
    let left: Vec<u64> = store.pushes(None, 9).await.unwrap().items.iter().map(|push| push.id.0).collect();
    assert_eq!(left, [7, 6, 4, 3, 2]);
    // Nothing older is open any more.
    store.update_deliveries(changes(vec![delivery(2, 2, Expired), delivery(3, 1, Delivered)])).await.unwrap();
    assert_eq!(store.prune_pushes(ids(&[3, 2, 4]), 100).await.unwrap(), (3, vec![]));
    assert_eq!(store.last_push().await.unwrap(), PushId(7), "no number is given twice");
}
