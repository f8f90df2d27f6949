//! MQTT over WebSocket at `/mqtt`: takes a connection out of HTTP and hands it to a shard, where it goes on
//! like any other. Deliberately absent: frames (`net`), who may come in (MQTT's own login).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::Protocol;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use net::{Shards, Stream, WebSocket, websocket_accept};

/// The sub-protocols that are MQTT 3.1.1 and later [MQTT-6.0.0-3]; the second is what older clients say.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// The path.
pub const PATH: &str = "/mqtt";

/// Answers a request at [`PATH`].
pub async fn upgrade(shards: Arc<Shards>, protocol: Protocol, mut request: Request) -> Response {
    let (accept, subprotocol) = match agree(request.method(), request.headers()) {
        Ok(agreed) => agreed,
        Err(refused) => return refused.into_response(),
    };
    let remote = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(remote)| *remote);
    let (Some(remote), Some(upgrade)) = (remote, request.extensions_mut().remove::<OnUpgrade>()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    tokio::spawn(async move {
        let stream = match upgrade.await {
            Ok(upgraded) => upgraded.downcast::<TokioIo<Stream>>(),
            Err(error) => return tracing::debug!(%remote, %error, "a WebSocket ended before it had begun"),
        };
        match stream {
            Ok(Parts { io, read_buf, .. }) => {
                if let Err(error) = shards.adopt(&protocol, io.into_inner(), WebSocket::default(), &read_buf, remote) {
                    tracing::error!(%remote, %error, "lost a WebSocket on its way to a shard");
                }
            }
            Err(_) => tracing::error!(%remote, "a WebSocket came in over a connection that is not ours"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(subprotocol) = subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    response
}

/// Why a request is no upgrade, and the header that says what would be.
#[derive(Debug)]
struct Refused(StatusCode, Option<(HeaderName, &'static str)>, &'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(status, header, text) = self;
        let mut response = (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response();
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Whether the request is an upgrade that we can take (RFC 6455, 4.2.1): what to answer to its key, and
/// the sub-protocol.
fn agree(method: &Method, headers: &HeaderMap) -> Result<(HeaderValue, Option<&'static str>), Refused> {
    if method != Method::GET || !has(headers, &header::CONNECTION, "upgrade") || !has(headers, &header::UPGRADE, "websocket") {
        let text =
            "This address speaks MQTT over WebSocket: give it to an MQTT client as ws://HOST:PORT/mqtt. The console is at /.\n";
        return Err(Refused(StatusCode::UPGRADE_REQUIRED, Some((header::UPGRADE, "websocket")), text));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let text = "WebSocket version 13 (RFC 6455) is needed.\n";
        return Err(Refused(StatusCode::UPGRADE_REQUIRED, Some((header::SEC_WEBSOCKET_VERSION, "13")), text));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).filter(|key| key.len() == 24);
    let accept = key.and_then(|key| HeaderValue::from_str(&websocket_accept(key)).ok());
    let bad = |text| Refused(StatusCode::BAD_REQUEST, None, text);
    let accept = accept.ok_or_else(|| bad("Sec-WebSocket-Key is missing or is not 16 bytes in base64.\n"))?;
    let offered = SUBPROTOCOLS.into_iter().find(|ours| has(headers, &header::SEC_WEBSOCKET_PROTOCOL, ours));
    // A client that names none means MQTT all the same: there is nothing else here.
    if offered.is_none() && headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return Err(bad("Offer the WebSocket sub-protocol \"mqtt\".\n"));
    }
    Ok((accept, offered))
}

/// Whether one of the comma-separated words of a header is `word`, in whatever case.
fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|found| found.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(change: &[(HeaderName, &str)]) -> Result<(String, Option<&'static str>), StatusCode> {
        let mut headers = HeaderMap::new();
        let usual = [
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::UPGRADE, "WebSocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (header::SEC_WEBSOCKET_PROTOCOL, "mqtt"),
        ];
        for (name, value) in usual.iter().chain(change) {
            headers.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers = headers.into_iter().filter_map(|(name, value)| Some((name?, value))).filter(|(_, v)| !v.is_empty()).collect();
        match agree(&Method::GET, &headers) {
            Ok((accept, subprotocol)) => Ok((accept.to_str().unwrap().to_owned(), subprotocol)),
            Err(Refused(status, ..)) => Err(status),
        }
    }

    /// [MQTT 3.1.1: 6.0.0-3, 6.0.0-4]
    /// [MQTT 5.0: 6.0.0-3, 6.0.0-4]
    #[test]
    fn what_clients_ask_for_is_agreed() {
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
        assert_eq!(ask(&[]), Ok((accept.clone(), Some("mqtt"))));
        assert_eq!(ask(&[(header::SEC_WEBSOCKET_PROTOCOL, "x, mqttv3.1")]), Ok((accept.clone(), Some("mqttv3.1"))));
        assert_eq!(ask(&[(header::SEC_WEBSOCKET_PROTOCOL, "")]), Ok((accept, None)));
    }

    #[test]
    fn what_is_no_upgrade_is_told_so() {
        assert_eq!(ask(&[(header::UPGRADE, "")]), Err(StatusCode::UPGRADE_REQUIRED));
        assert_eq!(ask(&[(header::CONNECTION, "keep-alive")]), Err(StatusCode::UPGRADE_REQUIRED));
        assert_eq!(ask(&[(header::SEC_WEBSOCKET_VERSION, "8")]), Err(StatusCode::UPGRADE_REQUIRED));
        assert_eq!(ask(&[(header::SEC_WEBSOCKET_KEY, "short")]), Err(StatusCode::BAD_REQUEST));
        assert_eq!(ask(&[(header::SEC_WEBSOCKET_PROTOCOL, "chat")]), Err(StatusCode::BAD_REQUEST));
    }
}
