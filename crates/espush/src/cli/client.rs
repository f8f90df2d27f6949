//! The HTTP client that all commands share: where the server is, who asks, and what its errors mean.
//! Knows the forms of the API (JSON, problem+json, cursors), nothing of any one call.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use net::{TlsCaller, Trust};
use serde_json::{Value, json};
use ureq::http::{Method, Request, Response};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Body};

use super::secure::Secure;
use crate::serve::{CERTIFICATE_FILE, URL_FILE};

/// Silence on a live stream after which the line counts as dead: the server writes every 15 s.
const STREAM_SILENCE_S: u64 = 45;
/// Longest wait for an ordinary answer; above the 60 s that a push may wait.
const ANSWER_S: u64 = 75;

/// Where the server is and who asks: the options of every command that talks to one.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Reach {
    /// The server's address [default: the server that runs on the data directory]
    #[arg(long, value_name = "URL", env = "ESPUSH_SERVER", global = true)]
    pub server: Option<String>,
    /// An API token [default: the data directory's owner token]
    #[arg(long, value_name = "TOKEN", env = "ESPUSH_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
    /// PEM file of the CA that vouches for the server, for https:// [default: the certificate of the server that
    /// runs on the data directory; elsewhere what the system trusts]
    #[arg(long, value_name = "FILE", env = "ESPUSH_CA", global = true)]
    pub ca: Option<PathBuf>,
    /// The data directory of a server on this machine
    #[arg(long, value_name = "DIR", env = "ESPUSH_DATA", default_value = "./espush-data", global = true)]
    pub data: PathBuf,
    /// Print what the API said, for machines
    #[arg(long, global = true)]
    pub json: bool,
}

/// An error of the API (RFC 9457), or none at all because nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server answered with a problem.
    #[error("{sentence}{}", hint.as_ref().map(|h| format!("\n  hint: {h}")).unwrap_or_default())]
    Problem {
        /// The HTTP status.
        status: u16,
        /// The stable word, such as `device_not_found`.
        code: String,
        /// What is wrong, for people.
        sentence: String,
        /// What to do, for people.
        hint: Option<String>,
        /// The whole problem.
        json: Value,
    },
    /// Somebody answered who may be somebody else.
    #[error(
        "{base} is not trusted: {why}\n  hint: name the certificate of its CA with --ca FILE, and call it by a name that stands in its certificate"
    )]
    Untrusted {
        /// The server's address.
        base: String,
        /// Why.
        why: net::Untrusted,
    },
    /// No answer.
    #[error(
        "no answer from {base} ({why})\n  hint: start a server with `espush serve`, or name a running one with --server URL or --data DIR"
    )]
    Unreachable {
        /// The server's address.
        base: String,
        /// Why, as the network says it.
        why: String,
    },
}

/// A server and a way to ask it.
pub struct Client {
    agent: Agent,
    /// The server's address, without a slash at the end.
    pub base: String,
    /// Who asks; `None` = nobody in particular.
    pub token: Option<String>,
}

impl Client {
    /// Finds the server and the token.
    pub fn find(reach: &Reach) -> anyhow::Result<Client> {
        let base = match &reach.server {
            Some(url) => url.clone(),
            None => read_line(&reach.data.join(URL_FILE))?.unwrap_or_else(|| "http://127.0.0.1:8080".to_owned()),
        };
        let base = base.trim_end_matches('/').to_owned();
        let secure = base.starts_with("https://");
        anyhow::ensure!(secure || base.starts_with("http://"), "{base:?} is not an http:// or https:// address");
        // The owner token of this machine's server is not for others.
        let ours = reach.server.is_none() || is_loopback(&base);
        let token = match &reach.token {
            Some(token) => Some(token.clone()),
            None if ours => read_line(&reach.data.join("owner.token"))?,
            None => None,
        };
        let caller = secure.then(|| TlsCaller::new(&trust(reach, ours))).transpose()?;
        let config = Agent::config_builder().http_status_as_error(false).proxy(None);
        let config = config.timeout_connect(Some(Duration::from_secs(10)));
        let connector = ().chain(TcpConnector::default()).chain(Secure(caller));
        Ok(Client { agent: Agent::with_parts(config.build(), connector, DefaultResolver::default()), base, token })
    }

