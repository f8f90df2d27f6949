//! Apps.

use crate::house::House;

#[tokio::test]
async fn an_app_is_made_edited_and_removed() {
    let house = House::new().await;
    let made = house.post("apps", r#"{"name":"lamps","open":true,"settings":{"espush.text":"gbk"}}"#).await;
    assert_eq!(made.status, 201);
    let app = made.ok();
    assert_eq!(app["id"], 1);
    assert_eq!((&app["open"], &app["single"], &app["devices"]), (&true.into(), &false.into(), &0.into()));
    assert_eq!(app["settings"]["espush.text"], "gbk");
    assert!(app["created"].as_str().unwrap().ends_with('Z'));
    let edited = house.patch("apps/1", r#"{"name":"lights","single":true}"#).await.ok();
    assert_eq!((&edited["name"], &edited["open"], &edited["single"]), (&"lights".into(), &true.into(), &true.into()));
    house.post("devices", r#"{"app":1,"id":"lamp"}"#).await.ok();
    assert_eq!(house.get("apps/1").await.ok()["devices"], 1);
    assert_eq!(house.delete("apps/1").await.problem(409).0, "app_has_devices");
    house.delete("devices/lamp").await;
    assert_eq!(house.delete("apps/1").await.status, 204);
    assert_eq!(house.get("apps").await.ok(), serde_json::json!({"items": [], "next": null}));
}

#[tokio::test]
async fn an_app_may_bring_its_number_and_key() {
    let house = House::new().await;
    let key = "25b28f0ffb9711e4a96d446d579b49a1";
    let app = house.post("apps", &format!(r#"{{"name":"old","id":15000,"key":"{key}"}}"#)).await.ok();
    assert_eq!((&app["id"], &app["key"]), (&15000.into(), &key.into()));
    assert_eq!(house.post("apps", r#"{"name":"x","key":"short"}"#).await.problem(400).0, "bad_field");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let house = House::new().await;
    assert_eq!(house.get("apps/9").await.problem(404).0, "no_such_app");
    assert_eq!(house.patch("apps/9", "{}").await.problem(404).0, "no_such_app");
    assert_eq!(house.get("apps/x").await.problem(400).0, "bad_path");
    let missing = house.post("apps", "").await.problem(400);
    assert!(missing.1.contains("name"), "{}", missing.1);
    let unknown = house.post("apps", r#"{"name":"x","colour":"red"}"#).await.problem(400);
    assert_eq!(unknown.0, "bad_field");
    assert!(unknown.1.contains("colour"), "{}", unknown.1);
    let typed = house.post("apps", r#"{"name":"x","settings":{"espush.text":5}}"#).await.problem(400);
    assert!(typed.1.contains("settings.espush.text") || typed.1.contains("settings"), "{}", typed.1);
    let syntax = house.post("apps", "{\"name\":\n\"x\",}").await.problem(400);
    assert_eq!(syntax.0, "bad_json");
    assert!(syntax.1.contains("line 2"), "{}", syntax.1);
    assert_eq!(house.post("apps", r#"{"name":"x"} more"#).await.problem(400).0, "bad_json");
    assert_eq!(house.post("apps", r#"{"name":"\u0007"}"#).await.problem(400).0, "bad_name");
}
