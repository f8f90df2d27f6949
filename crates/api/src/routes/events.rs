//! Live events as a stream (SSE). A watcher that reconnects with `Last-Event-ID` gets what it missed, as
//! far as it is remembered; comments tell of holes. A stream ends with the token that opened it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use fleet::Caller;
use futures_util::stream::{self, Stream};
use model::TokenScope;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::{self, Viewer};
use crate::feed::{Frame, NoWatch, Watch};
use crate::parties::{Incoming, Seat, number_of};
use crate::problem::Problem;
use crate::told::{self, Told};
use crate::{Api, input};

/// A line this often, so that a line that broke is noticed by both ends.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    device: Option<String>,
    /// Messages to the number of the token come along, and first `hello` tells that number.
    #[serde(default)]
    addressed: bool,
    /// `false`: nothing but those.
    events: Option<bool>,
}

pub(crate) async fn stream(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    input::Query(wanted): input::Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(id) = &wanted.device {
        auth::within(&api, &caller, Some(TokenScope::Events), Some(id)).await?;
        super::devices::device(&api, id)?;
    }
    if wanted.addressed {
        // Whoever writes to a number need not be among the devices that the token is for.
        auth::within(&api, &caller, Some(TokenScope::Events), None).await?;
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let watch = watch(&api, last)?;
    let seat = wanted.addressed.then(|| sit(&api, &caller, false)).transpose()?;
    let keep = KeepAlive::new().interval(COMMENT_EVERY);
    let token = auth::token(&headers)?.unwrap_or_default().to_owned();
    let hello = seat.as_ref().map(|seat| event(&told::Hello::from(seat)));
    let Wanted { device, events: shows, .. } = wanted;
    let shows = shows.unwrap_or(true);
    let reader = Reader { api, caller, token, watch, seat, hello, shows, device, comments: VecDeque::new(), ended: false };
    Ok(Sse::new(events(reader)).keep_alive(keep).into_response())
}

/// A place to watch from.
pub(crate) fn watch(api: &Api, after: Option<u64>) -> Result<Watch, Problem> {
    api.feed.watch(after).map_err(|none| {
        let (code, detail) = match none {
            NoWatch::TooMany => ("too_many_watchers", "too many event streams are open; close some first"),
            _ => ("stopping", "the server is stopping; try again"),
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    })
}

/// A place at which messages to a number come in.
pub(crate) fn sit(api: &Api, caller: &Caller, own: bool) -> Result<Seat, Problem> {
    let number = number_of(caller).ok_or_else(super::send::no_number)?;
    api.parties.sit(number, own).ok_or_else(|| {
        let detail = "as many lines as may are open with this token; close some first";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_lines", detail)
    })
}

/// An event that stands in no feed: nobody can go on after it.
fn event<T: Told>(data: &T) -> Event {
    // Our own types: they always become JSON.
    Event::default().event(T::KIND).data(serde_json::to_string(data).unwrap_or_default())
}

struct Reader {
    api: Api,
    caller: Caller,
    token: String,
    watch: Watch,
    seat: Option<Seat>,
    hello: Option<Event>,
    shows: bool,
    device: Option<String>,
    comments: VecDeque<String>,
    ended: bool,
}

fn events(mut reader: Reader) -> impl Stream<Item = Result<Event, Infallible>> {
    // The first line tells a client, and every proxy between, that the stream stands.
    reader.comments.push_back("espush events".to_owned());
    if reader.watch.gap {
        reader.comments.push_back("some events since Last-Event-ID are forgotten; load the state anew".to_owned());
    }
    stream::unfold(reader, |mut reader| async {
        if let Some(comment) = reader.comments.pop_front() {
            return Some((Ok(Event::default().comment(comment)), reader));
        }
        if let Some(hello) = reader.hello.take() {
            return Some((Ok(hello), reader));
        }
        while !reader.ended {
            let came = tokio::select! {
                frame = reader.watch.next() => frame.map(Came::Frame),
                incoming = heard(&mut reader.seat) => Ok(Came::Message(incoming)),
                () = auth::ended(&reader.api, &reader.token) => {
                    reader.ended = true;
                    return Some((Ok(Event::default().comment("the token is not valid any more; sign in again")), reader));
                }
            };
            match came {
                // It may have been removed, or have run out, since it opened the stream.
                Ok(_) if reader.api.fleet.check_token(&reader.token).is_none() => {
                    reader.ended = true;
                    return Some((Ok(Event::default().comment("the token is not valid any more; sign in again")), reader));
                }
                Ok(Came::Message(incoming)) => return Some((Ok(event(&told::Addressed::from(&*incoming))), reader)),
                Ok(Came::Frame(frame))
                    if reader.shows && wants(reader.device.as_deref(), &frame) && is_for(&reader, &frame).await =>
                {
                    let event = Event::default().id(frame.id.to_string()).event(frame.kind).data(&frame.json);
                    return Some((Ok(event), reader));
                }
                Ok(_) => {}
                Err(NoWatch::TooSlow { lost }) => {
                    reader.ended = true;
                    let comment = format!("read too slowly, {lost} events are gone; reconnect");
                    return Some((Ok(Event::default().comment(comment)), reader));
                }
                Err(_) => reader.ended = true,
            }
        }
        None
    })
}

/// What a stream is made of.
enum Came {
    Frame(Arc<Frame>),
    Message(Arc<Incoming>),
}

/// The next message to a line, if it listens to any.
async fn heard(seat: &mut Option<Seat>) -> Arc<Incoming> {
    match seat {
        Some(seat) => seat.next().await,
        None => std::future::pending().await,
    }
}

/// Whether an event is for the watcher's token. One that is for some devices gets theirs alone.
async fn is_for(reader: &Reader, frame: &Frame) -> bool {
    match (auth::reach(&reader.api, &reader.caller).await, &frame.device) {
        (Ok(None), _) => true,
        (Ok(Some(reach)), Some(device)) => reader.api.fleet.fits(device, &reach) == Some(true),
        (Ok(Some(_)), None) | (Err(_), _) => false,
    }
}

/// Whether a watcher of `device`, or of all, is to see it.
pub(crate) fn wants(device: Option<&str>, frame: &Frame) -> bool {
    // An alarm concerns everybody, and is about no device.
    device.is_none() || frame.kind == "alarm" || device == frame.device.as_deref()
}
