//! Who is meant by an audience.

use std::sync::Arc;

use fleet::{Asked, Audience, DeviceFilter, FleetError, NewDevice};
use model::query::{Latest, NoPoints};
use model::{AppId, DeviceNumber, Query, Value};

use crate::House;

/// Devices whose number is odd are warm.
struct Odd;

impl Latest for Odd {
    fn latest(&self, device: DeviceNumber, _: usize) -> Option<Value> {
        Some(Value::Bool(device.0 % 2 == 1))
    }
}

fn asked(text: &str, points: Arc<dyn Latest>) -> Asked {
    Asked { query: Arc::new(Query::parse(text).unwrap()), points }
}

#[tokio::test]
async fn an_audience_is_selected_by_number_and_each_device_once() {
    let house = House::new().await;
    let app = house.app("lamps", true).await.app.id;
    for (id, tags) in [("a", vec!["kitchen"]), ("b", vec![]), ("c", vec!["kitchen", "old"])] {
        let tags = tags.into_iter().map(str::to_owned).collect();
        house.fleet.create_device(NewDevice { id: Some(id.into()), tags, ..NewDevice::of(app) }).await.unwrap();
    }
    let select = async |audience| house.fleet.select(audience).await.unwrap();
    let numbers = async |audience| select(audience).await.devices.into_iter().map(|number| number.0).collect::<Vec<_>>();
    let named = select(Audience::Devices(["c", "x", "a", "c", "x"].map(str::to_owned).into())).await;
    assert_eq!((named.devices.len(), named.unknown), (2, vec!["x".to_owned()]));
    assert_eq!(numbers(Audience::All).await, [1, 2, 3]);
    assert_eq!(numbers(Audience::App(app)).await, [1, 2, 3]);
    let missing = house.fleet.select(Audience::App(AppId(99))).await;
    assert!(matches!(missing, Err(FleetError::NoSuchApp(AppId(99)))));
    let query = asked("tags has kitchen and not tags has old", Arc::new(NoPoints));
    assert_eq!(numbers(Audience::Query(query)).await, [1]);
    assert_eq!(numbers(Audience::Query(asked("data.warm = true", Arc::new(Odd)))).await, [1, 3]);
    assert_eq!(numbers(Audience::Query(asked("online", Arc::new(NoPoints)))).await, [0; 0]);
    let reach = house.fleet.reach(&[DeviceNumber(3), DeviceNumber(9), DeviceNumber(1)]);
    assert_eq!(reach.iter().map(|reach| (reach.id.as_str(), reach.online)).collect::<Vec<_>>(), [("c", false), ("a", false)]);
}

#[tokio::test]
async fn a_list_takes_a_query_page_by_page_beside_its_other_filters() {
    let house = House::new().await;
    let app = house.app("lamps", true).await.app.id;
    for number in 1..=7 {
        house.fleet.create_device(NewDevice { id: Some(format!("d{number}")), ..NewDevice::of(app) }).await.unwrap();
    }
    let filter = DeviceFilter { asked: Some(asked("data.warm = true and id != d5", Arc::new(Odd))), ..DeviceFilter::default() };
    let first = house.fleet.devices_apart(filter.clone(), None, 2).await.unwrap();
    let ids = |page: &contract::store::Page<fleet::DeviceView>| {
        page.items.iter().map(|view| view.device.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&first), ["d1", "d3"]);
    let rest = house.fleet.devices_apart(filter.clone(), first.next, 2).await.unwrap();
    assert_eq!((ids(&rest), rest.next), (vec!["d7".to_owned()], None));
    let none = DeviceFilter { online: Some(true), ..filter };
    assert!(house.fleet.devices_apart(none, None, 9).await.unwrap().items.is_empty());
}
