//! An example of the README: what follows `//>` is what the line prints.

use std::env::var;

use espush_client::{Client, Message};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let espush = Client::new(&var("ESPUSH_URL")?, &var("ESPUSH_TOKEN")?);
    for event in espush.listen() {
        let event = event?;
        if event.kind == "hello" {
            let sent = espush.send(Message::to(event.data["number"].clone()).text("to myself"))?;
            println!("{}", sent.state); //> sent
        } else if event.kind == "addressed" {
            println!("{}", event.data["text"]); //> "to myself"
            break;
        }
    }
    Ok(())
}
