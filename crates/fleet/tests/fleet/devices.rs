//! Devices: made, changed, listed, removed.

use contract::event::Change;
use contract::store::Registry;
use contract::{Close, Consumer, Event, Fault, Gate, Refusal};
use fleet::{Counts, DeviceEdit, DeviceFilter, FleetError, NewDevice};
use model::{AppId, DeviceNumber, Meta, MetaEdit, PartyKey, Value};

use crate::{House, Said, password, remote, ticket};

fn changes(events: Vec<Event>) -> Vec<(u32, Change)> {
    let change = |event| match event {
        Event::DeviceChanged { device, change } => Some((device.0, change)),
        _ => None,
    };
    events.into_iter().filter_map(change).collect()
}

#[tokio::test]
async fn a_device_is_made_changed_and_found_again() {
    let house = House::new().await;
    let app = house.app("lamps", false).await;
    let new = NewDevice {
        id: Some("lamp".into()),
        name: "Lamp".into(),
        alias: "kitchen".into(),
        tags: vec!["floor 1".into(), "red".into(), "red".into()],
        open: true,
        ..NewDevice::of(app.app.id)
    };
    let (made, secret) = house.fleet.create_device(new).await.unwrap();
    assert_eq!(secret.len(), 32);
    assert_eq!(made.device.tags, ["floor 1", "red"]);
    assert_eq!((made.device.number, made.presence.online, made.presence.since), (DeviceNumber(1), false, None));
    assert_eq!(house.fleet.device("lamp").unwrap(), made);

    let edit = DeviceEdit { name: Some(String::new()), tags: Some(vec!["blue".into()]), ..DeviceEdit::default() };
    let edited = house.fleet.edit_device("lamp", edit).await.unwrap();
    assert_eq!((edited.device.name.as_str(), edited.device.alias.as_str()), ("", "kitchen"));
    assert_eq!((&edited.device.tags[..], edited.device.open), (&["blue".to_owned()][..], true));
    assert_eq!(changes(house.told()), [(1, Change::Registered), (1, Change::Edited)]);

    let house = house.restart().await;
    assert_eq!(house.fleet.device("lamp").unwrap(), edited);
    assert_eq!(house.fleet.device_by_number(DeviceNumber(1)).unwrap(), edited);
    assert_eq!(house.fleet.number_of("lamp"), Some(DeviceNumber(1)));
    assert_eq!(house.fleet.id_of(DeviceNumber(1)).unwrap().as_str(), "lamp");
    assert_eq!(house.fleet.check_secret("lamp", &secret), Some(DeviceNumber(1)));
    assert_eq!(house.fleet.check_secret("lamp", "wrong"), None);
    assert_eq!(house.fleet.check_secret("nobody", &secret), None);
    assert_eq!(house.fleet.app(app.app.id).unwrap().devices, 1);
}

#[tokio::test]
async fn what_is_written_down_is_merged_kept_and_bounded() {
    let house = House::new().await;
    let app = house.app("lamps", false).await.app.id;
    let text = |text: &str| Value::Text(text.into());
    let meta = Meta::from([("room".into(), text("B 12")), ("floor".into(), Value::Number(3.0))]);
    let lamp = NewDevice { id: Some("lamp".into()), meta: meta.clone(), ..NewDevice::of(app) };
    assert_eq!(house.fleet.create_device(lamp).await.unwrap().0.device.meta, meta);
    house.fleet.create_device(NewDevice { id: Some("fan".into()), ..NewDevice::of(app) }).await.unwrap();
    let change = async |meta: MetaEdit| house.fleet.edit_device("lamp", DeviceEdit { meta, ..DeviceEdit::default() }).await;
    let edited = change([("floor".into(), None), ("lent".into(), Some(Value::Bool(true)))].into()).await.unwrap();
    let now = Meta::from([("room".into(), text("B 12")), ("lent".into(), Value::Bool(true))]);
    assert_eq!(edited.device.meta, now);
    assert_eq!(change([("a b".into(), Some(text("x")))].into()).await.unwrap_err().code(), "bad_meta");
    let many = (0..33).map(|n| (format!("n{n}"), text(""))).collect();
    let new = NewDevice { meta: many, ..NewDevice::of(app) };
    assert_eq!(house.fleet.create_device(new).await.unwrap_err().code(), "bad_meta");
    let names = house.fleet.meta_names_apart(DeviceFilter::default()).await.unwrap();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["lent", "room"]);

    let house = house.restart().await;
    assert_eq!(house.fleet.device("lamp").unwrap().device.meta, now);
    assert_eq!(house.fleet.device("fan").unwrap().device.meta, Meta::new());
    let edit = DeviceEdit {
        name: Some("Lamp".into()),
        meta: [("room".into(), None), ("lent".into(), None)].into(),
        ..DeviceEdit::default()
    };
    assert_eq!(house.fleet.edit_device("lamp", edit).await.unwrap().device.meta, Meta::new());
    assert_eq!(house.fleet.device("lamp").unwrap().device.name, "Lamp");
}

