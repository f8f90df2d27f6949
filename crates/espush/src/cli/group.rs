//! `espush group`: queries under a name.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, encoded};
use super::table::{Table, plain};
use super::{say, say_json};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum Verb {
    /// Give a query a name
    Add {
        /// The name
        name: String,
        /// The query: 'app = 7 and tags has kitchen'
        query: String,
    },
    /// List groups
    List,
    /// Give a group another query or another name
    Edit {
        /// Its name
        name: String,
        /// The new query
        #[arg(long, alias = "where", value_name = "QUERY")]
        query: Option<String>,
        /// The new name; only while no other group names it
        #[arg(long = "name", value_name = "NAME")]
        new_name: Option<String>,
    },
    /// Remove a group; not while another names it
    Delete {
        /// Its name
        name: String,
    },
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let json = args.reach.json;
    let path = |name: &str| format!("/api/v1/groups/{}", encoded(name));
    match args.verb {
        Verb::Add { name, query } => {
            let group = client.call(Method::POST, "/api/v1/groups", Some(&json!({ "name": name, "where": query })))?;
            if json { say_json(&group) } else { say(table([&group])) }
        }
        Verb::List => {
            let list = client.get("/api/v1/groups")?;
            if json { say_json(&list) } else { say(table(list["items"].as_array().into_iter().flatten())) }
        }
        Verb::Edit { name, query, new_name } => {
            let given = [("where", query), ("name", new_name)];
            let body: Map<String, Value> =
                given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect();
            let group = client.call(Method::PATCH, &path(&name), Some(&body.into()))?;
            if json { say_json(&group) } else { say(table([&group])) }
        }
        Verb::Delete { name } => {
            client.call(Method::DELETE, &path(&name), None)?;
            say(if json { json!({}).to_string() } else { format!("group {} is removed", plain(&name)) });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table<'a>(groups: impl IntoIterator<Item = &'a Value>) -> String {
    let mut table = Table::new(&["NAME", "WHERE", "NAMED BY"]);
    for group in groups {
        let users: Vec<&str> = group["users"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let text = |name: &str| group[name].as_str().unwrap_or_default().to_owned();
        table.row(vec![text("name"), text("where"), users.join(", ")]);
    }
    if table.is_empty() { "no groups; make one with: espush group add NAME QUERY".to_owned() } else { table.to_string() }
}
