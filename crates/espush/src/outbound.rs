//! Carries webhooks: one POST on a connection of its own, to an address that was looked at before it was called. No
//! redirect is followed, of the answer only the status is used, and all of it has a time.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use model::limits;
use net::{TlsClient, outbound};
use webhook::{Courier, Later, Parcel, addresses};

use crate::config::Webhooks;

/// Posts to targets.
pub struct Post(Arc<How>);

struct How {
    allow_private: bool,
    timeout: Duration,
    /// What targets with TLS are checked against, or why they cannot be.
    tls: Result<TlsClient, String>,
}

impl Post {
    /// Reads what is to be trusted; an error if a file was named and cannot be read.
    pub fn new(config: &Webhooks) -> Result<Post, net::TrustError> {
        let tls = match TlsClient::new("", config.ca.as_deref()) {
            Err(error) if config.ca.is_some() => return Err(error),
            tls => tls.map_err(|error| error.to_string()),
        };
        let timeout = Duration::from_millis(config.timeout_ms);
        Ok(Post(Arc::new(How { allow_private: config.allow_private, timeout, tls })))
    }
}

impl Courier for Post {
    fn post(&self, parcel: Parcel) -> Later<Result<u16, String>> {
        let how = self.0.clone();
        Box::pin(async move {
            let late = || format!("did not answer within {} ms", how.timeout.as_millis());
            tokio::time::timeout(how.timeout, post(&how, parcel)).await.unwrap_or_else(|_| Err(late()))
        })
    }
}

async fn post(how: &How, parcel: Parcel) -> Result<u16, String> {
    let host = webhook::host_of(&parcel.url)?;
    let uri: Uri = parcel.url.parse().map_err(|_| "the URL cannot be read".to_owned())?;
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let tls = if is_tls { Some(how.tls.clone()?.towards(&host)) } else { None };
    let refused = |address| addresses::refused(address).filter(|_| !how.allow_private);
    let stream = outbound::call(&host, port, tls.as_ref(), refused).await?;

    let broken = |error: hyper::Error| format!("the connection ended before an answer: {error}");
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(limits::WEBHOOK_ANSWER_BYTES_MAX)
        .handshake::<_, String>(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let authority = uri.authority().map_or(host.as_str(), |authority| authority.as_str());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(USER_AGENT, concat!("espush/", env!("CARGO_PKG_VERSION")));
    for (name, value) in parcel.headers {
        request = request.header(name, value);
    }
    let request = request.body(parcel.body.as_ref().to_owned()).map_err(|error| format!("cannot be asked: {error}"))?;
    // One task carries both: whoever gives up, drops both, and the connection with them.
    tokio::pin!(connection);
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended.map_err(broken)?;
            answer.await
        }
    };
    Ok(answer.map_err(broken)?.status().as_u16())
}
