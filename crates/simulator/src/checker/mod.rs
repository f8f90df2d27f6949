//! Decides from a history alone whether what was promised was kept; each rule returns sentences, none when all
//! is well. It knows what clients said and heard, and nothing of the hub. The rules are for the end of a run,
//! when everybody has been back and has taken what was waiting.

mod messages;
mod platform;
mod sessions;
#[cfg(test)]
mod tests;
mod told;
mod wills;

use crate::history::History;
use told::Told;

/// A rule: what is wrong, in sentences.
type Rule = fn(&Told<'_>) -> Vec<String>;

const RULES: [Rule; 17] = [
    messages::lost,
    messages::lost_in_groups,
    messages::twice,
    messages::order,
    messages::again,
    messages::unmarked,
    messages::unwanted,
    messages::stale,
    messages::invented,
    sessions::missing,
    sessions::undead,
    sessions::unanswered,
    wills::lost,
    wills::undue,
    platform::retained,
    platform::pushes,
    platform::uploads,
];

/// Everything that is not as it must be.
pub fn violations(history: &History) -> Vec<String> {
    let told = Told::of(history);
    RULES.iter().flat_map(|rule| rule(&told)).collect()
}
