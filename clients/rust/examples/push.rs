//! An example of the README: what follows `//>` is what the line prints.

use std::env::var;
use std::time::Duration;

use espush_client::{Client, Order, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let espush = Client::new(&var("ESPUSH_URL")?, &var("ESPUSH_TOKEN")?);
    let push = espush.push(Order::to("lamp").text("on").wait(Duration::from_secs(10)))?;
    println!("{}", push.deliveries[0].state); //> delivered

    let answer = espush.ask(Order::to("lamp").text("status"))?;
    println!("{} {}", answer.state, answer.text()); //> applied led=on adc=…

    let once = Order::to("lamp").json(json!({ "led": false })).ttl(Duration::from_secs(3600)).key("lights out, once");
    println!("{}", espush.push(once.clone())?.id == espush.push(once)?.id); //> true
    Ok(())
}
