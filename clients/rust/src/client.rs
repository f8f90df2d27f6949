//! The client: what each method asks of the server, and how it reads the answer.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body};

use crate::error::Error;
use crate::events::Events;
use crate::models::{Delivery, Device, Page, Point, Preview, Push, Sent, Twin, TwinChange};
use crate::order::{DeviceFilter, Message, Order, PointFilter, PreviewFilter};
use crate::pages::Pages;
use crate::sse::SILENCE;

/// Rows of a page, where somebody reads them all.
const ROWS: usize = 1_000;
/// Longest answer that is read: above anything the server sends, so that a wrong address cannot fill the memory.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long an answer of a device is waited for, unless told otherwise.
const ASK: Duration = Duration::from_secs(10);

/// How often a call is made again that the server refused because there were too many. It has done nothing then, so
/// every call may be.
const RETRIES_MAX: u32 = 3;
/// The longest pause before that. Who is to wait longer is told so.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A client of one espush server. Clones share its connections; threads may share it.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    base: Arc<str>,
    token: Option<Arc<str>>,
    timeout: Duration,
}

impl Client {
    /// A client that shows a token, from `espush token add`.
    pub fn new(url: &str, token: &str) -> Client {
        Client { token: Some(token.into()), ..Client::anonymous(url) }
    }

    /// A client that shows none.
    pub fn anonymous(url: &str) -> Client {
        let config = Agent::config_builder().http_status_as_error(false).build();
        let base = url.trim_end_matches('/').into();
        Client { agent: Agent::new_with_config(config), base, token: None, timeout: Duration::from_secs(10) }
    }

    /// How long to wait for each answer, beyond what a call is told to wait.
    pub fn timeout(self, timeout: Duration) -> Client {
        Client { timeout, ..self }
    }

    /// Pushes to a device or an audience.
    pub fn push(&self, order: Order) -> Result<Push, Error> {
        let wait = order.wait.unwrap_or_default();
        let body = order.with("wait_ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)).body;
        self.call(Method::POST, &path(&["push"], &[]), Some(&Value::Object(body)), wait)
    }

    /// Pushes to one device and waits for its answer, ten seconds unless told otherwise. The state
    /// `applied` has one; look at it.
    pub fn ask(&self, order: Order) -> Result<Delivery, Error> {
        self.answered(order.with("ask", true))
    }

    /// Tells the device's firmware to do something, such as `reboot`, and waits for its answer.
    pub fn command(&self, command: &str, order: Order) -> Result<Delivery, Error> {
        self.answered(order.with("command", command))
    }

    fn answered(&self, order: Order) -> Result<Delivery, Error> {
        let wait = order.wait.unwrap_or(ASK);
        let delivery = self.push(order.wait(wait))?.deliveries.into_iter().next();
        delivery.ok_or_else(|| Error::Unreachable("it answered without the delivery".to_owned()))
    }

    /// What a push would do. Nothing is pushed.
    pub fn preview(&self, order: Order, filter: &PreviewFilter<'_>) -> Result<Preview, Error> {
        let limit = filter.limit.map(|limit| limit.to_string());
        let query = [("outcome", filter.outcome), ("limit", limit.as_deref()), ("cursor", filter.cursor)];
        self.call(Method::POST, &path(&["push", "preview"], &query), Some(&Value::Object(order.body)), Duration::ZERO)
    }

    /// Writes to a number, whoever has it, or to a device by its id. Nothing waits for one who is away: then it
    /// is an error.
    pub fn send(&self, message: Message) -> Result<Sent, Error> {
        self.call(Method::POST, &path(&["send"], &[]), Some(&Value::Object(message.body)), Duration::ZERO)
    }

    /// What is written to this client's number, without an end. First `hello` tells the number, and again
    /// whenever a line that broke stands anew (what was written meanwhile is lost); then each message is an
    /// event `addressed`.
    pub fn listen(&self) -> Events {
        Events::new(self.clone(), path(&["events"], &[("addressed", Some("true")), ("events", Some("false"))]), None)
    }

    /// One push, with its first thousand deliveries.
    pub fn get_push(&self, id: u64) -> Result<Push, Error> {
        self.get(&path(&["pushes", &id.to_string()], &[]))
    }

    /// All pushes, newest first.
    pub fn pushes(&self) -> Pages<Push> {
        Pages::new(self, path(&["pushes"], &[("limit", Some("100"))]))
    }

    /// All deliveries of a push.
    pub fn deliveries(&self, id: u64) -> Pages<Delivery> {
        Pages::new(self, path(&["pushes", &id.to_string(), "deliveries"], &[("limit", Some(&ROWS.to_string()))]))
    }

    /// Takes back what is not acknowledged yet.
    pub fn cancel_push(&self, id: u64) -> Result<(), Error> {
        self.call::<Option<Value>>(Method::DELETE, &path(&["pushes", &id.to_string()], &[]), None, Duration::ZERO).map(drop)
    }

    /// All devices that a query or a filter chooses, page by page as they are looked at.
    pub fn devices<'a>(&self, filter: impl Into<DeviceFilter<'a>>) -> Pages<Device> {
        Pages::new(self, devices(&filter.into(), ROWS, None))
    }

