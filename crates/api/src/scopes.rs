//! Which scope each call needs. Whatever is not named here is for `admin`, so that a new call is closed to tokens with
//! less than their role until somebody has thought about it.

use axum::http::Method;
use model::TokenScope;

/// The scope of a call; none for what every token may.
pub(crate) fn of(method: &Method, path: &str) -> Option<TokenScope> {
    named(method.is_safe(), path).unwrap_or(Some(TokenScope::Admin))
}

/// The same; the outer `None` for a call that is not named.
fn named(reads: bool, path: &str) -> Option<Option<TokenScope>> {
    use TokenScope::{Admin, DataRead, DataWrite, DevicesRead, DevicesWrite, Events, Push};
    let rest = path.strip_prefix("/api/v1").unwrap_or(path);
    let (noun, tail) = rest.trim_start_matches('/').split_once('/').unwrap_or((rest.trim_start_matches('/'), ""));
    Some(match (noun, tail.rsplit('/').next().unwrap_or_default()) {
        ("session" | "status", _) => None,
        ("devices", "deliveries") | ("d" | "push" | "pushes" | "schedules" | "send", _) => Some(Push),
        ("devices", "latest" | "points" | "messages") => Some(if reads { DataRead } else { DataWrite }),
        ("devices" | "groups" | "apps" | "knocks", _) => Some(if reads { DevicesRead } else { DevicesWrite }),
        ("events" | "ws", _) => Some(Events),
        ("tokens" | "accounts" | "audit" | "webhooks", _) => Some(Admin),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_for_which_one_must_be_signed_in_is_named() {
        let document = crate::openapi::document();
        let mut seen = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if operation.get("x-role").is_some() {
                    assert!(named(method == "get", path).is_some(), "say in scopes.rs which scope {method} {path} needs");
                    seen += 1;
                }
            }
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn calls_need_what_one_would_think() {
        for (method, path, scope) in [
            (Method::GET, "/api/v1/devices", "devices:read"),
            (Method::GET, "/api/v1/devices/export", "devices:read"),
            (Method::POST, "/api/v1/devices/{id}/secret", "devices:write"),
            (Method::GET, "/api/v1/devices/{id}/deliveries", "push"),
            (Method::POST, "/d/{device}", "push"),
            (Method::POST, "/api/v1/push/preview", "push"),
            (Method::POST, "/api/v1/send", "push"),
            (Method::PATCH, "/api/v1/devices/{id}/twin/desired", "devices:write"),
            (Method::GET, "/api/v1/devices/{id}/points", "data:read"),
            (Method::POST, "/api/v1/devices/{id}/points", "data:write"),
            (Method::GET, "/api/v1/ws", "events"),
            (Method::POST, "/api/v1/tokens/signin", "admin"),
            (Method::GET, "/api/v1/what/comes/next", "admin"),
        ] {
            assert_eq!(of(&method, path).map(TokenScope::as_str), Some(scope), "{method} {path}");
        }
        assert_eq!(of(&Method::GET, "/api/v1/session"), None);
    }
}
