//! What goes wrong.

use serde::Deserialize;

/// Anything that goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// Nobody answered, or what answered is no espush.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The answer did not come in time. What was asked may have been done all the same.
    #[error("no answer in time")]
    TimedOut,
}

/// What the server says (RFC 9457).
#[derive(Clone, Debug, Deserialize, thiserror::Error)]
#[error("{detail}{}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// A word that stays: docs/en/api.md of espush lists them all.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
    /// Where in a query the mistake is, in characters from 1.
    pub position: Option<usize>,
}

impl Error {
    /// The error that an answer tells of.
    pub(crate) fn of_answer(status: u16, body: &str) -> Error {
        match serde_json::from_str::<Problem>(body) {
            Ok(problem) => Error::Problem(Problem { status, ..problem }),
            Err(_) => Error::Unreachable(format!("it answered {status}, and not as espush does")),
        }
    }

    /// The refusal, if it is one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Error::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The refusal's code; empty when nobody refused.
    pub fn code(&self) -> &str {
        self.problem().map_or("", |problem| &problem.code)
    }
}

impl From<ureq::Error> for Error {
    fn from(error: ureq::Error) -> Error {
        match error {
            ureq::Error::Timeout(_) => Error::TimedOut,
            error => Error::Unreachable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_what_the_server_says() {
        let told = Error::of_answer(400, r#"{"status":400,"code":"bad_where","detail":"no","hint":"so","position":3}"#);
        assert_eq!((told.code(), told.to_string()), ("bad_where", "no (so)".to_owned()));
        assert_eq!(told.problem().and_then(|problem| problem.position), Some(3));
        for body in ["<html>", "[]", "{}", "null"] {
            assert!(matches!(Error::of_answer(502, body), Error::Unreachable(_)), "{body}");
        }
    }
}