    /// Asks and takes a JSON answer.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let mut response = self.send(method, path, "application/json", body)?;
        let text = response.body_mut().read_to_string().map_err(|error| self.unreachable(error))?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// `GET` with a JSON answer.
    pub fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call(Method::GET, path, None)
    }

    /// Reads a list page by page until `limit` rows or its end, and gives it back as one.
    pub fn all_pages(&self, path: &str, limit: usize) -> Result<Value, ApiError> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let rows = (limit - items.len()).min(model::limits::PAGE_ROWS_MAX).to_string();
            let mut page = self.get(&with_query(path, &[("limit", Some(rows)), ("cursor", cursor)]))?;
            if let Value::Array(rows) = page["items"].take() {
                items.extend(rows);
            }
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() || items.len() >= limit {
                return Ok(json!({ "items": items, "next": cursor }));
            }
        }
    }

    /// `GET` with an answer in another form, as a stream.
    pub fn read(&self, path: &str, accept: &str) -> Result<impl std::io::Read + use<>, ApiError> {
        Ok(self.send(Method::GET, path, accept, None)?.into_body().into_reader())
    }

    /// `POST` of a file; the answer is a stream.
    pub fn post_file(&self, path: &str, kind: &str, file: Vec<u8>) -> Result<impl std::io::Read + use<>, ApiError> {
        let request = self.request(Method::POST, path, "*/*").header("Content-Type", kind);
        let request = request.body(file).map_err(|error| self.unreachable(error))?;
        let response = self.agent.run(request).map_err(|error| self.unreachable(error))?;
        Ok(good(response)?.into_body().into_reader())
    }

    /// `GET` of a live stream of events, from after `last_id`.
    pub fn live(&self, path: &str, last_id: Option<&str>) -> Result<BufReader<impl std::io::Read + use<>>, ApiError> {
        let mut request = self.request(Method::GET, path, "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let request = request.body(()).map_err(|error| self.unreachable(error))?;
        let request = self.agent.configure_request(request).timeout_per_read(Some(Duration::from_secs(STREAM_SILENCE_S))).build();
        let response = self.agent.run(request).map_err(|error| self.unreachable(error))?;
        Ok(BufReader::new(good(response)?.into_body().into_reader()))
    }

    fn request(&self, method: Method, path: &str, accept: &str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base)).header("Accept", accept);
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn send(&self, method: Method, path: &str, accept: &str, body: Option<&Value>) -> Result<Response<Body>, ApiError> {
        let request = self.request(method, path, accept);
        let answer_s = Some(Duration::from_secs(ANSWER_S));
        let response = match body {
            Some(json) => {
                let request = request.header("Content-Type", "application/json").body(json.to_string());
                let request = request.map_err(|error| self.unreachable(error))?;
                self.agent.run(self.agent.configure_request(request).timeout_recv_response(answer_s).build())
            }
            None => {
                let request = request.body(()).map_err(|error| self.unreachable(error))?;
                self.agent.run(self.agent.configure_request(request).timeout_recv_response(answer_s).build())
            }
        };
        good(response.map_err(|error| self.unreachable(error))?)
    }

    fn unreachable(&self, error: impl Into<ureq::Error>) -> ApiError {
        let error = error.into();
        if let ureq::Error::Io(inner) = &error
            && let Some(why) = inner.get_ref().and_then(|inner| inner.downcast_ref())
        {
            return ApiError::Untrusted { base: self.base.clone(), why: *why };
        }
        ApiError::Unreachable { base: self.base.clone(), why: error.to_string() }
    }
}

/// Lets good answers through and makes a sentence of the others.
fn good(mut response: Response<Body>) -> Result<Response<Body>, ApiError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.body_mut().read_to_string().unwrap_or_default();
    let json: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let word = |name: &str| json[name].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let sentence = word("detail").or_else(|| word("title")).unwrap_or_else(|| format!("the server answered {status}"));
    let hint = word("hint").or_else(|| {
        (status.as_u16() == 401)
            .then(|| "give a token with --token or ESPUSH_TOKEN, or the server's data directory with --data".to_owned())
    });
    let code = word("code").unwrap_or_default();
    Err(ApiError::Problem { status: status.as_u16(), code, sentence, hint, json })
}

