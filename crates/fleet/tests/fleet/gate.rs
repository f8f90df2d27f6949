//! Who comes in with what, and who does not.

use contract::event::Change;
use contract::{Consumer, Event, Gate, Login, Refusal, Verdict};
use fleet::{AppEdit, FleetError, NewApp, NewDevice};
use model::{Party, PartyKey, Role, TokenScope, TokenScopes, limits};

use crate::{House, Said, password, remote, ticket};

fn knock(house: &House, login: &Login) -> Option<Verdict> {
    house.fleet.admit(login, remote(1), ticket(0))
}

/// The device that came in at once.
fn device(verdict: Option<Verdict>) -> String {
    match &*verdict.expect("answered from memory").expect("let in").party {
        Party::Device { id, .. } => id.to_string(),
        other => panic!("{other:?}"),
    }
}

fn refusal(verdict: Option<Verdict>) -> Refusal {
    verdict.expect("answered from memory").expect_err("kept out")
}

fn app_key(app: u32, key: &str, chip: &str) -> Login {
    Login::AppKey { app, key: key.into(), chip: chip.into() }
}

#[tokio::test]
async fn a_device_comes_in_with_its_secret_and_one_answer_hides_which_part_was_wrong() {
    let house = House::new().await;
    let app = house.app("lamps", true).await;
    let (number, secret) = house.device(&app, "lamp").await;
    let verdict = knock(&house, &password("lamp", &secret, "whatever")).unwrap().unwrap();
    assert_eq!(verdict.party.device(), Some(number));
    for (user, pass) in [("lamp", "wrong"), ("lamp", ""), ("nobody", &*secret), ("nobody", ""), ("token", &*secret)] {
        assert_eq!(refusal(knock(&house, &password(user, pass, "c"))), Refusal::BadCredentials, "{user} {pass}");
    }
    let binary = Login::Password { user: "lamp".into(), password: vec![0xff, 0], client: String::new() };
    assert_eq!(refusal(knock(&house, &binary)), Refusal::BadCredentials);
}

#[tokio::test]
async fn anonymous_clients_come_in_only_where_the_owner_wants_them() {
    let nothing = password("", "", "client");
    let house = House::new().await;
    assert_eq!(refusal(knock(&house, &Login::Anonymous)), Refusal::NoCredentials);
    assert_eq!(refusal(knock(&house, &nothing)), Refusal::NoCredentials);

    let house = House::with(tempfile::tempdir().unwrap(), |settings| settings.anonymous = true, |store| store).await;
    for login in [Login::Anonymous, nothing] {
        assert_eq!(*knock(&house, &login).unwrap().unwrap().party, Party::Anonymous);
    }
    assert_eq!(refusal(knock(&house, &password("", "x", ""))), Refusal::NoCredentials);
    assert_eq!(refusal(knock(&house, &password("lamp", "x", ""))), Refusal::BadCredentials, "a wrong secret is not nothing");
}

#[tokio::test]
async fn a_token_comes_in_with_its_role_and_its_lines_end_with_it() {
    let mut house = House::new().await;
    let new = house.fleet.create_token("ci", Role::Viewer, None).await.unwrap();
    let login = password("token", &new.token, "c");
    let verdict = knock(&house, &login).unwrap().unwrap();
    assert_eq!(*verdict.party, Party::Token { id: new.view.id, name: "ci".into(), role: Role::Viewer });
    assert!(verdict.settings.is_empty());

    house.fleet.delete_token(new.view.id).await.unwrap();
    assert!(matches!(house.said.recv().await, Some(Said::Kick(PartyKey::Token(id), _, true)) if id == new.view.id));
    assert_eq!(refusal(knock(&house, &login)), Refusal::BadCredentials);
}

#[tokio::test]
async fn a_token_with_less_than_its_role_is_not_for_the_broker() {
    let house = House::new().await;
    let scopes = fleet::Grant { scopes: TokenScopes::default().with(TokenScope::Push), query: String::new() };
    let query = fleet::Grant { scopes: TokenScopes::default(), query: "app = 7".into() };
    for grant in [scopes, query] {
        let new = house.fleet.create_token_for("ci", Role::Owner, None, grant).await.unwrap();
        assert_eq!(refusal(knock(&house, &password("token", &new.token, "c"))), Refusal::BadCredentials);
    }
}

#[tokio::test]
async fn a_chip_is_registered_at_first_sight_and_known_from_then_on() {
    let mut house = House::new().await;
    let settings = [("espush.text".to_owned(), "gbk".to_owned())].into();
    let app = house.fleet.create_app(NewApp { name: "lamps".into(), open: true, settings, ..NewApp::default() }).await.unwrap();
    let (id, key) = (app.app.id.0, app.app.key.reveal().to_owned());

    assert!(knock(&house, &app_key(id, &key, "8454703")).is_none(), "it has to be written first");
    let (to, verdict) = house.decided().await;
    let admission = verdict.unwrap();
    assert_eq!(to, ticket(0));
    assert!(matches!(&*admission.party, Party::Device { id, .. } if id.as_str() == "1-8454703"));
    assert_eq!(admission.settings["espush.text"], "gbk");
    assert_eq!(admission.enrolled, None);
    assert!(matches!(house.told()[..], [Event::DeviceChanged { change: Change::Registered, .. }]));

    // By either protocol's way, the key in any case.
    assert_eq!(device(knock(&house, &app_key(id, &key.to_uppercase(), "8454703"))), "1-8454703");
    assert_eq!(device(knock(&house, &password("1", &key, "8454703"))), "1-8454703");

    let house = house.restart().await;
    assert_eq!(device(knock(&house, &app_key(id, &key, "8454703"))), "1-8454703");
    assert_eq!(house.fleet.counts().devices, 1);
}

