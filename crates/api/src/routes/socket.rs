//! Live events, pushes and messages to numbers over one WebSocket, for programs that keep a line open. Each
//! message is a JSON text: events come as the stream has them, a push goes as `{"ref", "push"}` and comes back
//! with its `ref`, and so does a message to a number, `{"ref", "send"}`. The line has a number itself.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use model::{Address, Role, TokenScope, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{events, push, send};
use crate::auth::{self, Operator, Viewer};
use crate::feed::{NoWatch, Watch};
use crate::openapi::shape;
use crate::parties::Seat;
use crate::problem::{Body, Problem};
use crate::shown::Push;
use crate::told;
use crate::{Api, input};

/// A ping this often, so that a line that broke is noticed by both ends.
const PING_EVERY: Duration = Duration::from_secs(15);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only what concerns one device.
    device: Option<String>,
    /// Go on after this event, as far as it is remembered.
    after: Option<u64>,
    /// `false`: no events, only messages to the line's numbers and answers.
    events: Option<bool>,
}

/// What a client says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Comes back with the answer.
    #[serde(default)]
    r#ref: Value,
    push: Option<push::New>,
    send: Option<send::New>,
}

/// What the server says: the line's numbers, an event, that some are lost, a message to one of the numbers, or
/// what became of a push or of a message.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "SocketMessage")]
pub(crate) enum Said<'a> {
    Hello {
        hello: told::Hello,
    },
    Message {
        message: told::Addressed,
    },
    Sent {
        #[schemars(with = "shape::Any")]
        r#ref: Value,
        sent: send::Sent,
    },
    Event {
        event: &'static str,
        id: String,
        #[schemars(with = "shape::Any")]
        data: &'a RawValue,
    },
    Gap {
        gap: &'static str,
    },
    Pushed {
        #[schemars(with = "shape::Any")]
        r#ref: Value,
        push: Box<Push>,
    },
    Refused {
        #[schemars(with = "shape::Any")]
        r#ref: Value,
        #[schemars(with = "shape::Any")]
        problem: Body,
    },
}

pub(crate) async fn open(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    input::Query(wanted): input::Query<Wanted>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    // A browser sends its cookie whoever's page asks, and a WebSocket can push.
    if auth::bearer(&headers)?.is_none() && !is_own_page(&api, &headers) {
        let detail = "a browser's session opens a WebSocket from the console's own address only";
        return Err(Problem::new(StatusCode::FORBIDDEN, "foreign_page", detail).hint("send Authorization: Bearer TOKEN"));
    }
    let upgrade = upgrade.map_err(|rejection| {
        Problem::new(StatusCode::UPGRADE_REQUIRED, "not_a_websocket", rejection.to_string())
            .hint("open it with a WebSocket client, as ws://HOST:PORT/api/v1/ws")
    })?;
    if let Some(id) = &wanted.device {
        super::devices::device(&api, id)?;
    }
    let watch = events::watch(&api, wanted.after)?;
    let seat = events::sit(&api, &caller, true)?;
    let token = auth::token(&headers)?.unwrap_or_default().to_owned();
    let Wanted { device, events: shows, .. } = wanted;
    let line = Line { api, token, device, shows: shows.unwrap_or(true), number: seat.number };
    Ok(upgrade.max_message_size(limits::HTTP_BODY_BYTES_MAX).on_upgrade(move |socket| line.run(socket, watch, seat)))
}

/// Whether the page that asks is one of ours.
fn is_own_page(api: &Api, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return false };
    let ours = api.info.base_url.as_deref().map(|base| base.trim_end_matches('/'));
    ours == Some(origin) || (text(header::HOST).is_some() && origin.split_once("://").map(|(_, host)| host) == text(header::HOST))
}

struct Line {
    api: Api,
    token: String,
    device: Option<String>,
    shows: bool,
    number: Address,
}

impl Line {
    async fn run(self, mut socket: WebSocket, mut watch: Watch, mut seat: Seat) {
        let ending = self.talk(&mut socket, &mut watch, &mut seat).await;
        if let Some((code, reason)) = ending {
            // It may be gone already.
            let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
        }
    }

