//! `espush token`: sign-in links for browsers, API tokens for programs.

use std::process::ExitCode;

use clap::Subcommand;
use model::UnixMs;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, encoded};
use super::duration::{now, parse_ms};
use super::table::Table;
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
    /// Print a link that signs one browser in, once
    Signin,
    /// Make a token; prints it, once
    #[command(alias = "create")]
    Add {
        /// A name, so that you know later whose it is
        name: String,
        /// What it may do: owner (all), operator (devices, pushes, data), viewer (reading)
        #[arg(long, default_value = "operator", value_parser = ["owner", "operator", "viewer"])]
        role: String,
        /// When it ends: 12h, 30d [default: never]
        #[arg(long, value_name = "TIME", value_parser = parse_ms)]
        expires: Option<u64>,
        /// What it may do within its role, with commas between: devices:read, devices:write, push, data:read, data:write,
        /// events, admin [default: all]
        #[arg(long = "scope", value_name = "SCOPES", value_delimiter = ',')]
        scopes: Vec<String>,
        /// Only what is about devices that this query fits: 'app = 7'
        #[arg(long)]
        query: Option<String>,
    },
    /// List tokens
    List,
    /// End a token
    Delete {
        /// Its number
        id: u64,
    },
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let json = args.reach.json;
    match args.verb {
        Verb::Signin => {
            let link = client.call(Method::POST, "/api/v1/tokens/signin", Some(&json!({})))?;
            if json {
                say_json(&link);
            } else {
                say(link["url"].as_str().unwrap_or_default());
                eprintln!("Opens the console once, until {}.", link["expires"].as_str().unwrap_or("it expires"));
            }
        }
        Verb::Add { name, role, expires, scopes, query } => {
            let mut body = json!({ "name": name, "role": role, "scopes": scopes, "where": query.unwrap_or_default() });
            if let Some(ms) = expires {
                let end = now().0.saturating_add(ms.try_into().unwrap_or(i64::MAX));
                body["expires"] = UnixMs(end).rfc3339().into();
            }
            let token = client.call(Method::POST, "/api/v1/tokens", Some(&body))?;
            if json {
                say_json(&token);
            } else {
                say(token["token"].as_str().unwrap_or_default());
                eprintln!("Keep the token now: it is not shown again.");
            }
        }
        Verb::List => {
            let list = client.get("/api/v1/tokens")?;
            if json { say_json(&list) } else { say(table(&list)) }
        }
        Verb::Delete { id } => {
            client.call(Method::DELETE, &format!("/api/v1/tokens/{}", encoded(&id.to_string())), None)?;
            say(if json { json!({}).to_string() } else { format!("token {id} is ended") });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(list: &Value) -> String {
    let mut table = Table::new(&["ID", "NAME", "ROLE", "SCOPES", "DEVICES", "CREATED", "EXPIRES"]);
    for token in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| token[name].as_str().unwrap_or("-").to_owned();
        let scopes: Vec<&str> = token["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let scopes = if scopes.is_empty() { "all".to_owned() } else { scopes.join(" ") };
        let devices = token["where"].as_str().filter(|query| !query.is_empty()).unwrap_or("all").to_owned();
        table.row(vec![token["id"].to_string(), text("name"), text("role"), scopes, devices, text("created"), text("expires")]);
    }
    if table.is_empty() { "no tokens yet; make one with: espush token add NAME".to_owned() } else { table.to_string() }
}
