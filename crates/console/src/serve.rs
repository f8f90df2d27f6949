//! Which file a request gets, and with which headers.

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::files::{ABSENT, DOCS, FILES, File};

/// The paths of other rooms: what is not there must not look like a page.
const NOT_PAGES: [&str; 4] = ["/api/", "/d/", "/docs/", "/_app/"];

/// Every answer says this. The page's own policy for scripts and styles stands in its `<meta>` tag, where
/// the hash of its inline script is known; what a `<meta>` cannot say stands here. Both hold.
const POLICY: &str = "frame-ancestors 'none'; object-src 'none'; base-uri 'self'";

/// The page about the API has no inline script and no inline style, and calls only us.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    guarded(answer(FILES, &method, uri.path(), &headers), POLICY)
}

/// The page about the API. It is there without a build of the console too.
pub(crate) async fn docs(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = if uri.path() == "/docs" { "/docs/index.html" } else { uri.path() };
    guarded(answer(DOCS, &method, path, &headers), DOCS_POLICY)
}

fn guarded(mut response: Response, policy: &'static str) -> Response {
    let set = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in set {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn answer(files: &'static [File], method: &Method, path: &str, headers: &HeaderMap) -> Response {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")], "the console is only read\n").into_response();
    }
    match find(files, path, headers) {
        Some(file) => send(file, headers),
        None => (StatusCode::NOT_FOUND, "there is nothing at this address\n").into_response(),
    }
}

/// The file at `path`; `index.html` for a page address that a browser opens.
fn find(files: &'static [File], path: &str, headers: &HeaderMap) -> Option<&'static File> {
    if let Some(file) = files.iter().find(|file| file.path == path) {
        return Some(file);
    }
    let opened = accepts(headers, header::ACCEPT, "text/html") && !NOT_PAGES.iter().any(|other| path.starts_with(other));
    if path != "/" && !opened {
        return None;
    }
    Some(files.iter().find(|file| file.path == "/index.html").unwrap_or(&ABSENT))
}

fn send(file: &'static File, headers: &HeaderMap) -> Response {
    // A page is asked for again each time, but only sent when it has changed; what has its content's hash
    // in its name is never asked for twice.
    let cache = if file.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let common = [(header::CACHE_CONTROL, cache), (header::ETAG, file.etag), (header::VARY, "accept-encoding")];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == file.etag)) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, file.kind)];
    match file.gzip {
        Some(gzip) if accepts(headers, header::ACCEPT_ENCODING, "gzip") => {
            (common, kind, [(header::CONTENT_ENCODING, "gzip")], Body::from(gzip)).into_response()
        }
        _ => (common, kind, Body::from(file.body)).into_response(),
    }
}

