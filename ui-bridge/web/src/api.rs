//! JSON in and out.

use crate::server::App;
use acquisition::LiveStages;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use service::{LiveState, ServiceError, ServiceStatus};
use std::collections::HashMap;

/// A refused request, with its reason.
pub(crate) struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        let status = match error {
            ServiceError::Unknown { .. } => StatusCode::NOT_FOUND,
            ServiceError::NotNow { .. } | ServiceError::NoFrames { .. } => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        Self(status, text)
    }
}

/// Does what may wait for a disk or a device on a thread where waiting hurts nobody.
async fn waiting(
    work: impl FnOnce() -> Result<Value, ServiceError> + Send + 'static,
) -> Result<Json<Value>, Refused> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(Json(done?)),
        Err(error) => Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

fn unknown_action(expected: &str, found: &str) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("action: expected {expected}, found {found}"))
}

pub(crate) async fn status(State(app): State<App>) -> Json<ServiceStatus> {
    Json(app.service.status())
}

pub(crate) async fn runs(State(app): State<App>) -> Json<Vec<service::RunInfo>> {
    Json(app.service.runs())
}

/// Whether every stream shows images, live or the last.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let status = app.service.status();
    let waiting: Vec<_> = status
        .streams
        .iter()
        .filter(|stream| matches!(stream.live, LiveState::Waiting | LiveState::Stalled))
        .map(|stream| json!({ "stream": stream.name, "live": stream.live, "reason": stream.device_reason }))
        .collect();
    let code = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": waiting.is_empty(), "not_ready": waiting }))).into_response()
}

pub(crate) async fn spin(
    State(app): State<App>,
    Path((stream, action)): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    if !matches!(action.as_str(), "arm" | "start" | "abort") {
        return Err(unknown_action("arm, start or abort", &action));
    }
    waiting(move || {
        let stream = app.service.stream(&stream)?;
        match action.as_str() {
            "arm" => drop(stream.arm_spin()?),
            "start" => stream.start_spin()?,
            _ => stream.abort_spin()?,
        }
        Ok(json!(stream.status().spin))
    })
    .await
}

pub(crate) async fn recording(
    State(app): State<App>,
    Path((stream, action)): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    if !matches!(action.as_str(), "start" | "stop") {
        return Err(unknown_action("start or stop", &action));
    }
    waiting(move || {
        let stream = app.service.stream(&stream)?;
        let run = if action == "start" { stream.start_recording()? } else { stream.stop_recording()? };
        Ok(json!(run))
    })
    .await
}

pub(crate) async fn dose(
    State(app): State<App>,
    Path((stream, action)): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    if action != "reset-signal" {
        return Err(unknown_action("reset-signal", &action));
    }
    let stream = app.service.stream(&stream)?;
    stream.reset_dose_signal();
    Ok(Json(json!(stream.status().dose)))
}

/// Switches stages by their names; those not named stay.
pub(crate) async fn stages(
    State(app): State<App>,
    Path(stream): Path<String>,
    Json(asked): Json<HashMap<String, bool>>,
) -> Result<Json<Value>, Refused> {
    let stream = app.service.stream(&stream)?;
    let now = LiveStages::from_bits(stream.status().stages);
    let stages = asked.iter().try_fold(now, |stages, (name, is_on)| {
        stages.with(name, *is_on).ok_or_else(|| {
            let known = LiveStages::NAMES.join(", ");
            Refused(StatusCode::UNPROCESSABLE_ENTITY, format!("stage: expected one of {known}, found {name}"))
        })
    })?;
    stream.set_stages(stages);
    Ok(Json(json!({ "stages": stages.bits() })))
}

pub(crate) async fn remask(
    State(app): State<App>,
    Path(stream): Path<String>,
) -> Result<Json<Value>, Refused> {
    app.service.stream(&stream)?.remask();
    Ok(Json(json!({ "remask": true })))
}

pub(crate) async fn reconstruct(
    State(app): State<App>,
    Path(run): Path<String>,
) -> Result<Json<Value>, Refused> {
    waiting(move || Ok(json!({ "job": app.service.reconstruct(&run)? }))).await
}

pub(crate) async fn keep(
    State(app): State<App>,
    Path((run, answer)): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    if !matches!(answer.as_str(), "yes" | "no") {
        return Err(unknown_action("yes or no", &answer));
    }
    waiting(move || Ok(json!(app.service.keep_run(&run, answer == "yes")?))).await
}

pub(crate) async fn cancel(State(app): State<App>, Path(job): Path<u64>) -> Result<Json<Value>, Refused> {
    app.service.jobs().cancel(job)?;
    Ok(Json(json!({ "job": job })))
}