#[tokio::test]
async fn what_cannot_be_a_device_is_refused() {
    let house = House::new().await;
    let app = house.app("lamps", false).await.app.id;
    let with_id = |id: &str| NewDevice { id: Some(id.into()), ..NewDevice::of(app) };
    let code = async |new| house.fleet.create_device(new).await.unwrap_err().code();
    assert_eq!(code(with_id("a b")).await, "bad_device_id");
    assert_eq!(code(with_id("123")).await, "bad_device_id");
    assert_eq!(code(with_id("token")).await, "reserved_device_id");
    assert_eq!(code(with_id("2-abc")).await, "foreign_device_id");
    assert_eq!(code(NewDevice::of(AppId(9))).await, "no_such_app");
    assert_eq!(code(NewDevice { name: "a\u{7}".into(), ..NewDevice::of(app) }).await, "bad_name");
    assert_eq!(code(NewDevice { tags: vec![String::new()], ..NewDevice::of(app) }).await, "bad_tags");
    assert_eq!(code(NewDevice { tags: vec!["x".into(); 33], ..NewDevice::of(app) }).await, "bad_tags");
    assert_eq!(code(NewDevice { secret: Some("has a blank".into()), ..NewDevice::of(app) }).await, "bad_secret");
    house.fleet.create_device(with_id("1-abc")).await.unwrap();
    assert_eq!(code(with_id("1-abc")).await, "device_id_taken");
    assert!(matches!(house.fleet.edit_device("no", DeviceEdit::default()).await, Err(FleetError::NoSuchDevice(_))));
    assert!(matches!(house.fleet.rotate_secret("no", 0).await, Err(FleetError::NoSuchDevice(_))));
    assert!(matches!(house.fleet.delete_device("no").await, Err(FleetError::NoSuchDevice(_))));
}

#[tokio::test]
async fn an_id_and_a_secret_are_made_when_none_are_chosen() {
    let house = House::new().await;
    let app = house.app("lamps", false).await.app.id;
    let (made, _) = house.fleet.create_device(NewDevice::of(app)).await.unwrap();
    assert!(made.device.id.as_str().starts_with("d-") && made.device.id.as_str().len() == 10);
    let chosen = NewDevice { secret: Some("chosen-secret".into()), ..NewDevice::of(app) };
    let (made, secret) = house.fleet.create_device(chosen).await.unwrap();
    assert_eq!(secret, "chosen-secret");
    assert!(house.fleet.check_secret(made.device.id.as_str(), "chosen-secret").is_some());
}

#[tokio::test]
async fn a_new_secret_ends_what_came_in_with_the_old_one() {
    let mut house = House::new().await;
    let app = house.app("lamps", false).await;
    let (number, old) = house.device(&app, "lamp").await;
    let login = |house: &House, secret: &str| house.fleet.admit(&password("lamp", secret, ""), remote(1), ticket(0)).unwrap();
    let on_its_way = login(&house, &old).unwrap();
    let new = house.fleet.rotate_secret("lamp", 0).await.unwrap().secret;
    assert_eq!(house.fleet.stands(&on_its_way), Err(Refusal::BadCredentials), "checked before, arrived after");
    assert_eq!(house.fleet.stands(&login(&house, &new).unwrap()), Ok(()));
    assert_ne!(new, old);
    assert!(
        matches!(house.said.recv().await, Some(Said::Kick(PartyKey::Device(device), why, false)) if device == number && why.fault == Fault::Refused)
    );
    let house = house.restart().await;
    assert_eq!((house.fleet.check_secret("lamp", &old), house.fleet.check_secret("lamp", &new)), (None, Some(number)));
    assert_eq!(house.store.reveal_secret(number).await.unwrap(), Some(new));
}

