//! Prints the value of each point of a device, and ends after 99: for the tests of the project.

use std::env::var;

use espush_client::Client;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let espush = Client::new(&var("ESPUSH_URL")?, &var("ESPUSH_TOKEN")?);
    for event in espush.events(Some(&var("DEVICE")?), None) {
        let event = event.map_err(|error| error.code().to_owned())?;
        if event.kind == "points" {
            let value = &event.data["items"][0]["value"];
            println!("{value}");
            if value == 99 {
                break;
            }
        }
    }
    Ok(())
}
