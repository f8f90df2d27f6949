//! Apps.

use std::collections::BTreeMap;

use fleet::{AppEdit, FleetError, Kind, NewApp, NewDevice};
use model::{AppId, AppKey, Peers};

use crate::House;

#[tokio::test]
async fn an_app_is_made_changed_and_found_again() {
    let house = House::new().await;
    let made = house.app("lamps", true).await;
    assert_eq!((made.app.id, made.devices, made.app.open, made.app.single), (AppId(1), 0, true, false));
    let other = house.app("fans", false).await;
    assert_ne!(made.app.key, other.app.key);

    let settings = BTreeMap::from([("espush.text".to_owned(), "gbk".to_owned())]);
    let edit = AppEdit {
        name: Some("灯".into()),
        open: Some(false),
        single: Some(true),
        peers: Some(Peers::Any),
        settings: Some(settings.clone()),
    };
    let edited = house.fleet.edit_app(made.app.id, edit).await.unwrap();
    assert_eq!(edited.app.key, made.app.key);
    assert_eq!((edited.app.name.as_str(), edited.app.open, edited.app.single), ("灯", false, true));
    assert_eq!((made.app.peers, edited.app.peers), (Peers::App, Peers::Any));
    assert_eq!(house.fleet.edit_app(made.app.id, AppEdit::default()).await.unwrap(), edited, "what is not named stays");

    let house = house.restart().await;
    assert_eq!(house.fleet.apps(), [edited.clone(), other]);
    assert_eq!(house.fleet.app(AppId(1)), Some(edited));
    assert_eq!(house.fleet.app(AppId(9)), None);
}

#[tokio::test]
async fn devices_in_the_field_bring_their_number_and_key() {
    let house = House::new().await;
    let key = AppKey::parse("25b28f0ffb9711e4a96d446d579b49a1").unwrap();
    let new = NewApp { name: "old".into(), id: Some(AppId(15000)), key: Some(key.clone()), ..NewApp::default() };
    let made = house.fleet.create_app(new.clone()).await.unwrap();
    assert_eq!((made.app.id, made.app.key), (AppId(15000), key));
    assert!(matches!(house.fleet.create_app(new.clone()).await, Err(FleetError::AppIdTaken(_))));
    let zero = NewApp { id: Some(AppId(0)), ..new };
    assert!(matches!(house.fleet.create_app(zero).await, Err(FleetError::BadAppId(_))));
    assert_eq!(house.app("next", false).await.app.id, AppId(15001));
}

#[tokio::test]
async fn an_app_is_removed_only_without_devices_and_its_number_stays_used() {
    let house = House::new().await;
    let app = house.app("lamps", false).await;
    house.device(&app, "lamp").await;
    let refused = house.fleet.delete_app(app.app.id).await.unwrap_err();
    assert!(matches!(refused, FleetError::AppHasDevices { devices: 1, .. }));
    assert_eq!((refused.code(), refused.kind()), ("app_has_devices", Kind::Conflict));
    house.fleet.delete_device("lamp").await.unwrap();
    house.fleet.delete_app(app.app.id).await.unwrap();
    assert!(matches!(house.fleet.delete_app(app.app.id).await, Err(FleetError::NoSuchApp(_))));
    assert!(matches!(house.fleet.create_device(NewDevice::of(app.app.id)).await, Err(FleetError::NoSuchApp(_))));
    let house = house.restart().await;
    assert_eq!(house.app("again", false).await.app.id, AppId(2));
}

#[tokio::test]
async fn nonsense_is_refused() {
    let house = House::new().await;
    let name = |name: &str| NewApp { name: name.into(), ..NewApp::default() };
    for bad in ["", "a\nb", &"x".repeat(257)] {
        assert!(matches!(house.fleet.create_app(name(bad)).await, Err(FleetError::BadName)));
    }
    let settings = BTreeMap::from([("text".to_owned(), "gbk".to_owned())]);
    let refused = house.fleet.create_app(NewApp { settings, ..name("x") }).await.unwrap_err();
    assert!(refused.to_string().contains("\"text\" is not a setting"), "{refused}");
    assert!(house.fleet.apps().is_empty());
}

#[tokio::test]
async fn ensuring_twice_makes_one() {
    let house = House::new().await;
    let new = NewApp { name: "demo".into(), ..NewApp::default() };
    let first = house.fleet.ensure_app(new.clone()).await.unwrap();
    assert_eq!(house.fleet.ensure_app(new).await.unwrap(), first);
}