#[tokio::test]
async fn an_old_secret_works_beside_the_new_one_until_its_time_is_over() {
    let house = House::new().await;
    let app = house.app("lamps", false).await;
    let (number, first) = house.device(&app, "lamp").await;
    let login = |house: &House, secret: &str| house.fleet.admit(&password("lamp", secret, ""), remote(1), ticket(0)).unwrap();
    let used = |house: &House| house.fleet.device("lamp").unwrap().old_secret.unwrap().used.map(|(which, _)| which.as_str());
    assert!(matches!(house.fleet.rotate_secret("lamp", u64::MAX).await, Err(FleetError::BadOverlap)));
    let made = house.fleet.rotate_secret("lamp", 3600).await.unwrap();
    assert_eq!((made.old_until, used(&house)), (Some(model::UnixMs(1_000_000 + 3_600_000)), None));
    let admitted = login(&house, &first).unwrap();
    assert_eq!((house.fleet.stands(&admitted), used(&house)), (Ok(()), Some("old")));
    assert!(login(&house, &made.secret).is_ok());
    assert_eq!(used(&house), Some("new"));
    // The old one once more, also after a restart; by proof as well.
    let mut house = house.restart().await;
    assert_eq!(used(&house), None);
    assert!(house.fleet.check_secret("lamp", &first).is_some());
    assert_eq!(used(&house), Some("old"));
    house.fleet.scram("lamp", remote(1), ticket(5));
    let Some(Said::Scram(_, keys)) = house.said.recv().await else { panic!("keys follow") };
    assert!(keys.older.is_some());
    let proved = |stamp| contract::Login::Proved { device: "lamp".into(), older: true, stamp };
    assert!(house.fleet.admit(&proved(keys.stamp), remote(1), ticket(0)).unwrap().is_ok());
    // One that is replaced in its turn ends what was before it.
    let next = house.fleet.rotate_secret("lamp", 60).await.unwrap();
    assert!(matches!(house.said.recv().await, Some(Said::Kick(PartyKey::Device(device), _, false)) if device == number));
    assert!(login(&house, &first).is_err() && login(&house, &made.secret).is_ok() && login(&house, &next.secret).is_ok());
    assert!(house.fleet.admit(&proved(keys.stamp), remote(1), ticket(0)).unwrap().is_err(), "of a secret that is no more");
    house.advance_s(60);
    assert!(login(&house, &made.secret).is_err());
    assert!(login(&house, &next.secret).is_ok());
}

#[tokio::test]
async fn lines_of_an_old_secret_end_with_it_and_those_of_the_new_one_stay() {
    let mut house = House::new().await;
    let app = house.app("lamps", false).await;
    let (fan, _) = house.device(&app, "fan").await;
    let (door, _) = house.device(&app, "door").await;
    let (lamp, _) = house.device(&app, "lamp").await;
    let opened = |house: &House, device| {
        let at = house.fleet.device_by_number(device).map(|_| contract::Clock::unix(&*house.clock)).unwrap();
        house.fleet.on_event(&Event::LineOpened { device, protocol: "mqtt", remote: remote(1), firmware: None, at });
    };
    opened(&house, fan);
    house.fleet.rotate_secret("fan", 60).await.unwrap();
    let new = house.fleet.rotate_secret("lamp", 60).await.unwrap().secret;
    assert!(house.fleet.admit(&password("lamp", &new, ""), remote(1), ticket(0)).unwrap().is_ok());
    opened(&house, lamp);
    house.advance_s(60);
    // Looked at after every change of presence, and once a minute.
    opened(&house, door);
    assert!(matches!(house.said.recv().await, Some(Said::Kick(PartyKey::Device(device), _, false)) if device == fan));
    while house.fleet.device("lamp").unwrap().old_secret.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(house.said.try_recv().is_err(), "the lamp came in with the new one");
    let house = house.restart().await;
    assert_eq!(house.fleet.device("fan").unwrap().old_secret, None);
}

