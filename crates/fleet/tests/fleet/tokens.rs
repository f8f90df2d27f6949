//! Tokens and signing in.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use contract::Gate;
use fleet::{FleetError, Grant};
use model::{PartyKey, Role, TokenScope, TokenScopes, UnixMs, limits};

use crate::{House, Said};

#[tokio::test]
async fn a_token_works_until_it_expires_or_is_deleted() {
    let house = House::new().await;
    let forever = house.fleet.create_token("ci", Role::Operator, None).await.unwrap();
    let expires = UnixMs(1_000_000 + 60_000);
    let brief = house.fleet.create_token("brief", Role::Viewer, Some(expires)).await.unwrap();
    assert!(forever.token.starts_with("espush_") && forever.token.len() == 50);

    let house = house.restart().await;
    let caller = house.fleet.check_token(&forever.token).unwrap();
    assert_eq!((caller.token, &*caller.name, caller.role), (Some(1), "ci", Role::Operator));
    assert_eq!(house.fleet.check_token(&brief.token).unwrap().role, Role::Viewer);
    assert_eq!(house.fleet.tokens(), [forever.view.clone(), brief.view]);
    house.advance_s(60);
    assert!(house.fleet.check_token(&brief.token).is_none());
    assert_eq!(house.fleet.tokens(), [forever.view]);

    house.fleet.delete_token(1).await.unwrap();
    assert!(matches!(house.fleet.delete_token(1).await, Err(FleetError::NoSuchToken(1))));
    for token in [&*forever.token, "", "espush_", "nonsense"] {
        assert!(house.fleet.check_token(token).is_none());
    }
    let house = house.restart().await;
    assert!(house.fleet.check_token(&forever.token).is_none());
    assert_eq!(house.fleet.create_token("next", Role::Viewer, None).await.unwrap().view.id, 3, "no number twice");
}

#[tokio::test]
async fn what_cannot_be_a_token_is_refused() {
    let house = House::new().await;
    let code = async |name: &str, expires| house.fleet.create_token(name, Role::Owner, expires).await.err().unwrap().code();
    assert_eq!(code("", None).await, "bad_name");
    for name in ["browser", "local", "bootstrap"] {
        assert_eq!(code(name, None).await, "reserved_token_name");
    }
    assert_eq!(code("late", Some(UnixMs(1_000_000))).await, "bad_expiry");
}

#[tokio::test]
async fn the_bootstrap_token_is_valid_for_this_run_only() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::with(dir, |settings| settings.bootstrap_token = Some("boot-me".into()), |store| store).await;
    let caller = house.fleet.check_token("boot-me").unwrap();
    assert_eq!((caller.token, &*caller.name, caller.role), (None, "bootstrap", Role::Owner));
    assert!(house.fleet.tokens().is_empty());
    let house = house.restart().await;
    assert!(house.fleet.check_token("boot-me").is_none());

    let dir = tempfile::tempdir().unwrap();
    let house = House::with(dir, |settings| settings.bootstrap_token = Some(String::new()), |store| store).await;
    assert!(house.fleet.check_token("").is_none(), "an empty one is none");
}

#[tokio::test]
async fn the_machines_own_token_stands_in_a_file_and_stays_valid() {
    let house = House::new().await;
    let file = house.path().join("owner.token");
    let token = house.fleet.ensure_local_token(house.path()).await.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), token);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(house.fleet.check_token(&token).unwrap().role, Role::Owner);

    let house = house.restart().await;
    assert_eq!(house.fleet.ensure_local_token(house.path()).await.unwrap(), token, "the same after a restart");
    assert_eq!(house.fleet.tokens().len(), 1);

    // The file is lost: a new token takes the place of the old one.
    fs::remove_file(&file).unwrap();
    let second = house.fleet.ensure_local_token(house.path()).await.unwrap();
    assert!(house.fleet.check_token(&token).is_none() && house.fleet.check_token(&second).is_some());
    assert_eq!(house.fleet.tokens().len(), 1);

    // The store was restored from before the file, or the file is nonsense.
    house.fleet.delete_token(house.fleet.tokens()[0].id).await.unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(house.fleet.ensure_local_token(house.path()).await.unwrap(), second);
    assert!(house.fleet.check_token(&second).is_some());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&file, "x").unwrap();
    assert_ne!(house.fleet.ensure_local_token(house.path()).await.unwrap(), second);
}

