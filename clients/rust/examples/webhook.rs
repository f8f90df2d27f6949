//! An example of the README: what follows `//>` is what the line prints.

use std::time::{Duration, UNIX_EPOCH};

use espush_client::{WebhookError, WebhookHeaders, verify_webhook_at};

fn main() -> Result<(), WebhookError> {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let headers =
        WebhookHeaders { id: "msg_7", timestamp: "1795000000", signature: "v1,LS9wKgt21ALB9WqQ5PNL3P2oWTUrIJ6VVl3Go6xEjCw=" };
    let body = r#"{"event":"presence","id":"1795000000000001","data":{"device":"lamp","online":true}}"#;
    let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let tolerance = Duration::from_secs(300);

    let event = verify_webhook_at(body.as_bytes(), headers, secret, now, tolerance)?;
    println!("{} {}", event["event"].as_str().unwrap_or("-"), event["data"]["device"]); //> presence "lamp"
    let changed = body.replace("lamp", "door");
    if let Err(error) = verify_webhook_at(changed.as_bytes(), headers, secret, now, tolerance) {
        println!("{error}"); //> no signature fits
    }
    Ok(())
}