#[tokio::test]
async fn a_blocked_device_is_sent_away_and_stays_out() {
    let mut house = House::new().await;
    let app = house.app("lamps", true).await;
    let (number, secret) = house.device(&app, "lamp").await;
    let login = |house: &House, secret: &str| house.fleet.admit(&password("lamp", secret, ""), remote(1), ticket(0)).unwrap();
    let blocked = |blocked| DeviceEdit { blocked: Some(blocked), ..DeviceEdit::default() };
    let on_its_way = login(&house, &secret).unwrap();
    assert_eq!(house.fleet.stands(&on_its_way), Ok(()));
    assert!(house.fleet.edit_device("lamp", blocked(true)).await.unwrap().blocked);
    assert!(matches!(house.said.recv().await, Some(Said::Kick(PartyKey::Device(device), _, false)) if device == number));
    // Also where it has been let in a moment ago and has not arrived.
    assert_eq!(house.fleet.stands(&on_its_way), Err(Refusal::Blocked));
    assert_eq!(login(&house, &secret).unwrap_err(), Refusal::Blocked);
    assert_eq!(login(&house, "guessed").unwrap_err(), Refusal::BadCredentials, "a stranger learns nothing");
    assert_eq!(house.fleet.check_secret("lamp", &secret), None);
    let certified = contract::Login::Certified { device: "lamp".into() };
    assert_eq!(house.fleet.admit(&certified, remote(1), ticket(0)).unwrap().unwrap_err(), Refusal::Blocked);
    let house = house.restart().await;
    assert_eq!(login(&house, &secret).unwrap_err(), Refusal::Blocked);
    assert!(house.fleet.device("lamp").unwrap().blocked);
    house.fleet.edit_device("lamp", blocked(false)).await.unwrap();
    assert!(login(&house, &secret).is_ok());
    // Blocked and removed: what comes under its name is another device.
    house.fleet.edit_device("lamp", blocked(true)).await.unwrap();
    house.fleet.delete_device("lamp").await.unwrap();
    let (_, secret) = house.device(&app, "lamp").await;
    assert!(login(&house, &secret).is_ok());
}

#[tokio::test]
async fn a_removed_device_is_gone_and_its_number_with_it() {
    let mut house = House::new().await;
    let app = house.app("lamps", false).await;
    let (number, secret) = house.device(&app, "lamp").await;
    let opened = Event::LineOpened { device: number, protocol: "mqtt", remote: remote(1), firmware: None, at: model::UnixMs(1) };
    house.fleet.on_event(&opened);
    assert_eq!(house.fleet.counts(), Counts { apps: 1, devices: 1, online: 1 });
    house.fleet.delete_device("lamp").await.unwrap();
    assert_eq!(house.fleet.counts(), Counts { apps: 1, devices: 0, online: 0 });
    assert!(matches!(house.said.recv().await, Some(Said::Kick(PartyKey::Device(device), _, true)) if device == number));
    assert_eq!(changes(house.told()).last(), Some(&(1, Change::Removed)));
    assert!(house.fleet.admit(&password("lamp", &secret, ""), remote(1), ticket(0)).unwrap().is_err());
    // Its line ends after it is gone, and one that was just opening too.
    let close = Close { fault: Fault::Refused, why: "the device was deleted".into() };
    house.fleet.on_event(&Event::LineClosed { device: number, protocol: "mqtt", close, at: model::UnixMs(2) });
    house.fleet.on_event(&opened);
    assert_eq!(house.fleet.counts().online, 0);

    let house = house.restart().await;
    assert_eq!(house.fleet.counts().devices, 0);
    assert_eq!(house.device(&app, "lamp").await.0, DeviceNumber(2), "the name is free, the number is not");
}

