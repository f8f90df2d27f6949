//! Who was not let in lately.

use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::auth::Viewer;
use crate::shown::{KnockShown, List};

pub(crate) async fn list(State(api): State<Api>, _: Viewer) -> Json<List<KnockShown>> {
    Json(List::whole(api.fleet.knocks().into_iter().map(KnockShown::from)))
}
