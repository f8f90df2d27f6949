//! Mosquitto's password and ACL files as accounts.

use std::path::{Path, PathBuf};

use anyhow::Context;
use model::account::{ANONYMOUS, is_account_name};
use model::{Rule, limits};

use super::acl::Acl;
use super::{Plan, PlannedAccount, Setting};

/// A file that another line names.
pub struct Named {
    pub place: String,
    pub line: String,
    pub path: PathBuf,
}

/// What the configuration says of who may come in.
#[derive(Default)]
pub struct Doors {
    /// Whether clients without credentials come in, and which line says so.
    pub anonymous: Option<(bool, String)>,
    pub password_files: Vec<Named>,
    pub acl_files: Vec<Named>,
    /// Whether there are ways in that are not carried over.
    pub others: bool,
}

/// Password and ACL files to accounts.
pub fn people(doors: Doors, plan: &mut Plan) -> anyhow::Result<()> {
    let unsaid = || (false, "allow_anonymous is false unless said otherwise".to_owned());
    let (anonymous, from) = doors.anonymous.unwrap_or_else(unsaid);
    plan.settings.push(Setting { key: "auth.anonymous", value: anonymous.into(), from });

    let mut acl_files = doors.acl_files.into_iter();
    let acl = acl_files.next().map(|file| -> anyhow::Result<Acl> {
        Ok(Acl::read(&file.path.display().to_string(), &read(&file.path)?, &mut plan.notes))
    });
    let acl = acl.transpose()?;
    for file in acl_files {
        plan.notes.left_out(&file.place, &file.line, "only the first ACL file is carried over; add its rules by hand");
    }
    let mut passwords: Vec<(String, String, String)> = Vec::new();
    for file in &doors.password_files {
        let name = file.path.display().to_string();
        for (number, line) in read(&file.path)?.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("{name}:{}", number + 1);
            match line.trim_end().split_once(':') {
                Some((user, hash)) if hash.starts_with("$7$") || hash.starts_with("$6$") => {
                    passwords.push((place, user.to_owned(), hash.to_owned()));
                }
                Some((user, _)) => {
                    plan.notes.left_out(&place, user, "the password is not hashed; run `mosquitto_passwd -U FILE` first");
                }
                None => plan.notes.left_out(&place, "…", "this is no line of a password file"),
            }
        }
    }
    if doors.password_files.is_empty() && !doors.others {
        let why = match anonymous {
            true => {
                "without a password file Mosquitto takes any user name and password; espush refuses names that it does \
                     not know, so let the clients send none, or make accounts"
            }
            false => "without a password file nobody can come in; make accounts with `espush account add`",
        };
        plan.notes.differs("(no password_file)", "", why);
    }
    if anonymous && let Some(acl) = &acl {
        add(plan, "(anonymous clients)", ANONYMOUS, None, acl.rules_of_anonymous());
    }
    for (place, user, hash) in &passwords {
        let rules = acl.as_ref().map_or(Vec::new(), |acl| acl.rules_of(user));
        if user == ANONYMOUS {
            plan.notes.left_out(place, user, "espush calls clients without credentials so; give this user another name");
        } else if !is_account_name(user) {
            plan.notes.left_out(
                place,
                user,
                "no account can have this name: digits alone are app ids, `token` is for API tokens, + and # are wildcards",
            );
        } else if plan.accounts.iter().any(|account| account.name == *user) {
            plan.notes.left_out(place, user, "the user stands in the password file twice");
        } else {
            add(plan, place, user, Some(hash.clone()), rules);
        }
    }
    for user in acl.iter().flat_map(Acl::users) {
        if !passwords.iter().any(|(_, name, _)| name == user) {
            plan.notes.left_out(
                "(acl_file)",
                &format!("user {user}"),
                "has no line in the password file, so nobody can log in so",
            );
        }
    }
    Ok(())
}

fn add(plan: &mut Plan, place: &str, name: &str, password_hash: Option<String>, rules: Vec<Rule>) {
    if rules.len() > limits::RULES_PER_ACCOUNT_MAX {
        let why = format!("{} rules are more than the {} an account may have", rules.len(), limits::RULES_PER_ACCOUNT_MAX);
        plan.notes.left_out(place, name, &why);
        return;
    }
    let rules = rules.iter().map(Rule::to_string).collect();
    plan.accounts.push(PlannedAccount { name: name.to_owned(), password_hash, rules });
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
