//! Broker accounts: who comes in by a password, how often it is looked at, and what a change ends.

use contract::{Gate, Refusal, Ticket, Verdict};
use fleet::{AccountEdit, FleetError, NewAccount, NewDevice, Password};
use model::{Access, Party, PartyKey, Rules, Topic, limits};

use crate::{House, Said, password, remote, ticket};

fn rules(lines: &[&str]) -> Rules {
    Rules::parse(lines.iter().copied()).unwrap()
}

/// An account with this password.
async fn account(house: &House, name: &str, password: &str, lines: &[&str]) -> u64 {
    let new = NewAccount { name: name.into(), password: Password::Chosen(password.into()), rules: rules(lines) };
    let (view, made) = house.fleet.create_account(new).await.unwrap();
    assert_eq!((made, view.password), (None, "argon2id"));
    view.account.id
}

/// The answer to a login, whether it came at once or later.
async fn login(house: &mut House, name: &str, pass: &str, at: Ticket) -> (bool, Verdict) {
    match house.fleet.admit(&password(name, pass, "c"), remote(1), at) {
        Some(verdict) => (true, verdict),
        None => {
            let (whose, verdict) = house.decided().await;
            assert_eq!(whose, at);
            (false, verdict)
        }
    }
}

fn kick(said: Option<Said>) -> (PartyKey, bool) {
    match said {
        Some(Said::Kick(whom, _, forget)) => (whom, forget),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_password_is_checked_off_the_shard_and_then_remembered_for_a_while() {
    let mut house = House::new().await;
    let id = account(&house, "ann", "correct horse", &["allow both home/#"]).await;
    let (at_once, verdict) = login(&mut house, "ann", "correct horse", ticket(1)).await;
    assert!(!at_once, "it takes a check, which no shard waits for");
    let party = verdict.unwrap().party;
    assert_eq!(party.key(), PartyKey::Account(id));
    assert!(party.rules().unwrap().allow(Access::Publish, &Topic::parse("home/door").unwrap()));

    let (at_once, verdict) = login(&mut house, "ann", "correct horse", ticket(2)).await;
    assert!(at_once && verdict.is_ok(), "remembered");
    house.advance_s(limits::PASSWORD_REMEMBERED_S);
    let (at_once, verdict) = login(&mut house, "ann", "correct horse", ticket(3)).await;
    assert!(!at_once && verdict.is_ok(), "and forgotten again");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_refused_alike() {
    let mut house = House::new().await;
    account(&house, "ann", "correct horse", &[]).await;
    for (name, pass) in [("ann", "wrong"), ("ann", ""), ("nobody", "correct horse"), ("ann", &"x".repeat(5000))] {
        assert_eq!(login(&mut house, name, pass, ticket(1)).await.1.unwrap_err(), Refusal::BadCredentials, "{name} {pass}");
    }
}

#[tokio::test]
async fn many_connections_with_one_password_wait_for_one_check() {
    let mut house = House::new().await;
    account(&house, "fleet", "correct horse", &[]).await;
    for at in 0..1_000 {
        assert!(house.fleet.admit(&password("fleet", "correct horse", "c"), remote(1), ticket(at)).is_none());
    }
    for at in 0..1_000 {
        let (whose, verdict) = house.decided().await;
        assert_eq!(whose, ticket(at));
        assert!(verdict.is_ok());
    }
}

#[tokio::test]
async fn guessing_is_refused_unlooked_at_for_a_while() {
    let mut house = House::new().await;
    account(&house, "ann", "correct horse", &[]).await;
    for guess in 0..limits::LOGIN_FAILURES_MAX {
        let (_, verdict) = login(&mut house, "ann", &format!("guess {guess}"), ticket(1)).await;
        assert_eq!(verdict.unwrap_err(), Refusal::BadCredentials);
    }
    let (at_once, verdict) = login(&mut house, "ann", "correct horse", ticket(1)).await;
    assert_eq!((at_once, verdict.unwrap_err()), (true, Refusal::TooManyGuesses), "from this address, right or not");
    let elsewhere = house.fleet.admit(&password("ann", "correct horse", "c"), ([10, 0, 0, 10], 1).into(), ticket(2));
    assert!(elsewhere.is_none() && house.decided().await.1.is_ok(), "others are not locked out by it");
    house.advance_s(limits::LOGIN_FAILURES_S);
    house.fleet.edit_account(1, AccountEdit { password: Some(Password::Made), ..Default::default() }).await.unwrap();
    kick(house.said.recv().await);
    let (at_once, _) = login(&mut house, "ann", "correct horse", ticket(3)).await;
    assert!(!at_once, "it is looked at again");
}

#[tokio::test]
async fn a_board_that_keeps_trying_an_old_password_costs_one_check_and_locks_nobody_out() {
    let mut house = House::new().await;
    let id = account(&house, "ann", "correct horse", &[]).await;
    for time in 0..3 * u32::from(limits::LOGIN_FAILURES_MAX) {
        let (at_once, verdict) = login(&mut house, "ann", "old horse", ticket(time)).await;
        assert_eq!((at_once, verdict.unwrap_err()), (time > 0, Refusal::BadCredentials));
    }
    assert!(login(&mut house, "ann", "correct horse", ticket(99)).await.1.is_ok());
    let edit = AccountEdit { password: Some(Password::Chosen("old horse".into())), ..AccountEdit::default() };
    house.fleet.edit_account(id, edit).await.unwrap();
    kick(house.said.recv().await);
    assert!(login(&mut house, "ann", "old horse", ticket(99)).await.1.is_ok(), "what was wrong may be right now");
    assert!(login(&mut house, "ann", "correct horse", ticket(99)).await.1.is_err());
}

#[tokio::test]
async fn more_checks_than_may_wait_are_told_to_come_again() {
    let house = House::new().await;
    account(&house, "ann", "correct horse", &[]).await;
    let ask = |at: usize| house.fleet.admit(&password("ann", &format!("guess {at}"), "c"), remote(1), ticket(at as u32));
    for at in 0..limits::PASSWORD_CHECKS_WAITING_MAX {
        assert!(ask(at).is_none());
    }
    assert_eq!(ask(limits::PASSWORD_CHECKS_WAITING_MAX).unwrap().unwrap_err(), Refusal::Unavailable);
}

#[tokio::test]
async fn a_new_password_ends_the_lines_and_what_was_remembered() {
    let mut house = House::new().await;
    let id = account(&house, "ann", "correct horse", &[]).await;
    login(&mut house, "ann", "correct horse", ticket(1)).await.1.unwrap();
    let edit = AccountEdit { password: Some(Password::Made), ..AccountEdit::default() };
    let (_, made) = house.fleet.edit_account(id, edit).await.unwrap();
    assert_eq!(kick(house.said.recv().await), (PartyKey::Account(id), false), "kept sessions stay for the new password");
    assert_eq!(login(&mut house, "ann", "correct horse", ticket(2)).await.1.unwrap_err(), Refusal::BadCredentials);
    assert!(login(&mut house, "ann", &made.unwrap(), ticket(3)).await.1.is_ok());
}

#[tokio::test]
async fn other_rules_end_lines_and_sessions_and_the_same_rules_nothing() {
    let mut house = House::new().await;
    let id = account(&house, "ann", "correct horse", &["allow both a"]).await;
    let give = |lines: &[&str]| AccountEdit { rules: Some(rules(lines)), ..AccountEdit::default() };
    house.fleet.edit_account(id, give(&["allow both a"])).await.unwrap();
    assert!(house.said.try_recv().is_err());
    let (view, _) = house.fleet.edit_account(id, give(&["allow both b"])).await.unwrap();
    assert_eq!(view.account.rules, rules(&["allow both b"]));
    assert_eq!(kick(house.said.recv().await), (PartyKey::Account(id), true));
    house.fleet.delete_account(id).await.unwrap();
    assert_eq!(kick(house.said.recv().await), (PartyKey::Account(id), true));
    assert_eq!(login(&mut house, "ann", "correct horse", ticket(1)).await.1.unwrap_err(), Refusal::BadCredentials);
    assert!(matches!(house.fleet.delete_account(id).await, Err(FleetError::NoSuchAccount(_))));
}

#[tokio::test]
async fn mosquittos_hashes_let_in_and_become_our_own_at_the_first_good_login() {
    let mut house = House::new().await;
    for line in include_str!("../fixtures/mosquitto.passwd").lines() {
        let (name, hash) = line.split_once(':').unwrap();
        let new = NewAccount { name: name.into(), password: Password::Hashed(hash.into()), rules: Rules::default() };
        let (view, made) = house.fleet.create_account(new).await.unwrap();
        assert!(view.password.starts_with("mosquitto-") && made.is_none());
        let method = |house: &House| house.fleet.account(view.account.id).unwrap().password;
        assert!(login(&mut house, name, "wrong", ticket(1)).await.1.is_err());
        assert_eq!(method(&house), view.password, "a wrong password changes nothing");
        assert!(login(&mut house, name, &format!("{name}'s password"), ticket(2)).await.1.is_ok());
        assert_eq!(method(&house), "argon2id");
    }
    let mut house = house.restart().await;
    assert!(house.fleet.accounts().iter().all(|view| view.password == "argon2id"));
    assert!(login(&mut house, "old", "old's password", ticket(3)).await.1.is_ok());
}

#[tokio::test]
async fn an_empty_password_lets_nobody_in() {
    let mut house = House::new().await;
    // SHA-512 of nothing and the salt "salt".
    let of_nothing = "$6$c2FsdA==$Lj/Od8+MTHR4qW0gfBw5cViSyshKGMvsm2NPS8IrOQtIzTCk3y5+u67mXDRqZixb4tEkQTIvekusgho4LErwkQ==";
    let new = NewAccount { name: "empty".into(), password: Password::Hashed(of_nothing.into()), ..NewAccount::default() };
    house.fleet.create_account(new).await.unwrap();
    assert_eq!(login(&mut house, "empty", "", ticket(1)).await.1.unwrap_err(), Refusal::BadCredentials);
}

#[tokio::test]
async fn clients_without_credentials_have_the_rules_of_anonymous() {
    let mut house = House::with(tempfile::tempdir().unwrap(), |settings| settings.anonymous = true, |store| store).await;
    let party = |house: &House| house.fleet.admit(&contract::Login::Anonymous, remote(1), ticket(1)).unwrap().unwrap().party;
    assert_eq!(*party(&house), Party::Anonymous);
    let new = NewAccount { name: "anonymous".into(), rules: rules(&["allow subscribe news/#"]), ..NewAccount::default() };
    let (view, made) = house.fleet.create_account(new).await.unwrap();
    assert_eq!((made, view.password), (None, "none"));
    assert_eq!(kick(house.said.recv().await), (PartyKey::Anonymous, true), "who is in already comes again");
    assert_eq!(party(&house).rules(), Some(&rules(&["allow subscribe news/#"])));
    assert_eq!(login(&mut house, "anonymous", "x", ticket(2)).await.1.unwrap_err(), Refusal::BadCredentials);
    let edit = AccountEdit { password: Some(Password::Made), ..AccountEdit::default() };
    assert!(matches!(house.fleet.edit_account(view.account.id, edit).await, Err(FleetError::AnonymousPassword)));
}

#[tokio::test]
async fn names_and_passwords_that_cannot_be_are_refused() {
    let house = House::new().await;
    let app = house.app("lamps", true).await;
    house.device(&app, "lamp").await;
    account(&house, "ann", "correct horse", &[]).await;
    let make = async |name: &str, password: Password| {
        let new = NewAccount { name: name.into(), password, rules: Rules::default() };
        house.fleet.create_account(new).await.unwrap_err().code()
    };
    for (name, code) in
        [("123", "bad_account_name"), ("token", "bad_account_name"), ("a/#", "bad_account_name"), ("", "bad_account_name")]
    {
        assert_eq!(make(name, Password::Made).await, code, "{name}");
    }
    assert_eq!(make("ann", Password::Made).await, "account_name_taken");
    assert_eq!(make("lamp", Password::Made).await, "account_name_taken", "the device would be asked for");
    assert_eq!(make("bob", Password::Chosen("short".into())).await, "bad_password");
    for hash in ["", "plain", "$1$x$y"] {
        assert_eq!(make("bob", Password::Hashed(hash.into())).await, "bad_password_hash");
    }
    let new = NewDevice { id: Some("ann".into()), ..NewDevice::of(app.app.id) };
    assert_eq!(house.fleet.create_device(new).await.unwrap_err().code(), "account_name_taken");
}