/// Whether a list such as `text/html, */*;q=0.8` names `wanted` and does not forbid it.
fn accepts(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|item| {
        let (what, weight) = item.split_once(';').unwrap_or((item, ""));
        let forbidden = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse::<f32>() == Ok(0.0));
        what.trim().eq_ignore_ascii_case(wanted) && !forbidden
    })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    static BUILT: &[File] = &[
        File {
            path: "/_app/immutable/bundle.x1.js",
            kind: "text/javascript; charset=utf-8",
            etag: "\"1\"",
            immutable: true,
            body: b"plain",
            gzip: Some(b"packed"),
        },
        File {
            path: "/index.html",
            kind: "text/html; charset=utf-8",
            etag: "\"2\"",
            immutable: false,
            body: b"page",
            gzip: None,
        },
    ];

    fn headers(rows: &[(HeaderName, &'static str)]) -> HeaderMap {
        rows.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn get(path: &str, rows: &[(HeaderName, &'static str)]) -> Response {
        answer(BUILT, &Method::GET, path, &headers(rows))
    }

    async fn body(response: Response) -> Vec<u8> {
        to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()
    }

    const HTML: (HeaderName, &str) = (header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8");

    #[tokio::test]
    async fn files_are_sent_packed_to_those_who_can_unpack() {
        let plain = get("/_app/immutable/bundle.x1.js", &[]);
        assert_eq!(plain.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(plain.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(body(plain).await, b"plain");

        let packed = get("/_app/immutable/bundle.x1.js", &[(header::ACCEPT_ENCODING, "br, gzip;q=0.8")]);
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(packed.headers()[header::VARY], "accept-encoding");
        assert_eq!(body(packed).await, b"packed");

        let refused = get("/_app/immutable/bundle.x1.js", &[(header::ACCEPT_ENCODING, "gzip;q=0")]);
        assert_eq!(body(refused).await, b"plain");
    }

    #[tokio::test]
    async fn every_page_address_gets_the_one_page() {
        for path in ["/", "/signin", "/device/lamp.1", "/settings"] {
            let page = get(path, &[HTML]);
            assert_eq!(page.status(), StatusCode::OK, "{path}");
            assert_eq!(page.headers()[header::CACHE_CONTROL], "no-cache");
            assert_eq!(body(page).await, b"page");
        }
        assert_eq!(body(get("/", &[])).await, b"page", "also for a program that takes anything");
    }

    #[test]
    fn what_is_no_page_is_not_found() {
        for (path, rows) in [
            ("/api/v1/nothing", &[HTML][..]),
            ("/d/lamp", &[HTML]),
            ("/_app/immutable/bundle.old.js", &[HTML]),
            ("/device/lamp", &[(header::ACCEPT, "application/json")]),
            ("/device/lamp", &[]),
        ] {
            assert_eq!(get(path, rows).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        for tags in ["\"2\"", "W/\"2\"", "\"1\", \"2\""] {
            let response = get("/", &[HTML, (header::IF_NONE_MATCH, tags)]);
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{tags}");
            assert_eq!(response.headers()[header::ETAG], "\"2\"");
        }
        assert_eq!(get("/", &[HTML, (header::IF_NONE_MATCH, "\"1\"")]).status(), StatusCode::OK);
    }

    #[test]
    fn the_console_is_only_read() {
        let response = answer(BUILT, &Method::POST, "/", &headers(&[HTML]));
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
    }

    #[tokio::test]
    async fn without_a_build_the_page_says_how_to_make_one() {
        let response = answer(&[], &Method::GET, "/", &headers(&[HTML]));
        assert!(String::from_utf8(body(response).await).unwrap().contains("npm ci &amp;&amp; npm run build"));
    }

    /// The router as the program has it, with whatever was built.
    #[tokio::test]
    async fn the_router_guards_every_answer() {
        for path in ["/", "/api/v1/nothing"] {
            let request = Request::get(path).header(HTML.0, HTML.1).body(Body::empty()).unwrap();
            let response = crate::router().oneshot(request).await.unwrap();
            assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
            assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer");
        }
    }

    #[tokio::test]
    async fn the_page_about_the_api_is_always_there() {
        for (path, kind) in
            [("/docs", "text/html"), ("/docs/page.js", "text/javascript"), ("/docs/page.css", "text/css"), ("/docs/no", "")]
        {
            let request = Request::get(path).header(HTML.0, HTML.1).body(Body::empty()).unwrap();
            let response = crate::router().oneshot(request).await.unwrap();
            assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], DOCS_POLICY, "{path}");
            if kind.is_empty() {
                assert_eq!(response.status(), StatusCode::NOT_FOUND);
            } else {
                assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with(kind), "{path}");
            }
        }
    }

    /// Holds a real build to its budget: what the first page loads, packed.
    #[test]
    fn the_first_load_stays_within_its_budget() {
        let packed: usize = FILES.iter().map(|file| file.gzip.unwrap_or(file.body).len()).sum();
        assert!(packed <= 150 * 1024, "{packed} bytes");
    }
}