#[tokio::test]
async fn a_change_goes_on_when_its_caller_goes_away() {
    let house = House::new().await;
    let app = house.app("lamps", false).await.app.id;
    let fleet = house.fleet.clone();
    let caller =
        tokio::spawn(async move { fleet.create_device(NewDevice { id: Some("lamp".into()), ..NewDevice::of(app) }).await });
    tokio::task::yield_now().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    // The store works in order: when a later device is there, so is the earlier one.
    for _ in 0..2 {
        house.fleet.create_device(NewDevice::of(app)).await.unwrap();
    }
    assert_eq!(house.store.load().await.unwrap().devices.len(), 3);
    house.fleet.edit_device("lamp", DeviceEdit { open: Some(true), ..DeviceEdit::default() }).await.unwrap();
}

#[tokio::test]
async fn lists_are_filtered_and_given_in_pages() {
    let house = House::new().await;
    let lamps = house.app("lamps", false).await;
    let fans = house.app("fans", false).await;
    for i in 1..=7 {
        let app = if i % 2 == 1 { &lamps } else { &fans };
        let new = NewDevice {
            id: Some(format!("dev{i}")),
            name: format!("Gerät Nr {i}"),
            alias: format!("ALIAS{i}"),
            ..NewDevice::of(app.app.id)
        };
        house.fleet.create_device(new).await.unwrap();
    }
    let opened = |device| Event::LineOpened {
        device: DeviceNumber(device),
        protocol: "mqtt",
        remote: remote(1),
        firmware: None,
        at: model::UnixMs(1),
    };
    house.fleet.on_event(&opened(3));
    house.fleet.on_event(&opened(4));

    let list = |filter: DeviceFilter, limit: usize| {
        let mut pages = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = house.fleet.devices(&filter, cursor.as_deref(), limit).unwrap();
            pages.push(page.items.iter().map(|view| view.device.number.0).collect::<Vec<_>>());
            match page.next {
                Some(next) => cursor = Some(next),
                None => return pages,
            }
        }
    };
    let all = DeviceFilter::default;
    assert_eq!(list(all(), 3), [vec![1, 2, 3], vec![4, 5, 6], vec![7]]);
    assert_eq!(list(all(), 7), [vec![1, 2, 3, 4, 5, 6, 7]], "a full last page has no next");
    assert_eq!(list(DeviceFilter { app: Some(fans.app.id), ..all() }, 2), [vec![2, 4], vec![6]]);
    assert_eq!(list(DeviceFilter { online: Some(true), ..all() }, 1), [vec![3], vec![4]]);
    assert_eq!(list(DeviceFilter { online: Some(false), app: Some(lamps.app.id), ..all() }, 9), [vec![1, 5, 7]]);
    let q = |text: &str| DeviceFilter { q: Some(text.into()), ..all() };
    assert_eq!(list(q("DEV2"), 9), [vec![2]]);
    assert_eq!(list(q("alias6"), 9), [vec![6]]);
    assert_eq!(list(q("GERÄT NR 5"), 9), [vec![5]]);
    assert_eq!(list(q(""), 9), [vec![1, 2, 3, 4, 5, 6, 7]]);
    assert_eq!(list(q("none"), 9), [Vec::<u32>::new()]);
    assert!(matches!(house.fleet.devices(&all(), Some("x"), 9), Err(FleetError::BadCursor)));
}

#[tokio::test]
async fn the_demo_lamp_is_made_once_and_never_taken_from_its_owner() {
    let house = House::new().await;
    let (lamp, first) = house.fleet.ensure_demo().await.unwrap();
    assert_eq!((lamp.device.id.as_str(), lamp.device.open), ("lamp", true));
    let house = house.restart().await;
    let (again, second) = house.fleet.ensure_demo().await.unwrap();
    assert_eq!(again.device, lamp.device);
    assert_eq!((house.fleet.check_secret("lamp", &first), house.fleet.check_secret("lamp", &second).is_some()), (None, true));

    let house = House::new().await;
    let app = house.app("mine", false).await;
    let (_, secret) = house.device(&app, "lamp").await;
    assert!(matches!(house.fleet.ensure_demo().await, Err(FleetError::DeviceIdTaken(_))));
    assert!(house.fleet.check_secret("lamp", &secret).is_some());
}
