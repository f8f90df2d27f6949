//! An example of the README: what follows `//>` is what the line prints.

use std::env::var;
use std::time::Duration;

use espush_client::{Audience, AuditFilter, Client, Order, Resend, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let espush = Client::new(&var("ESPUSH_URL")?, &var("ESPUSH_TOKEN")?);
    let app = espush.device("lamp")?.app;
    let about = json!({ "app": app, "id": "fan", "tags": ["hall"], "meta": { "room": "B 12", "floor": 3 } });
    println!("{}", espush.create_device(&about)?["app"] == app); //> true
    let fan = espush.edit_device("fan", &json!({ "meta": { "floor": null }, "blocked": true }))?;
    println!("{:?} {}", fan.meta, fan.blocked); //> {"room": String("B 12")} true
    println!("{}", espush.new_secret("fan", Duration::from_secs(3600))?.len()); //> 32

    let push = espush.push(Order::to("fan").text("off").collapse("led").priority("high"))?;
    let hall = Order::to(Audience::tags(&["hall"])).text("on").collapse("led").per_second(20);
    espush.push(hall)?;
    espush.cancel_push(push.id)?;
    let states = ["cancelled", "replaced"];
    println!("{}", espush.resend(push.id, &Resend { states: &states, ..Resend::default() })?.devices); //> 1

    espush.create_group("hall", "tags has hall")?;
    let nightly = Order::to(Audience::group("hall")).text("off");
    let schedule = espush.create_schedule("night", nightly, &json!({ "daily": "22:00" }))?;
    let id = schedule["id"].as_u64().unwrap_or_default();
    println!("{}", espush.edit_schedule(id, &json!({ "when": { "daily": "23:00" } }))?["when"]["daily"]); //> "23:00"
    espush.delete_schedule(id)?;
    espush.delete_group("hall")?;

    let told = espush.import_devices("id,app,meta.room\nfan,,C 1\n", "upsert", false)?;
    println!("{}", told[told.len() - 1]["done"]["updated"]); //> 1
    println!("{}", espush.export_devices(Some("meta.room starts c"), None)?.contains("C 1")); //> true
    let mut changes = espush.audit(&AuditFilter { target: Some("fan"), ..AuditFilter::default() });
    println!("{}", changes.next().ok_or("no change")??["call"]); //> "POST /api/v1/devices/{id}/secret"
    println!("{}", espush.knocks()?.len()); //> 0
    Ok(espush.delete_device("fan")?)
}
