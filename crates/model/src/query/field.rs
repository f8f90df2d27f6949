//! The fields that a query may name, and what a wrong name was probably meant to be. `data.<stream>`,
//! `meta.<name>` and `twin.<members>` are open ended.

use crate::point::is_stream_name;
use crate::twin::TwinPath;

/// A field that is a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WholeField {
    /// The device's address.
    Number,
    /// Its app.
    App,
}

/// A field that is a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// The device's text id.
    Id,
    /// Its name for people.
    Name,
    /// Its second name.
    Alias,
    /// The protocol of its newest line.
    Protocol,
}

/// A field that is a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeField {
    /// When it was registered.
    Created,
    /// When it came online or went; none for a device never seen.
    Since,
}

/// A field that is true or false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruthField {
    /// Whether it holds a line.
    Online,
    /// Whether it is not let in.
    Blocked,
}

/// Any field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Whole(WholeField),
    Text(TextField),
    Tags,
    Firmware,
    Group,
    Time(TimeField),
    Truth(TruthField),
    Data(&'a str),
    Twin(TwinPath),
    Meta(&'a str),
}

/// What stands before the name of a stream.
pub(crate) const DATA: &str = "data.";
/// What stands before the name of something that an owner wrote down.
pub(crate) const META: &str = "meta.";
/// What stands before the members of a value of the twin.
pub(crate) const TWIN: &str = "twin.";

const FIELDS: [(&str, Field<'static>); 13] = [
    ("id", Field::Text(TextField::Id)),
    ("number", Field::Whole(WholeField::Number)),
    ("app", Field::Whole(WholeField::App)),
    ("name", Field::Text(TextField::Name)),
    ("alias", Field::Text(TextField::Alias)),
    ("tags", Field::Tags),
    ("firmware", Field::Firmware),
    ("group", Field::Group),
    ("created", Field::Time(TimeField::Created)),
    ("online", Field::Truth(TruthField::Online)),
    ("blocked", Field::Truth(TruthField::Blocked)),
    ("since", Field::Time(TimeField::Since)),
    ("protocol", Field::Text(TextField::Protocol)),
];

/// The names of all fields, for sentences.
pub(crate) const NAMES: &str = "id, number, app, name, alias, tags, firmware, group, created, online, blocked, since, protocol, data. with the name of a stream, meta. with a name of yours, and twin. with a member";

impl Field<'_> {
    /// The field of a name that is not a stream's.
    pub(crate) fn named(name: &str) -> Option<Field<'static>> {
        FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| field.clone())
    }

    /// The operators that it can be asked with, for sentences.
    pub(crate) fn operators(&self) -> &'static str {
        match self {
            Field::Whole(_) => "= != < <= > >= in",
            Field::Text(_) => "= != in starts contains",
            Field::Tags => "has",
            Field::Group => "= != in",
            Field::Firmware | Field::Data(_) | Field::Meta(_) | Field::Twin(_) => "= != < <= > >= in starts contains",
            Field::Time(_) => "= != < <= > >=",
            Field::Truth(_) => "= !=, or stands alone",
        }
    }
}

impl WholeField {
    pub(crate) fn name(self) -> &'static str {
        match self {
            WholeField::Number => "number",
            WholeField::App => "app",
        }
    }
}

impl TextField {
    pub(crate) fn name(self) -> &'static str {
        match self {
            TextField::Id => "id",
            TextField::Name => "name",
            TextField::Alias => "alias",
            TextField::Protocol => "protocol",
        }
    }
}

impl TruthField {
    pub(crate) fn name(self) -> &'static str {
        match self {
            TruthField::Online => "online",
            TruthField::Blocked => "blocked",
        }
    }
}

impl TimeField {
    pub(crate) fn name(self) -> &'static str {
        match self {
            TimeField::Created => "created",
            TimeField::Since => "since",
        }
    }
}

/// What an unknown name was probably meant to be: a field that is nearly so called, else a stream.
pub(crate) fn meant(name: &str) -> Option<String> {
    let folded = name.to_lowercase();
    let near = FIELDS.iter().map(|(known, _)| (distance(&folded, known), *known)).min()?;
    // A letter or two in words that have some: `tag`, `frimware`; not `t` for `id`.
    if near.0 <= 2 && near.0 * 3 <= near.1.len() {
        return Some(near.1.to_owned());
    }
    is_stream_name(name).then(|| format!("{DATA}{name}"))
}

/// How many letters must be put in, taken out or changed (Levenshtein's distance), as far as three.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return 3;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
