//! Who is meant, as options of a command: ids, alias, app, tags, a query, everybody. One option alone is that
//! audience; several are joined with "and" into one query.

use model::Query;
use model::query::quoted;
use serde_json::{Value, json};

#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Who is meant (several are joined with \"and\")")]
pub struct To {
    /// A device's id; repeat for more
    #[arg(long = "to-device", value_name = "ID")]
    devices: Vec<String>,
    /// The devices with this second name
    #[arg(long = "to-alias", value_name = "ALIAS")]
    alias: Option<String>,
    /// The devices of an app
    #[arg(long = "to-app", value_name = "APP")]
    app: Option<u32>,
    /// The devices of a group
    #[arg(long = "to-group", value_name = "NAME")]
    group: Option<String>,
    /// The devices with this tag; repeat for those that have all of them
    #[arg(long = "to-tag", value_name = "TAG")]
    all: Vec<String>,
    /// The devices with one of these tags; repeat
    #[arg(long = "to-any-tag", value_name = "TAG")]
    any: Vec<String>,
    /// Not the devices with this tag; repeat
    #[arg(long = "not-tag", value_name = "TAG")]
    none: Vec<String>,
    /// The devices that a query fits: 'app = 7 and firmware < "1.4.0" and online'
    #[arg(long, alias = "where", value_name = "QUERY")]
    query: Option<String>,
    /// Every device
    #[arg(long = "to-all")]
    everybody: bool,
}

impl To {
    /// The API's audience; `None` if no option says who is meant.
    pub fn read(&self) -> anyhow::Result<Option<Value>> {
        let has_tags = !(self.all.is_empty() && self.any.is_empty() && self.none.is_empty());
        let given = [
            !self.devices.is_empty(),
            self.alias.is_some(),
            self.app.is_some(),
            self.group.is_some(),
            has_tags,
            self.query.is_some(),
        ];
        Ok(Some(match given.iter().filter(|given| **given).count() {
            0 if self.everybody => json!("all"),
            0 => return Ok(None),
            _ if self.everybody => anyhow::bail!("--to-all is everybody; leave out the other options, or --to-all"),
            1 => match self {
                To { alias: Some(alias), .. } => json!({ "alias": alias }),
                To { app: Some(app), .. } => json!({ "app": app }),
                To { group: Some(group), .. } => json!({ "group": group }),
                To { query: Some(query), .. } => json!({ "where": query }),
                _ if has_tags => json!({ "tags": { "all": self.all, "any": self.any, "none": self.none } }),
                _ => json!({ "devices": self.devices }),
            },
            _ => json!({ "where": self.joined()? }),
        }))
    }

    fn joined(&self) -> anyhow::Result<String> {
        let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        let has = |tag: &String| format!("tags has {}", quoted(tag));
        let mut parts = Vec::new();
        if !self.devices.is_empty() {
            parts.push(format!("id in ({})", list(&self.devices)));
        }
        parts.extend(self.alias.iter().map(|alias| format!("alias = {}", quoted(alias))));
        parts.extend(self.app.map(|app| format!("app = {app}")));
        parts.extend(self.group.iter().map(|group| format!("group = {}", quoted(group))));
        parts.extend(self.all.iter().map(has));
        if !self.any.is_empty() {
            parts.push(format!("({})", self.any.iter().map(has).collect::<Vec<_>>().join(" or ")));
        }
        parts.extend(self.none.iter().map(|tag| format!("not {}", has(tag))));
        if let Some(query) = &self.query {
            // Read here already: its place in the whole would mean nothing to the one who wrote it.
            let query = Query::parse(query).map_err(|error| {
                let hint = error.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
                anyhow::anyhow!("--query {error}{hint}")
            })?;
            parts.push(format!("({query})"));
        }
        Ok(parts.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_option_is_that_audience_and_several_are_one_query() {
        let tags = |tags: &[&str]| tags.iter().map(|tag| tag.to_string()).collect::<Vec<_>>();
        let read = |to: To| to.read().unwrap().unwrap_or_default();
        assert_eq!(read(To::default()), Value::Null);
        assert_eq!(read(To { everybody: true, ..To::default() }), "all");
        assert_eq!(read(To { app: Some(7), ..To::default() }), json!({"app": 7}));
        assert_eq!(read(To { devices: tags(&["a", "b"]), ..To::default() }), json!({"devices": ["a", "b"]}));
        assert_eq!(
            read(To { all: tags(&["a"]), none: tags(&["b"]), ..To::default() }),
            json!({"tags": {"all": ["a"], "any": [], "none": ["b"]}})
        );
        assert_eq!(read(To { group: Some("a b".into()), ..To::default() }), json!({"group": "a b"}));
        let to = To {
            devices: tags(&["d"]),
            all: tags(&["kit\"chen"]),
            any: tags(&["x", "y"]),
            none: tags(&["z"]),
            app: Some(7),
            alias: Some("l".into()),
            group: Some("g".into()),
            query: Some("online or since > 2h ago".into()),
            everybody: false,
        };
        let query = read(to)["where"].as_str().unwrap().to_owned();
        assert_eq!(
            query,
            r#"id in ("d") and alias = "l" and app = 7 and group = "g" and tags has "kit\"chen" and (tags has "x" or tags has "y") and not tags has "z" and (online or since > 2h ago)"#
        );
        assert!(Query::parse(&query).is_ok());
        let wrong = To { app: Some(7), query: Some("temp > 3".into()), ..To::default() }.read().unwrap_err().to_string();
        assert_eq!(wrong, "--query at character 1: unknown field `temp`\n  hint: did you mean `data.temp`?");
        assert!(To { app: Some(7), everybody: true, ..To::default() }.read().is_err());
    }
}