#[tokio::test]
async fn first_sights_at_the_same_moment_make_one_device() {
    let mut house = House::new().await;
    let app = house.app("lamps", true).await;
    let (id, key) = (app.app.id.0, app.app.key.reveal());
    // Nothing is awaited between them, so the registration is under way when the others come.
    for index in 0..3 {
        assert!(house.fleet.admit(&app_key(id, key, "77"), remote(1), ticket(index)).is_none());
    }
    let taken = NewDevice { id: Some("1-77".into()), ..NewDevice::of(app.app.id) };
    assert!(matches!(house.fleet.create_device(taken).await, Err(FleetError::DeviceIdTaken(_))));
    let mut parties = Vec::new();
    for index in 0..3 {
        let (to, verdict) = house.decided().await;
        assert_eq!(to, ticket(index));
        parties.push(verdict.unwrap().party.device().unwrap());
    }
    assert!(parties.iter().all(|number| *number == parties[0]));
    assert_eq!(house.fleet.counts().devices, 1);
    assert_eq!(house.told().len(), 1);
}

#[tokio::test]
async fn a_closed_app_lets_in_only_whom_it_knows() {
    let mut house = House::new().await;
    let app = house.app("lamps", true).await;
    let (id, key) = (app.app.id, app.app.key.reveal());
    assert!(knock(&house, &app_key(id.0, key, "1")).is_none());
    house.decided().await.1.unwrap();
    house.fleet.edit_app(id, AppEdit { open: Some(false), ..AppEdit::default() }).await.unwrap();
    assert_eq!(device(knock(&house, &app_key(id.0, key, "1"))), "1-1");
    let login = app_key(id.0, key, "2");
    assert_eq!(refusal(knock(&house, &login)), Refusal::AppClosed);

    // Its owner lets it in; it has the app's key already.
    assert_eq!(house.fleet.adopt("1-2").await.unwrap_err().code(), "no_such_knock");
    house.fleet.on_event(&Event::Knocked {
        protocol: "mqtt",
        remote: remote(1),
        claim: login.claim(),
        device: login.newcomer(),
        refusal: Refusal::AppClosed,
        at: model::UnixMs(0),
    });
    assert_eq!(house.fleet.knocks()[0].device.as_ref().unwrap().as_str(), "1-2");
    house.fleet.adopt("1-2").await.unwrap();
    assert!(house.fleet.knocks().is_empty());
    assert_eq!(device(knock(&house, &login)), "1-2");
    assert_eq!(device(knock(&house, &password("1", key, "2"))), "1-2");
}

#[tokio::test]
async fn an_app_key_opens_only_its_own_app() {
    let mut house = House::new().await;
    let lamps = house.app("lamps", true).await;
    let fans = house.app("fans", true).await;
    let key = |app: &fleet::AppView| app.app.key.reveal().to_owned();
    // H11: the same chip id under two apps is two devices.
    for app in [&lamps, &fans] {
        assert!(knock(&house, &app_key(app.app.id.0, &key(app), "7")).is_none());
        house.decided().await.1.unwrap();
    }
    assert_eq!(house.fleet.counts().devices, 2);
    assert_eq!(device(knock(&house, &app_key(1, &key(&lamps), "7"))), "1-7");
    assert_eq!(device(knock(&house, &app_key(2, &key(&fans), "7"))), "2-7");

    for (app, key) in [(1, key(&fans)), (1, "no key".into()), (1, String::new()), (9, key(&lamps)), (0, key(&lamps))] {
        assert_eq!(refusal(knock(&house, &app_key(app, &key, "7"))), Refusal::BadAppKey, "{app} {key}");
        assert_eq!(refusal(knock(&house, &password(&app.to_string(), &key, "7"))), Refusal::BadAppKey);
    }
    assert_eq!(refusal(knock(&house, &password("99999999999", &key(&lamps), "7"))), Refusal::BadAppKey);
    for chip in ["", "a b", "a/b", "灯", &"9".repeat(limits::DEVICE_ID_BYTES_MAX)] {
        assert_eq!(refusal(knock(&house, &app_key(1, &key(&lamps), chip))), Refusal::BadChipId, "{chip}");
    }
    // Nor may an owner give a device an id that another app's key would open.
    let foreign = NewDevice { id: Some("1-99".into()), ..NewDevice::of(fans.app.id) };
    assert!(matches!(house.fleet.create_device(foreign).await, Err(FleetError::ForeignDeviceId { app }) if app == lamps.app.id));
}

