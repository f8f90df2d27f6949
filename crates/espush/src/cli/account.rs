//! `espush account`: broker accounts for MQTT clients that are no devices, and what each may do.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Reach};
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
#[command(
    after_help = "A rule reads `allow|deny publish|subscribe|both FILTER`; %u in it is the account's name, %c the client id. \
The first rule that speaks of an access and a topic decides; what no rule allows is denied. An account without \
rules has all topics but dev/…, app/… and $…. The account `anonymous` holds the rules of clients without \
credentials (with auth.anonymous = true)."
)]
enum Verb {
    /// Make an account; prints its password if none was given
    Add {
        /// The MQTT user name
        name: String,
        /// Read the password from standard input instead of making one
        #[arg(long)]
        password_stdin: bool,
        /// A rule; may be given several times, in their order
        #[arg(long = "rule", value_name = "RULE")]
        rules: Vec<String>,
    },
    /// List accounts
    List,
    /// Show an account with its rules
    Show {
        /// Its name
        name: String,
    },
    /// Give an account a new password; ends its lines
    Passwd {
        /// Its name
        name: String,
        /// Read the password from standard input instead of making one
        #[arg(long)]
        password_stdin: bool,
    },
    /// Change an account's rules; ends its lines and kept sessions
    Rule {
        /// Its name
        name: String,
        /// A rule to put in front of the others
        #[arg(long, value_name = "RULE")]
        first: Vec<String>,
        /// A rule to put behind the others
        #[arg(long, value_name = "RULE")]
        add: Vec<String>,
        /// A rule to take away, as `show` prints it
        #[arg(long, value_name = "RULE")]
        remove: Vec<String>,
        /// Take all rules away first
        #[arg(long)]
        clear: bool,
    },
    /// Remove an account and end its lines
    Delete {
        /// Its name
        name: String,
    },
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let json = args.reach.json;
    match args.verb {
        Verb::Add { name, password_stdin, rules } => {
            let mut body = json!({ "name": name, "rules": rules });
            if password_stdin {
                body["password"] = password()?.into();
            }
            let made = client.call(Method::POST, "/api/v1/accounts", Some(&body))?;
            if json { say_json(&made) } else { told(&made, &format!("account {} is made", plain(&name))) }
        }
        Verb::List => {
            let list = client.get("/api/v1/accounts")?;
            if json { say_json(&list) } else { say(table(&list)) }
        }
        Verb::Show { name } => {
            let account = find(&client, &name)?;
            if json { say_json(&account) } else { show(&account) }
        }
        Verb::Passwd { name, password_stdin } => {
            let path = path(&find(&client, &name)?);
            let changed = match password_stdin {
                true => client.call(Method::PATCH, &path, Some(&json!({ "password": password()? })))?,
                false => client.call(Method::POST, &format!("{path}/password"), None)?,
            };
            if json { say_json(&changed) } else { told(&changed, &format!("account {} has a new password", plain(&name))) }
        }
        Verb::Rule { name, first, add, remove, clear } => {
            let account = find(&client, &name)?;
            let rules = changed(lines(&account), first, add, &remove, clear)?;
            let account = client.call(Method::PATCH, &path(&account), Some(&json!({ "rules": rules })))?;
            if json { say_json(&account) } else { show(&account) }
        }
        Verb::Delete { name } => {
            client.call(Method::DELETE, &path(&find(&client, &name)?), None)?;
            say(if json { json!({}).to_string() } else { format!("account {} is removed", plain(&name)) });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The account of that name.
pub fn find(client: &Client, name: &str) -> anyhow::Result<Value> {
    let list = client.get("/api/v1/accounts")?;
    let found = list["items"].as_array().into_iter().flatten().find(|account| account["name"] == name);
    found.cloned().with_context(|| format!("there is no account {name:?}; see: espush account list"))
}

/// Where the API has an account.
pub fn path(account: &Value) -> String {
    format!("/api/v1/accounts/{}", account["id"])
}

fn lines(account: &Value) -> Vec<String> {
    account["rules"].as_array().into_iter().flatten().filter_map(|rule| rule.as_str().map(str::to_owned)).collect()
}

fn changed(
    mut rules: Vec<String>,
    first: Vec<String>,
    add: Vec<String>,
    remove: &[String],
    clear: bool,
) -> anyhow::Result<Vec<String>> {
    if clear {
        rules.clear();
    }
    for gone in remove {
        let at = rules.iter().position(|rule| rule == gone);
        rules.remove(at.with_context(|| format!("there is no rule {gone:?}; see: espush account show NAME"))?);
    }
    Ok(first.into_iter().chain(rules).chain(add).collect())
}

/// The first line of standard input.
fn password() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("the password on standard input is not UTF-8 text")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The password alone on stdout, so that a script can take it.
fn told(account: &Value, done: &str) {
    match account["password"].as_str() {
        Some(password) => {
            say(password);
            eprintln!("Keep the password now: it is not shown again.");
        }
        None => say(done),
    }
}

fn show(account: &Value) {
    let name = plain(account["name"].as_str().unwrap_or_default());
    say(format_args!(
        "{name} (account {}, password kept as {})",
        account["id"],
        account["password_kind"].as_str().unwrap_or("?")
    ));
    let rules = lines(account);
    if rules.is_empty() {
        say("  no rules: all topics but dev/…, app/… and $…");
    }
    for rule in rules {
        say(format_args!("  {}", plain(&rule)));
    }
}

fn table(list: &Value) -> String {
    let mut table = Table::new(&["ID", "NAME", "RULES", "PASSWORD", "CREATED"]);
    for account in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| account[name].as_str().unwrap_or("-").to_owned();
        let rules = lines(account).len().to_string();
        table.row(vec![account["id"].to_string(), text("name"), rules, text("password_kind"), text("created")]);
    }
    if table.is_empty() { "no accounts yet; make one with: espush account add NAME".to_owned() } else { table.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_put_in_front_behind_and_taken_away() {
        let list = |texts: &[&str]| texts.iter().map(|t| t.to_string()).collect::<Vec<_>>();
        let rules = changed(list(&["a", "b"]), list(&["x"]), list(&["y"]), &list(&["a"]), false).unwrap();
        assert_eq!(rules, ["x", "b", "y"]);
        assert_eq!(changed(list(&["a"]), vec![], list(&["y"]), &[], true).unwrap(), ["y"]);
        assert!(changed(list(&["a"]), vec![], vec![], &list(&["b"]), false).is_err());
    }
}