    /// One page of them.
    pub fn devices_page<'a>(
        &self,
        filter: impl Into<DeviceFilter<'a>>,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<Device>, Error> {
        self.get(&devices(&filter.into(), limit, cursor))
    }

    /// One device.
    pub fn device(&self, id: &str) -> Result<Device, Error> {
        self.get(&path(&["devices", id], &[]))
    }

    /// The newest value of each stream.
    pub fn latest(&self, device: &str) -> Result<Vec<Point>, Error> {
        Ok(self.get::<Page<Point>>(&path(&["devices", device, "latest"], &[]))?.items)
    }

    /// Points, oldest first, page by page as they are looked at.
    pub fn points(&self, device: &str, filter: &PointFilter<'_>) -> Pages<Point> {
        let rows = ROWS.to_string();
        let query = [("stream", filter.stream), ("from", filter.since), ("to", filter.until), ("limit", Some(&*rows))];
        Pages::new(self, path(&["devices", device, "points"], &query))
    }

    /// Stores points, `{"temp": 21.5}` or rows of `{"stream", "value", "at"?}`; how many were stored.
    pub fn upload(&self, device: &str, values: &Value) -> Result<u64, Error> {
        let stored: Value = self.call(Method::POST, &path(&["devices", device, "points"], &[]), Some(values), Duration::ZERO)?;
        Ok(stored["stored"].as_u64().unwrap_or_default())
    }

    /// What is wanted of a device, what it tells of itself, and what differs.
    pub fn twin(&self, device: &str) -> Result<Twin, Error> {
        self.get(&path(&["devices", device, "twin"], &[]))
    }

    /// Changes what is wanted of a device by a merge patch: `null` removes a member. With a version, only if what is
    /// wanted still has that one; else a problem with the code `version_conflict`.
    pub fn patch_desired(&self, device: &str, patch: &Value, version: Option<u64>) -> Result<Twin, Error> {
        self.call(Method::PATCH, &desired(device, version), Some(patch), Duration::ZERO)
    }

    /// Puts another value in the place of what is wanted of a device.
    pub fn replace_desired(&self, device: &str, value: &Value, version: Option<u64>) -> Result<Twin, Error> {
        self.call(Method::PUT, &desired(device, version), Some(value), Duration::ZERO)
    }

    /// All changes of a twin that are remembered, newest first; of one part, `desired` or `reported`, or of both.
    pub fn twin_history(&self, device: &str, part: Option<&str>) -> Pages<TwinChange> {
        let query = [("limit", Some(&*ROWS.to_string())), ("part", part)];
        Pages::new(self, path(&["devices", device, "twin", "history"], &query))
    }

    /// What happens, as it happens, without an end; of one device, or of all. `after` is the number of an
    /// event to go on after.
    pub fn events(&self, device: Option<&str>, after: Option<&str>) -> Events {
        Events::new(self.clone(), path(&["events"], &[("device", device)]), after.map(str::to_owned))
    }

    /// How the server is.
    pub fn status(&self) -> Result<Value, Error> {
        self.get(&path(&["status"], &[]))
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(Method::GET, path, None, Duration::ZERO)
    }

    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        wait: Duration,
    ) -> Result<T, Error> {
        let mut retries = 0;
        let response = loop {
            let response = self.once(&method, path, body, wait)?;
            let header = response.headers().get("Retry-After").and_then(|value| value.to_str().ok());
            let Some(pause) = retry(response.status().as_u16(), header, retries) else { break response };
            retries += 1;
            std::thread::sleep(pause);
        };
        let text = text(&mut good(response)?)?;
        let text = if text.is_empty() { json!(null).to_string() } else { text };
        serde_json::from_str(&text).map_err(|error| Error::Unreachable(format!("it answered not as espush does: {error}")))
    }

    fn once(&self, method: &Method, path: &str, body: Option<&Value>, wait: Duration) -> Result<Response<Body>, Error> {
        let request = self.request(method.clone(), path).header("Accept", "application/json");
        let limit = Some(self.timeout.saturating_add(wait));
        Ok(match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json").body(body.to_string());
                let request = request.map_err(ureq::Error::from)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(limit).build())?
            }
            None => {
                let request = request.body(()).map_err(ureq::Error::from)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(limit).build())?
            }
        })
    }

    /// A call with a file, or for one.
    pub(crate) fn file(&self, method: Method, path: &str, csv: Option<&str>, more: Duration) -> Result<Body, Error> {
        let limit = Some(self.timeout.saturating_add(more));
        let request = self.request(method, path).header("Accept", "*/*");
        let response = match csv {
            Some(csv) => {
                let request = request.header("Content-Type", "text/csv").body(csv.to_owned()).map_err(ureq::Error::from)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(limit).build())
            }
            None => {
                let request = request.body(()).map_err(ureq::Error::from)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(limit).build())
            }
        };
        Ok(good(response?)?.into_body())
    }

    /// A stream of events.
    pub(crate) fn live(&self, path: &str, last_id: Option<&str>) -> Result<Body, Error> {
        let mut request = self.request(Method::GET, path).header("Accept", "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let request = request.body(()).map_err(ureq::Error::from)?;
        let request = self.agent.configure_request(request);
        let request = request.timeout_connect(Some(self.timeout)).timeout_recv_response(Some(self.timeout));
        Ok(good(self.agent.run(request.timeout_per_read(Some(SILENCE)).build())?)?.into_body())
    }

    fn request(&self, method: Method, path: &str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }
}

