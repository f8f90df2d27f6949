//! An example of the README: what follows `//>` is what the line prints.

use std::env::var;

use espush_client::{Client, DeviceFilter, PointFilter, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let espush = Client::new(&var("ESPUSH_URL")?, &var("ESPUSH_TOKEN")?);
    for device in espush.devices("online") {
        let device = device?;
        println!("{} {}", device.id, device.protocol); //> lamp mqtt
    }
    let page = espush.devices_page(DeviceFilter::default(), 1, None)?;
    println!("{} {:?}", page.items.len(), page.next); //> 1 None

    println!("{}", espush.upload("lamp", &json!({ "humidity": 47.5 }))?); //> 1
    let filter = PointFilter { stream: Some("humidity"), since: Some("2026-01-01T00:00:00Z"), until: None };
    for point in espush.points("lamp", &filter) {
        let point = point?;
        println!("{} {}", point.stream, point.value); //> humidity 47.5
    }
    println!("{}", espush.latest("lamp")?.iter().any(|point| point.stream == "humidity")); //> true

    let twin = espush.patch_desired("lamp", &json!({ "mode": "party" }), None)?;
    println!("{} {}", twin.desired.version, twin.delta); //> 1 {"mode":"party"}
    println!("{}", espush.patch_desired("lamp", &json!({ "mode": null }), Some(1))?.delta); //> {}
    if let Some(change) = espush.twin_history("lamp", Some("desired")).next() {
        println!("{}", change?.patch); //> {"mode":null}
    }
    Ok(())
}
