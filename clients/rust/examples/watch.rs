//! An example of the README: what follows `//>` is what the line prints.

use std::env::var;

use espush_client::Client;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let espush = Client::new(&var("ESPUSH_URL")?, &var("ESPUSH_TOKEN")?);
    for event in espush.events(Some("lamp"), None) {
        let event = event?;
        if event.kind == "points" {
            println!("{} {}", event.id.unwrap_or_default(), event.data["device"]); //> … "lamp"
            break;
        }
    }
    Ok(())
}