/// How long to wait before a call is made again; `None`: not at all.
fn retry(status: u16, retry_after: Option<&str>, retries: u32) -> Option<Duration> {
    let seconds = retry_after.filter(|_| status == 429 && retries < RETRIES_MAX)?.parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|pause| *pause <= RETRY_MAX)
}

fn good(mut response: Response<Body>) -> Result<Response<Body>, Error> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    Err(Error::of_answer(status, &text(&mut response)?))
}

fn text(response: &mut Response<Body>) -> Result<String, Error> {
    Ok(response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?)
}

fn devices(filter: &DeviceFilter<'_>, limit: usize, cursor: Option<&str>) -> String {
    let app = filter.app.map(|app| app.to_string());
    let online = filter.online.map(|online| online.to_string());
    let limit = limit.to_string();
    let query = [
        ("where", filter.query),
        ("app", app.as_deref()),
        ("online", online.as_deref()),
        ("q", filter.q),
        ("limit", Some(&*limit)),
        ("cursor", cursor),
    ];
    path(&["devices"], &query)
}

fn desired(device: &str, version: Option<u64>) -> String {
    let version = version.map(|version| version.to_string());
    path(&["devices", device, "twin", "desired"], &[("version", version.as_deref())])
}

/// An address under `/api/v1`, with what is given of the query.
pub(crate) fn path(parts: &[&str], query: &[(&str, Option<&str>)]) -> String {
    let mut address = "/api/v1".to_owned();
    for part in parts {
        address.push('/');
        address.push_str(&encoded(part));
    }
    for (name, value) in query.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
        address.push(if address.contains('?') { '&' } else { '?' });
        address.push_str(&format!("{name}={}", encoded(value)));
    }
    address
}

pub(crate) fn encoded(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_cannot_change_the_address() {
        assert_eq!(
            path(&["devices", "a/../b?c"], &[("limit", Some("5")), ("where", Some("x & \"灯\"")), ("cursor", None)]),
            "/api/v1/devices/a%2F..%2Fb%3Fc?limit=5&where=x%20%26%20%22%E7%81%AF%22"
        );
    }

    #[test]
    fn too_many_requests_are_made_again_a_few_times_and_soon() {
        let two = Some(Duration::from_secs(2));
        assert_eq!([0, 1, 2, 3].map(|retries| retry(429, Some("2"), retries)), [two, two, two, None]);
        assert_eq!(retry(429, Some("10"), 0), Some(RETRY_MAX));
        for (status, header) in [(429, Some("11")), (429, None), (429, Some("soon")), (503, Some("1")), (200, Some("1"))] {
            assert_eq!(retry(status, header, 0), None);
        }
    }

    #[test]
    fn an_order_is_what_was_meant() {
        let order = Order::to("lamp").text("on").ttl(Duration::ZERO).with("new", 1);
        assert_eq!(Value::Object(order.body), json!({ "audience": { "device": "lamp" }, "text": "on", "ttl_s": 0, "new": 1 }));
        let order = Order::to(crate::Audience::all()).bytes(&[255, 1]);
        assert_eq!(Value::Object(order.body), json!({ "audience": "all", "hex": "ff01" }));
        let message = Message::to(4_000_000_000_u32).bytes(&[255, 1]);
        assert_eq!(Value::Object(message.body), json!({ "to": 4_000_000_000_u32, "hex": "ff01" }));
        assert_eq!(Value::Object(Message::to("lamp").text("on").body), json!({ "to": "lamp", "text": "on" }));
    }
}
