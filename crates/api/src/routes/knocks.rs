//! Who was not let in lately, and letting in those who may be.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::{Operator, Viewer};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::{Device, KnockShown, List};
use crate::{Api, input};

pub(crate) async fn list(State(api): State<Api>, _: Viewer) -> Json<List<KnockShown>> {
    Json(List::whole(api.fleet.knocks().into_iter().map(KnockShown::from)))
}

/// One who knocked and is to come in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Adoption")]
pub(crate) struct Adopted {
    /// `device` of its knock.
    #[schemars(with = "shape::DeviceId")]
    device: String,
}

pub(crate) async fn adopt(
    State(api): State<Api>,
    _: Operator,
    input::Json(Adopted { device }): input::Json<Adopted>,
) -> Result<(StatusCode, Json<Device>), Problem> {
    Ok((StatusCode::CREATED, Json(api.fleet.adopt(&device).await?.into())))
}
