//! The platform's side with everything real but the disk: the fleet of `fleet`, over a registry that
//! forgets, and a line that does nothing, because no delayed answer is wanted of it here.

use std::sync::Arc;

use contract::Bus;
use fleet::{Fleet, Settings};
use testkit::Nobody;
pub use testkit::crowd::{APP, KEY, chip, id};

/// A fleet of `devices` that were registered before, and none of them online.
pub async fn fleet(devices: u32) -> Result<Arc<Fleet>, fleet::FleetError> {
    let crowd = Arc::new(testkit::crowd::Crowd { devices });
    let settings = Settings { anonymous: false, bootstrap_token: None, clock: crowd.clone() };
    Fleet::open(crowd, Arc::new(Nobody), Arc::new(Nobody), settings).await
}

/// A bus of the hub's that nobody listens to: the house takes events from the shards themselves.
pub fn bus() -> Arc<dyn Bus> {
    Arc::new(Nobody)
}