#[tokio::test]
async fn a_device_without_an_app_is_told_the_one_that_takes_it() {
    let mut house = House::new().await;
    let single = Login::Single { chip: "42".into() };
    house.app("closed", false).await;
    assert_eq!(refusal(knock(&house, &single)), Refusal::NoSingleApp);
    let app = house.fleet.create_app(NewApp { name: "strays".into(), single: true, ..NewApp::default() }).await.unwrap();

    assert!(knock(&house, &single).is_none());
    let enrolled = Some((app.app.id, app.app.key.clone()));
    let admission = house.decided().await.1.unwrap();
    assert_eq!(admission.enrolled, enrolled);
    assert!(matches!(&*admission.party, Party::Device { id, .. } if id.as_str() == "2-42"));
    assert_eq!(knock(&house, &single).unwrap().unwrap().enrolled, enrolled, "told again, it may have forgotten");
    // What it was told works, though the app is not open to others.
    assert_eq!(device(knock(&house, &app_key(2, app.app.key.reveal(), "42"))), "2-42");
    assert_eq!(refusal(knock(&house, &app_key(2, app.app.key.reveal(), "43"))), Refusal::AppClosed);
}

#[tokio::test]
async fn a_registration_that_cannot_be_kept_is_refused_and_may_be_tried_again() {
    let mut house = House::new().await;
    let app = house.app("lamps", true).await;
    house.store.close().await;
    for _ in 0..2 {
        assert!(knock(&house, &app_key(1, app.app.key.reveal(), "5")).is_none());
        assert_eq!(house.decided().await.1.unwrap_err(), Refusal::Unavailable);
    }
    assert_eq!(house.fleet.counts().devices, 0);
    assert!(house.told().is_empty());
}

#[tokio::test]
async fn registrations_under_way_are_bounded() {
    let mut house = House::new().await;
    let app = house.app("lamps", true).await;
    let key = app.app.key.reveal();
    // One chip, many connections.
    for index in 0..limits::REGISTRATION_WAITERS_MAX as u32 {
        assert!(house.fleet.admit(&app_key(1, key, "x"), remote(1), ticket(index)).is_none());
    }
    assert_eq!(refusal(knock(&house, &app_key(1, key, "x"))), Refusal::Unavailable);
    // Many chips.
    for chip in 1..limits::REGISTRATIONS_OPEN_MAX {
        assert!(knock(&house, &app_key(1, key, &chip.to_string())).is_none());
    }
    assert_eq!(refusal(knock(&house, &app_key(1, key, "one-more"))), Refusal::Unavailable);
    for _ in 1..limits::REGISTRATION_WAITERS_MAX + limits::REGISTRATIONS_OPEN_MAX {
        house.decided().await.1.unwrap();
    }
    assert!(knock(&house, &app_key(1, key, "one-more")).is_none(), "there is room again");
    house.decided().await.1.unwrap();
}

#[tokio::test]
async fn a_certificate_speaks_for_a_device_that_is_there() {
    let house = House::new().await;
    let app = house.app("lamps", true).await;
    let (number, _) = house.device(&app, "lamp").await;
    let certified = |device: &str| Login::Certified { device: device.into() };
    assert_eq!(knock(&house, &certified("lamp")).unwrap().unwrap().party.device(), Some(number));
    for device in ["nobody", "", "token", "1"] {
        assert_eq!(refusal(knock(&house, &certified(device))), Refusal::BadCredentials, "{device}");
    }
}

#[tokio::test]
async fn a_bridge_of_the_house_shares_its_party_with_nobody() {
    let house = House::new().await;
    let verdict = knock(&house, &Login::Bridge { name: "shed".into() }).unwrap().unwrap();
    let made = house.fleet.create_token("ci", Role::Owner, None).await.unwrap();
    let token = knock(&house, &password("token", &made.token, "bridge-shed")).unwrap().unwrap();
    assert_ne!(verdict.party.key(), token.party.key());
    assert_ne!(verdict.party.key(), PartyKey::Token(0), "the bootstrap token's number");
}

#[tokio::test]
async fn keys_for_a_proof_are_fresh_each_time_and_made_for_strangers_too() {
    let mut house = House::new().await;
    let app = house.fleet.create_app(NewApp { name: "lamps".into(), ..NewApp::default() }).await.unwrap().app.id;
    let (device, _) = house.fleet.create_device(NewDevice { id: Some("lamp".into()), ..NewDevice::of(app) }).await.unwrap();
    let mut salts = Vec::new();
    for (index, user) in [(1, device.device.id.as_str()), (2, "lamp"), (3, "nobody")] {
        house.fleet.scram(user, remote(1), ticket(index));
        let Some(Said::Scram(asked, keys)) = house.said.recv().await else { panic!("keys are always given") };
        assert_eq!((asked, keys.iterations), (ticket(index), 4096));
        assert_ne!(keys.stored_key, keys.server_key);
        salts.push((keys.salt, keys.nonce, keys.stored_key));
    }
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), 3, "nothing is used twice");
}
