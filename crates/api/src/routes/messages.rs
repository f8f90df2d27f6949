//! A device's recent messages, both ways.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::devices::device;
use crate::auth::Viewer;
use crate::problem::Problem;
use crate::shown::{List, Message};
use crate::{Api, input};

pub(crate) async fn list(State(api): State<Api>, _: Viewer, input::Path(id): input::Path<String>) -> Result<Response, Problem> {
    let messages = api.telemetry.messages(device(&api, &id)?.device.number);
    let list = List::whole(messages.iter().map(|message| Message::of(Some(&id), message)));
    Ok(Json(list).into_response())
}
