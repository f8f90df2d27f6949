//! From another broker's files to ours: what a Mosquitto installation becomes here. A [`Plan`] holds the
//! settings, the accounts with their rules, and a note for every line that is not carried over as it
//! stands. Reads files and writes nothing; the command line shows the plan and carries it out.

mod acl;
mod bridge;
mod conf;
mod listeners;
mod mosquitto;
mod people;

use bridge::PlannedBridge;
use serde::Serialize;

pub use mosquitto::plan;

/// The first line of what we write, by which it is known when it is written again.
pub const HEADING: &str = "# Written by `espush migrate mosquitto`.";

/// What becomes of a line that is not carried over as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has no effect here; something may have to be done by hand.
    LeftOut,
    /// It is carried over, but means something a little different.
    Differs,
    /// espush does it by itself, or has no need of it.
    NotNeeded,
}

impl Outcome {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::LeftOut => "left out",
            Outcome::Differs => "differs",
            Outcome::NotNeeded => "not needed",
        }
    }
}

/// What is to be said of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where the line stands: `mosquitto.conf:12`.
    pub place: String,
    /// The line.
    pub line: String,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Why, and what to do.
    pub why: String,
}

/// All notes, in the order in which they came.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, place: &str, line: &str, outcome: Outcome, why: &str) {
        self.0.push(Note { place: place.to_owned(), line: line.to_owned(), outcome, why: why.to_owned() });
    }

    fn left_out(&mut self, place: &str, line: &str, why: &str) {
        self.add(place, line, Outcome::LeftOut, why);
    }

    fn differs(&mut self, place: &str, line: &str, why: &str) {
        self.add(place, line, Outcome::Differs, why);
    }

    fn not_needed(&mut self, place: &str, line: &str, why: &str) {
        self.add(place, line, Outcome::NotNeeded, why);
    }

    /// The notes.
    pub fn iter(&self) -> impl Iterator<Item = &Note> {
        self.0.iter()
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|note| note.place.as_str())
    }
}

/// A setting of our configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The dotted key.
    pub key: &'static str,
    /// Its value: a TOML text, number or truth value.
    pub value: serde_json::Value,
    /// The line that it comes from.
    pub from: String,
}

/// A broker account to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedAccount {
    /// Its name.
    pub name: String,
    /// The hash of its password, as the other broker kept it; `anonymous` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// Its rules.
    pub rules: Vec<String>,
}

/// What becomes of an installation.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// For our configuration file.
    pub settings: Vec<Setting>,
    /// Lines out to other brokers, for our configuration file.
    pub bridges: Vec<PlannedBridge>,
    /// For the running server.
    pub accounts: Vec<PlannedAccount>,
    /// What is to be said of lines that are not carried over as they stand.
    pub notes: Notes,
}

impl Plan {
    /// Our configuration file. Passwords of bridges stand in it only with `secrets`.
    pub fn toml(&self, secrets: bool) -> String {
        let mut text = format!("{HEADING}\n");
        for Setting { key, value, from } in &self.settings {
            // Text in JSON's spelling is text in TOML's: both escape alike what a setting can hold.
            text.push_str(&format!("\n# {from}\n{key} = {value}\n"));
        }
        text.extend(self.bridges.iter().map(|bridge| bridge.toml(secrets)));
        text
    }
}
