//! Broker accounts.

use axum::http::Method;

use crate::house::House;

#[tokio::test]
async fn an_account_is_made_edited_and_removed() {
    let house = House::new().await;
    let body = r#"{"name":"ann","rules":["deny both home/safe","allow  both home/#"]}"#;
    let made = house.post("accounts", body).await;
    assert_eq!(made.status, 201);
    let ann = made.ok();
    assert_eq!((&ann["id"], &ann["name"], &ann["password_kind"]), (&1.into(), &"ann".into(), &"argon2id".into()));
    assert_eq!(ann["rules"], serde_json::json!(["deny both home/safe", "allow both home/#"]), "in their order, as they are read");
    assert_eq!(ann["password"].as_str().unwrap().len(), 32, "made and shown once");
    let shown = house.get("accounts/1").await.ok();
    assert!(shown.get("password").is_none() && !shown.to_string().contains("$argon2id"));
    let edited = house.patch("accounts/1", r#"{"password":"correct horse","rules":[]}"#).await.ok();
    assert_eq!((&edited["rules"], edited.get("password")), (&serde_json::json!([]), None));
    let again = house.post("accounts/1/password", "").await.ok();
    assert_eq!(again["password"].as_str().unwrap().len(), 32);
    assert_eq!(house.get("accounts").await.ok()["items"].as_array().unwrap().len(), 1);
    assert_eq!(house.delete("accounts/1").await.status, 204);
    assert_eq!(house.get("accounts/1").await.problem(404).0, "no_such_account");
}

#[tokio::test]
async fn a_hash_from_another_broker_is_taken_as_it_is() {
    let house = House::new().await;
    let line = include_str!("../../../fleet/tests/fixtures/mosquitto.passwd").lines().next().unwrap();
    let (name, hash) = line.split_once(':').unwrap();
    let body = serde_json::json!({"name": name, "password_hash": hash}).to_string();
    assert_eq!(house.post("accounts", &body).await.ok()["password_kind"], "mosquitto-pbkdf2-sha512");
    let bad = house.post("accounts", r#"{"name":"bob","password_hash":"{SSHA}x"}"#).await.problem(400);
    assert_eq!(bad.0, "bad_password_hash");
    let both = r#"{"name":"bob","password":"correct horse","password_hash":"$6$x$y"}"#;
    assert_eq!(house.post("accounts", both).await.problem(400).0, "bad_field");
}

#[tokio::test]
async fn what_is_wrong_with_a_rule_is_named() {
    let house = House::new().await;
    for (rule, says) in [("allow read x", "allow read x"), ("allow both a/#/b", "wildcard"), ("allow both me/x", "me/…")] {
        let body = serde_json::json!({"name": "ann", "rules": [rule]}).to_string();
        let (code, detail) = house.post("accounts", &body).await.problem(400);
        assert_eq!(code, "bad_rule");
        assert!(detail.contains(says), "{detail}");
    }
    assert_eq!(house.post("accounts", r#"{"name":"123"}"#).await.problem(400).0, "bad_account_name");
    house.post("accounts", r#"{"name":"ann"}"#).await.ok();
    assert_eq!(house.post("accounts", r#"{"name":"ann"}"#).await.problem(409).0, "account_name_taken");
}

#[tokio::test]
async fn accounts_are_the_owners_business() {
    let house = House::new().await;
    let token = house.post("tokens", r#"{"name":"ci","role":"operator"}"#).await.ok();
    let token = token["token"].as_str().unwrap();
    for (method, path) in [(Method::GET, "accounts"), (Method::POST, "accounts"), (Method::DELETE, "accounts/1")] {
        assert_eq!(house.call_as(token, method, path, "").await.problem(403).0, "role_too_low");
    }
}