    /// Until one side ends it; with what is to be said at the end, if it is ours.
    async fn talk(&self, socket: &mut WebSocket, watch: &mut Watch, seat: &mut Seat) -> Option<(u16, String)> {
        socket.send(text(&Said::Hello { hello: (&*seat).into() })).await.ok()?;
        if watch.gap {
            let gap = "some events before are forgotten; load the state anew";
            socket.send(text(&Said::Gap { gap })).await.ok()?;
        }
        let mut open = FuturesUnordered::new();
        let ended = auth::ended(&self.api, &self.token);
        tokio::pin!(ended);
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                // Who has as many pushes and messages under way as he may is not read.
                asked = socket.recv(), if open.len() < limits::SOCKET_PUSHES_MAX => {
                    match asked?.ok()? {
                        Message::Text(asked) => open.push(self.answer(Bytes::from(asked))),
                        Message::Binary(_) => return Some((close_code::UNSUPPORTED, "messages are JSON texts".to_owned())),
                        Message::Close(_) => return None,
                        Message::Ping(_) | Message::Pong(_) => {}
                    }
                    continue;
                }
                Some(answer) = open.next(), if !open.is_empty() => answer,
                incoming = seat.next() => match self.api.fleet.check_token(&self.token) {
                    Some(_) => text(&Said::Message { message: (&*incoming).into() }),
                    None => return Some(no_token()),
                },
                frame = watch.next() => match frame {
                    // It may have been removed, or have run out, since it opened the line.
                    Ok(_) if self.api.fleet.check_token(&self.token).is_none() => {
                        return Some(no_token());
                    }
                    Ok(frame) if self.shows && events::wants(self.device.as_deref(), &frame) => {
                        // Our own JSON: it always is some.
                        let Ok(data) = serde_json::from_str(&frame.json) else { continue };
                        text(&Said::Event { event: frame.kind, id: frame.id.to_string(), data })
                    }
                    Ok(_) => continue,
                    Err(NoWatch::TooSlow { lost }) => {
                        return Some((close_code::POLICY, format!("read too slowly, {lost} events are gone; reconnect")));
                    }
                    Err(_) => return Some((close_code::AWAY, "the server is stopping; try again".to_owned())),
                },
                () = &mut ended => return Some((close_code::POLICY, "the token is not valid any more; sign in again".to_owned())),
                _ = pings.tick() => Message::Ping(Bytes::new()),
            };
            socket.send(message).await.ok()?;
        }
    }

    /// Pushes or sends, as the calls do, with the rights that the token has now.
    async fn answer(&self, asked: Bytes) -> Message {
        let Asked { r#ref, push, send } = match input::json(&asked) {
            Ok(asked) => asked,
            Err(problem) => return text(&Said::Refused { r#ref: Value::Null, problem: problem.body() }),
        };
        // The text may be much longer than what it says, and a push may wait for long.
        drop(asked);
        let caller = match auth::holder(&self.api, &self.token, Role::Operator) {
            Ok(caller) => auth::within(&self.api, &caller, Some(TokenScope::Push), None).await.map(|()| caller),
            Err(problem) => Err(problem),
        };
        let done = match (caller, push, send) {
            (Err(problem), ..) => Err(problem),
            (Ok(caller), Some(new), None) => {
                let pushed = push::send(State(self.api.clone()), Operator(caller), input::Json(new)).await;
                pushed.map(|push| Said::Pushed { r#ref: r#ref.clone(), push: Box::new(push.0) })
            }
            // Answers are for this line, and not for all of its token.
            (Ok(_), None, Some(new)) => {
                send::write(&self.api, self.number, new).await.map(|sent| Said::Sent { r#ref: r#ref.clone(), sent })
            }
            (Ok(_), ..) => Err(Problem::bad("bad_field", "say either push or send")),
        };
        text(&done.unwrap_or_else(|problem| Said::Refused { r#ref, problem: problem.body() }))
    }
}

fn no_token() -> (u16, String) {
    (close_code::POLICY, "the token is not valid any more; sign in again".to_owned())
}

fn text(said: &Said<'_>) -> Message {
    // Our own types: they always become JSON.
    Message::Text(serde_json::to_string(said).unwrap_or_default().into())
}
