//! `espush app`: device types, their keys and what their devices may do.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, encoded};
use super::table::{Table, plain};
use super::{pairs, qr, say, say_json};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum Verb {
    /// Make an app; prints its id and key
    Add {
        /// A name for people
        name: String,
        /// The number that firmware in the field already has [default: the next]
        #[arg(long)]
        id: Option<u32>,
        /// The key that firmware in the field already has, 32 hex digits [default: a new one]
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// List all apps
    List,
    /// Show one app
    Show {
        /// The app's number
        id: u32,
    },
    /// Change an app
    Edit {
        /// The app's number
        id: u32,
        /// A new name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// A QR code of the app's page in the console
    Qr {
        /// The app's number
        id: u32,
        /// Instead, what a device of the app needs to log in, its key included; for owners
        #[arg(long)]
        provisioning: bool,
        #[command(flatten)]
        to: qr::Out,
    },
    /// Remove an app that has no devices
    Delete {
        /// The app's number
        id: u32,
    },
}

#[derive(clap::Args)]
struct Options {
    /// Whether a device that presents the app's id and key registers itself
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    open: Option<bool>,
    /// Whether the app takes devices that know no app (ES-PUSH single-device registration)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    single: Option<bool>,
    /// Whom its devices may write to of themselves: none, app or any [default: app]
    #[arg(long, value_name = "WHOM", value_parser = ["none", "app", "any"])]
    peers: Option<String>,
    /// A protocol's setting for this app, such as espush.text=gbk; repeat for more. In edit, the settings
    /// given replace all; --setting "" removes them
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    settings: Option<Vec<String>>,
}

impl Options {
    fn into_body(self, name: Option<String>) -> anyhow::Result<Value> {
        let mut body = Map::new();
        if let Some(name) = name {
            body.insert("name".into(), name.into());
        }
        for (key, value) in [("open", self.open), ("single", self.single)] {
            if let Some(value) = value {
                body.insert(key.into(), value.into());
            }
        }
        if let Some(peers) = self.peers {
            body.insert("peers".into(), peers.into());
        }
        if let Some(settings) = self.settings {
            let given: Vec<String> = settings.into_iter().filter(|text| !text.is_empty()).collect();
            body.insert("settings".into(), pairs(&given)?);
        }
        Ok(body.into())
    }
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let path = |id: u32| format!("/api/v1/apps/{}", encoded(&id.to_string()));
    let done = match args.verb {
        Verb::Add { name, id, key, options } => {
            let mut body = options.into_body(Some(name))?;
            if let Some(id) = id {
                body["id"] = id.into();
            }
            if let Some(key) = key {
                body["key"] = key.into();
            }
            client.call(Method::POST, "/api/v1/apps", Some(&body))?
        }
        Verb::Show { id } => client.get(&path(id))?,
        Verb::Edit { id, name, options } => client.call(Method::PATCH, &path(id), Some(&options.into_body(name)?))?,
        Verb::Delete { id } => {
            client.call(Method::DELETE, &path(id), None)?;
            say(if args.reach.json { json!({}).to_string() } else { format!("app {id} is removed") });
            return Ok(ExitCode::SUCCESS);
        }
        Verb::Qr { id, provisioning, to } => {
            let content = provisioning.then(|| "provisioning".to_owned());
            return qr::show(&client, &format!("{}/qr", path(id)), &[("content", content)], &to);
        }
        Verb::List => {
            let list = client.get("/api/v1/apps")?;
            if args.reach.json {
                say_json(&list)
            } else {
                say(table(&list))
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    if args.reach.json {
        say_json(&done)
    } else {
        card(&done)
    }
    Ok(ExitCode::SUCCESS)
}

fn card(app: &Value) {
    let text = |name: &str| plain(app[name].as_str().unwrap_or("-"));
    say(format_args!("app      {}", app["id"]));
    say(format_args!("key      {}", text("key")));
    say(format_args!("name     {}", text("name")));
    say(format_args!("open     {}", app["open"]));
    say(format_args!("single   {}", app["single"]));
    say(format_args!("peers    {}", text("peers")));
    for (name, value) in app["settings"].as_object().into_iter().flatten() {
        say(format_args!("setting  {}={}", plain(name), plain(value.as_str().unwrap_or_default())));
    }
}

fn table(list: &Value) -> String {
    let mut table = Table::new(&["ID", "NAME", "DEVICES", "OPEN", "SINGLE", "KEY"]);
    for app in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| match &app[name] {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        table.row(["id", "name", "devices", "open", "single", "key"].map(text).to_vec());
    }
    if table.is_empty() { "no apps yet; make one with: espush app add NAME".to_owned() } else { table.to_string() }
}
