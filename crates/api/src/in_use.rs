//! Groups that schedules name: one that is named by a schedule's audience is neither removed nor renamed, because the
//! schedule would push to nobody from then on. The fleet looks after groups that name each other; it knows no schedule.

use axum::http::StatusCode;
use model::Query;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::Api;
use crate::problem::Problem;

/// Schedules named at the most in one sentence.
const NAMED: usize = 5;

/// Held by whoever takes a schedule, and by whoever takes a group's name away: neither may pass the other between
/// looking and doing.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

#[derive(Deserialize)]
struct Push {
    audience: Value,
}

/// The groups that the audience of a push names.
fn groups(push: &str) -> Vec<String> {
    let Ok(Push { audience }) = serde_json::from_str(push) else { return Vec::new() };
    if let Some(name) = audience["group"].as_str() {
        return vec![name.to_owned()];
    }
    let query = audience["where"].as_str().or(audience["query"].as_str()).and_then(|text| Query::parse(text).ok());
    query.map(|query| query.groups().into_iter().map(str::to_owned).collect()).unwrap_or_default()
}

/// Refuses if a schedule names the group. With [`TURN`] held.
pub(crate) fn unscheduled(api: &Api, group: &str) -> Result<(), Problem> {
    let all = api.schedules.list(0, usize::MAX - 1).items;
    let users: Vec<String> = all
        .into_iter()
        .filter(|view| groups(&view.schedule.push).iter().any(|name| name == group))
        .map(|view| format!("{} ({:?})", view.schedule.id, view.schedule.name))
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    let more = users.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown = users[..users.len() - more].join(", ");
    let detail = format!("schedules push to the group {group:?}: {shown}{rest}; change or remove those first");
    Err(Problem::new(StatusCode::CONFLICT, "group_in_use", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_wherever_an_audience_names_them() {
        let rows: [(&str, &[&str]); 6] = [
            (r#"{"audience":{"group":"kitchen boards"},"text":"x"}"#, &["kitchen boards"]),
            (r#"{"audience":{"where":"online and not group = a or group in (b, c)"}}"#, &["a", "b", "c"]),
            (r#"{"audience":{"query":"group != a"}}"#, &["a"]),
            (r#"{"audience":{"tags":{"all":["a"]}}}"#, &[]),
            (r#"{"audience":"all"}"#, &[]),
            (r#"{"audience":{"device":"group = a"}}"#, &[]),
        ];
        for (push, wanted) in rows {
            assert_eq!(groups(push), wanted, "{push}");
        }
    }
}