#[tokio::test]
async fn a_code_signs_a_browser_in_once() {
    let house = House::new().await;
    let code = house.fleet.new_signin(Role::Owner);
    assert_eq!(code.expires, UnixMs(1_000_000 + limits::SIGNIN_LINK_S as i64 * 1000));
    assert!(house.fleet.redeem("nonsense").await.unwrap().is_none());
    let browser = house.fleet.redeem(&code.code).await.unwrap().unwrap();
    assert_eq!((browser.view.name.as_str(), browser.view.role), ("browser", Role::Owner));
    assert!(house.fleet.redeem(&code.code).await.unwrap().is_none(), "used");

    let house = house.restart().await;
    assert_eq!(house.fleet.check_token(&browser.token).unwrap().role, Role::Owner);
    house.fleet.sign_out(&browser.token).await.unwrap();
    assert!(house.fleet.check_token(&browser.token).is_none());
    house.fleet.sign_out(&browser.token).await.unwrap();

    let other = house.fleet.create_token("ci", Role::Viewer, None).await.unwrap();
    house.fleet.sign_out(&other.token).await.unwrap();
    assert!(house.fleet.check_token(&other.token).is_some(), "only browsers sign out");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_runs_out_ends_what_it_opened() {
    let mut house = House::new().await;
    let soon = UnixMs(1_000_000 + 60_000);
    let token = house.fleet.create_token("ci", Role::Viewer, Some(soon)).await.unwrap();
    house.advance_s(60);
    match house.said.recv().await {
        Some(Said::Kick(PartyKey::Token(id), _, true)) => assert_eq!(id, token.view.id),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn codes_and_browsers_grow_old() {
    let house = House::new().await;
    let late = house.fleet.new_signin(Role::Viewer);
    house.advance_s(limits::SIGNIN_LINK_S);
    assert!(house.fleet.redeem(&late.code).await.unwrap().is_none());

    let code = house.fleet.new_signin(Role::Viewer);
    let browser = house.fleet.redeem(&code.code).await.unwrap().unwrap();
    house.advance_s(limits::BROWSER_SESSION_S - 1);
    assert!(house.fleet.check_token(&browser.token).is_some());
    house.advance_s(1);
    assert!(house.fleet.check_token(&browser.token).is_none());
    // The next one made ends it on disk as well, whatever the clock says later.
    house.fleet.create_token("ci", Role::Viewer, None).await.unwrap();
    let house = house.restart().await;
    let now = house.clock.0.swap(0, std::sync::atomic::Ordering::Relaxed);
    assert!(house.fleet.check_token(&browser.token).is_none());
    assert!(house.fleet.has_expired(&browser.token), "it is remembered, to say so");
    house.clock.0.store(now, std::sync::atomic::Ordering::Relaxed);
    house.advance_s(limits::TOKEN_REMEMBERED_S);
    house.fleet.create_token("next", Role::Viewer, None).await.unwrap();
    assert!(!house.fleet.has_expired(&browser.token));
}

#[tokio::test]
async fn a_token_with_less_than_its_role_is_kept_so() {
    let house = House::new().await;
    let grant = Grant { scopes: TokenScopes::default().with(TokenScope::Push), query: "app = 7".into() };
    let made = house.fleet.create_token_for("ci", Role::Operator, None, grant.clone()).await.unwrap();
    let house = house.restart().await;
    let caller = house.fleet.check_token(&made.token).unwrap();
    assert_eq!(*caller.grant, grant);
    assert_eq!(
        (caller.role_within(TokenScope::Push), caller.role_within(TokenScope::DevicesWrite)),
        (Role::Operator, Role::Viewer)
    );
    assert!(house.fleet.party(PartyKey::Token(made.view.id)).is_none(), "nor does a kept session have it");
}

#[tokio::test]
async fn one_code_too_many_forgets_the_oldest() {
    let house = House::new().await;
    let codes: Vec<_> = (0..=limits::SIGNIN_LINKS_MAX).map(|_| house.fleet.new_signin(Role::Owner)).collect();
    assert!(house.fleet.redeem(&codes[0].code).await.unwrap().is_none());
    for code in &codes[1..] {
        assert!(house.fleet.redeem(&code.code).await.unwrap().is_some());
    }
}