/// Whom to believe that it is the server. `ours` says that it runs on this machine: then its data directory
/// knows its certificate, which need not name the address that it is called at here.
fn trust(reach: &Reach, ours: bool) -> Trust {
    let shown = reach.data.join(CERTIFICATE_FILE);
    match &reach.ca {
        Some(file) => Trust::Ca(file.clone()),
        None if ours && shown.exists() => Trust::Exactly(shown),
        None => Trust::System,
    }
}

/// A file's first line, `None` when there is no file.
fn read_line(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn is_loopback(base: &str) -> bool {
    let Some(rest) = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://")) else { return false };
    let authority = rest.split('/').next().unwrap_or(rest);
    // A user part could hide the true host behind an innocent one.
    if authority.contains('@') {
        return false;
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host == "localhost" || host == "[::1]" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// `text` as one level of a path or one value of a query.
pub fn encoded(text: &str) -> String {
    let mut safe = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    safe
}

/// `path?name=value&…` with the values that are there.
pub fn with_query(path: &str, values: &[(&str, Option<String>)]) -> String {
    let mut whole = path.to_owned();
    for (name, value) in values {
        if let Some(value) = value {
            whole.push(if whole.contains('?') { '&' } else { '?' });
            whole.push_str(&format!("{name}={}", encoded(value)));
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(dir: &Path) -> Reach {
        Reach { data: dir.to_owned(), ..Reach::default() }
    }

    #[test]
    fn server_and_token_are_found_in_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let empty = Client::find(&reach(dir.path())).unwrap();
        assert_eq!((empty.base.as_str(), empty.token), ("http://127.0.0.1:8080", None));
        std::fs::write(dir.path().join("server.url"), "http://127.0.0.1:4711/\n").unwrap();
        std::fs::write(dir.path().join("owner.token"), "tok\n").unwrap();
        let found = Client::find(&reach(dir.path())).unwrap();
        assert_eq!((found.base.as_str(), found.token.as_deref()), ("http://127.0.0.1:4711", Some("tok")));
    }

    #[test]
    fn the_local_token_does_not_leave_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("owner.token"), "tok\n").unwrap();
        let token_for = |server: &str| {
            let reach = Reach { server: Some(server.to_owned()), ..reach(dir.path()) };
            Client::find(&reach).unwrap().token
        };
        for near in ["http://127.0.0.1:9", "http://localhost:9/", "http://localhost", "http://[::1]:9"] {
            assert_eq!(token_for(near).as_deref(), Some("tok"), "{near}");
        }
        for far in
            ["http://example.org", "http://127.0.0.1@example.org:80", "http://10.0.0.1:8080", "http://localhost.example.org"]
        {
            assert_eq!(token_for(far), None, "{far}");
        }
        // Not through the client: with TLS it would read what this system trusts.
        assert!(is_loopback("https://localhost:9") && is_loopback("https://[::1]:9"));
        for far in ["https://example.org", "https://http://localhost", "http://https://localhost", "localhost"] {
            assert!(!is_loopback(far), "{far}");
        }
        assert!(Client::find(&Reach { server: Some("ftp://h".into()), ..reach(dir.path()) }).is_err());
    }

    #[test]
    fn the_certificate_in_the_data_directory_counts_on_this_machine_only() {
        let dir = tempfile::tempdir().unwrap();
        let shown = dir.path().join(CERTIFICATE_FILE);
        assert_eq!(trust(&reach(dir.path()), true), Trust::System, "there is none");
        std::fs::write(&shown, "").unwrap();
        assert_eq!(trust(&reach(dir.path()), true), Trust::Exactly(shown));
        assert_eq!(trust(&reach(dir.path()), false), Trust::System);
        let named = Reach { ca: Some("ca.pem".into()), ..reach(dir.path()) };
        assert_eq!(trust(&named, true), Trust::Ca("ca.pem".into()));
    }

    #[test]
    fn what_people_type_cannot_change_the_path() {
        assert_eq!(encoded("a/../b?c=灯"), "a%2F..%2Fb%3Fc%3D%E7%81%AF");
        assert_eq!(with_query("/x", &[("a", Some("1&2".into())), ("b", None), ("c", Some("3".into()))]), "/x?a=1%262&c=3");
    }
}
