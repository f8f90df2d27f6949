//! Where settings come from: a TOML file, the environment and the command line. Yields them in the order
//! in which they are to be applied, each with the place to name when it is refused.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::ConfigError;
use super::keys::Raw;

/// One setting of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The dotted key.
    pub key: String,
    /// What was given.
    pub value: Raw,
    /// The place to name when there is no such key.
    pub place: String,
    /// The place to name when the value does not fit.
    pub value_place: String,
}

/// A table of a list in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Where it begins.
    pub place: String,
    /// What stands in it, by keys of its own, in the order of the file.
    pub members: Vec<Given>,
}

impl Given {
    fn of_text(key: &str, value: &str, place: &str) -> Given {
        Given { key: key.to_owned(), value: Raw::Text(value.to_owned()), place: place.to_owned(), value_place: place.to_owned() }
    }
}

/// What the command line and the environment hold.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// The environment, all of it.
    pub environment: Vec<(String, String)>,
    /// `--data DIR`.
    pub data: Option<String>,
    /// `--set KEY=VALUE`.
    pub set: Vec<String>,
}

/// Variables of ours that are no settings: those that clients read.
const OTHER_VARIABLES: [&str; 3] = ["ESPUSH_SERVER", "ESPUSH_TOKEN", "ESPUSH_CONFIG"];

impl Sources {
    /// Every setting, weakest source first.
    pub fn read(&self) -> Result<Vec<Given>, ConfigError> {
        let mut all = Vec::new();
        if let Some(path) = &self.file {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError { place: name.clone(), what: format!("cannot read the settings: {error}") })?;
            all.extend(from_toml(&name, &text)?);
        }
        all.extend(from_environment(&self.environment));
        if let Some(data) = &self.data {
            all.push(Given::of_text("data", data, "--data"));
        }
        for text in &self.set {
            all.push(from_set(text)?);
        }
        Ok(all)
    }
}

fn from_set(text: &str) -> Result<Given, ConfigError> {
    let Some((key, value)) = text.split_once('=') else {
        let what = "expected KEY=VALUE, such as mqtt.listen=127.0.0.1:1883".to_owned();
        return Err(ConfigError { place: format!("--set {text}"), what });
    };
    let key = key.trim();
    Ok(Given::of_text(key, value, &format!("--set {key}")))
}

/// `ESPUSH_MQTT__LISTEN` is `mqtt.listen`: two underscores are the dot.
fn from_environment(environment: &[(String, String)]) -> Vec<Given> {
    let setting = |(name, value): &(String, String)| {
        let rest = name.strip_prefix("ESPUSH_")?;
        // Kubernetes puts these beside every program that has a service called "espush".
        let foreign = rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_");
        if foreign || OTHER_VARIABLES.contains(&name.as_str()) {
            return None;
        }
        Some(Given::of_text(&rest.to_lowercase().replace("__", "."), value, name))
    };
    let mut all: Vec<Given> = environment.iter().filter_map(setting).collect();
    // The environment has no order of its own: refuse the same one first every time.
    all.sort_by(|a, b| a.place.cmp(&b.place));
    all
}

fn from_toml(name: &str, text: &str) -> Result<Vec<Given>, ConfigError> {
    let place = |offset: usize| {
        let before = &text[..offset.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        format!("{name}:{line}:{column}")
    };
    let table = DeTable::parse(text).map_err(|error| ConfigError {
        place: place(error.span().map_or(0, |span| span.start)),
        what: format!("this is not TOML: {}", error.message()),
    })?;
    Ok(members(table.get_ref(), &place))
}

/// Everything in a table, in the order of the file.
fn members(table: &DeTable<'_>, place: &impl Fn(usize) -> String) -> Vec<Given> {
    let mut all = Vec::new();
    flatten(table, "", place, &mut all);
    // A table iterates by name; people correct a file from the top.
    all.sort_by_key(|(offset, _)| *offset);
    all.into_iter().map(|(_, given)| given).collect()
}

/// A list of nothing but tables.
fn tables(items: &DeArray<'_>, place: &impl Fn(usize) -> String) -> Option<Vec<Table>> {
    let table = |item: &Spanned<DeValue<'_>>| {
        let inner = item.get_ref().as_table()?;
        Some(Table { place: place(item.span().start), members: members(inner, place) })
    };
    items.iter().map(table).collect()
}

fn flatten(table: &DeTable<'_>, prefix: &str, place: &impl Fn(usize) -> String, all: &mut Vec<(usize, Given)>) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let raw = match value.get_ref() {
            DeValue::Table(inner) => {
                flatten(inner, &format!("{key}."), place, all);
                continue;
            }
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Boolean(value) => Raw::Bool(*value),
            DeValue::Integer(number) if number.radix() == 10 => Raw::Integer(number.as_str().to_owned()),
            DeValue::Array(items) if !items.is_empty() && items.iter().all(|item| item.get_ref().is_str()) => {
                Raw::List(items.iter().filter_map(|item| item.get_ref().as_str()).map(str::to_owned).collect())
            }
            DeValue::Array(items) => tables(items, place).map_or(Raw::Other("array"), Raw::Tables),
            other => Raw::Other(other.type_str()),
        };
        let offset = name.span().start;
        all.push((offset, Given { key, value: raw, place: place(offset), value_place: place(value.span().start) }));
    }
}
