//! An example of the README: what follows `//>` is what the line prints.

use std::env::var;
use std::time::Duration;

use espush_client::{Audience, Client, Order, PreviewFilter};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let espush = Client::new(&var("ESPUSH_URL")?, &var("ESPUSH_TOKEN")?);
    let meant = Audience::query("name = 'Virtual lamp' or id = lamp");
    let told = espush.preview(Order::to(meant).text("on"), &PreviewFilter::default())?;
    println!("{} {} {} {}", told.devices, told.counts.now, told.counts.later, told.counts.not); //> 1 1 0 0

    let push = espush.push(Order::to(Audience::all()).text("on").wait(Duration::from_secs(10)))?;
    println!("{} {:?}", push.devices, push.counts); //> 1 {"delivered": 1}
    for delivery in espush.deliveries(push.id) {
        let delivery = delivery?;
        println!("{} {}", delivery.device, delivery.state); //> lamp delivered
    }
    espush.cancel_push(push.id)?;
    println!("{}", espush.get_push(push.id)?.remaining); //> 0
    Ok(())
}
