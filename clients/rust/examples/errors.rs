//! An example of the README: what follows `//>` is what the line prints.

use std::env::var;
use std::time::Duration;

use espush_client::{Client, Error, Order};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let espush = Client::new(&var("ESPUSH_URL")?, &var("ESPUSH_TOKEN")?).timeout(Duration::from_secs(5));
    if let Err(Error::Problem(problem)) = espush.push(Order::to("nobody").text("on")) {
        println!("{} {}", problem.status, problem.code); //> 404 no_such_device
    }
    if let Err(Error::Problem(problem)) = espush.devices_page("app = 7 and temp > 30", 100, None) {
        println!("{} {:?} {:?}", problem.code, problem.position, problem.hint); //> bad_where Some(13) Some("did you mean `data.temp`?")
    }
    if let Err(Error::Unreachable(_)) = Client::anonymous("http://127.0.0.1:1").status() {
        println!("nobody is there"); //> nobody is there
    }
    Ok(())
}
