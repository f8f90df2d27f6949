//! Devices in and out as CSV.

use serde_json::{Value, json};

use crate::house::House;

fn lines(answer: &crate::house::Answer) -> Vec<Value> {
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/x-ndjson"), "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn done(lines: &[Value]) -> (u64, u64, u64, u64) {
    let done = &lines.last().unwrap()["done"];
    let count = |name: &str| done[name].as_u64().unwrap();
    (count("rows"), count("created"), count("updated"), count("failed"))
}

fn bad(lines: &[Value]) -> Vec<(u64, &str)> {
    lines.iter().filter_map(|line| Some((line["line"].as_u64()?, line["code"].as_str()?))).collect()
}

#[tokio::test]
async fn a_file_makes_and_changes_devices_and_tells_of_each_bad_row() {
    let (house, secret) = House::with_lamp(Default::default()).await;
    let file = "\u{feff}id,app,name,alias,tags,open,secret,online\r\n\
                lamp,1,\"Kitchen, lamp\",k,red;a\\;b,true,,true\r\n\
                fan,1,,,,,chosen-secret,\r\n\
                a b,1,,,,,,\r\n\
                fan,1,,,,,,\r\n\
                door,9,,,,,,\r\n\
                lamp2,,,,,,,\r\n\
                lamp3,1,x\r\n\
                ,1,made,,,,,\r\n\
                door,1,,,,maybe,,\r\n";
    let dry = lines(&house.post("devices/import?dry_run=true", file).await);
    let wrong =
        [(4, "bad_device_id"), (5, "duplicate_id"), (6, "no_such_app"), (7, "app_missing"), (8, "bad_row"), (10, "duplicate_id")];
    let sorted = |lines: &[Value]| {
        let mut all: Vec<(u64, String)> = bad(lines).into_iter().map(|(line, code)| (line, code.to_owned())).collect();
        all.sort();
        all
    };
    let wrong: Vec<(u64, String)> = wrong.into_iter().map(|(line, code)| (line, code.to_owned())).collect();
    assert_eq!((sorted(&dry), done(&dry)), (wrong.clone(), (9, 2, 1, 6)));
    assert!(house.fleet.device("fan").is_none(), "nothing was written");
    let real = lines(&house.post("devices/import", file).await);
    assert_eq!((sorted(&real), done(&real)), (wrong, (9, 2, 1, 6)));
    // The secret that was made is told, the chosen one is not.
    let told: Vec<&Value> = real.iter().filter(|line| line.get("secret").is_some()).collect();
    assert_eq!((told.len(), &told[0]["line"]), (1, &9.into()));
    assert!(house.fleet.check_secret(told[0]["id"].as_str().unwrap(), told[0]["secret"].as_str().unwrap()).is_some());
    assert!(house.fleet.check_secret("fan", "chosen-secret").is_some() && house.fleet.check_secret("lamp", &secret).is_some());
    let lamp = house.get("devices/lamp").await.ok();
    assert_eq!((&lamp["name"], &lamp["tags"], &lamp["open"]), (&"Kitchen, lamp".into(), &json!(["red", "a;b"]), &true.into()));
    // What a file has no column for stays.
    let some = lines(&house.post("devices/import?mode=update", "id;name\nlamp;\nnone;x\n").await);
    assert_eq!((bad(&some), done(&some)), (vec![(3, "no_such_device")], (2, 0, 1, 1)));
    let lamp = house.get("devices/lamp").await.ok();
    assert_eq!((&lamp["name"], &lamp["alias"]), (&"".into(), &"k".into()));
    let create = lines(&house.post("devices/import?mode=create", "id,app\nlamp,1\nnew,1\n").await);
    assert_eq!((bad(&create), done(&create)), (vec![(2, "device_id_taken")], (2, 1, 0, 1)));
    let kept = lines(&house.post("devices/import", "id,app,secret\nlamp,1,another-secret\nlamp2,2,\nfan,2,\n").await);
    assert_eq!(
        sorted(&kept).into_iter().map(|(_, code)| code).collect::<Vec<_>>(),
        ["secret_given", "no_such_app", "app_differs"]
    );
    // What is broken ends the file, after what came before it.
    let broken = lines(&house.post("devices/import", "id,app\nb1,1\n\"b2,1\nb3,1\n").await);
    assert_eq!((bad(&broken), done(&broken)), (vec![(3, "bad_csv")], (2, 1, 0, 1)));
}

#[tokio::test]
async fn a_file_that_is_none_is_refused_whole() {
    let (house, _) = House::with_lamp(Default::default()).await;
    for (file, code) in [
        ("", "bad_csv"),
        ("id,app,colour\n", "bad_column"),
        ("name\nx\n", "bad_column"),
        ("id,id\nx,y\n", "bad_column"),
        ("\"id", "bad_csv"),
    ] {
        assert_eq!(house.post("devices/import", file).await.problem(400).0, code, "{file}");
    }
    assert_eq!(house.post("devices/import?mode=no", "id\n").await.problem(400).0, "bad_query");
    let many = format!("id\n{}", "x\n".repeat(model::limits::IMPORT_ROWS_MAX + 1));
    assert_eq!(house.post("devices/import", &many).await.problem(400).0, "too_many_rows");
    let large = " ".repeat(model::limits::IMPORT_BYTES_MAX + 1);
    assert_eq!(house.post("devices/import", &large).await.problem(413).0, "body_too_large");
}

#[tokio::test]
async fn what_is_exported_can_be_imported_and_holds_no_formulas() {
    let (house, _) = House::with_lamp(Default::default()).await;
    let about = r#"{"app":1,"id":"-fan","name":"=1+1","alias":"'@x","tags":["a;b","c\\d","+1"]}"#;
    house.post("devices", about).await.ok();
    let file = house.get("devices/export").await;
    assert!(file.header("content-type").starts_with("text/csv") && file.header("content-disposition").contains("devices.csv"));
    let fan = file.text().lines().find(|line| line.contains("fan")).unwrap();
    assert!(fan.starts_with("'-fan,1,'=1+1,''@x,\"a\\;b;c\\\\d;+1\",false,2,"), "{fan}");
    let before = house.get("devices/-fan").await.ok();
    house.patch("devices/-fan", r#"{"name":"","alias":"","tags":[]}"#).await.ok();
    let back = lines(&house.post("devices/import?mode=update", file.text()).await);
    assert_eq!((bad(&back), done(&back)), (vec![], (2, 0, 2, 0)));
    let after = house.get("devices/-fan").await.ok();
    assert_eq!((&after["name"], &after["alias"], &after["tags"]), (&before["name"], &before["alias"], &before["tags"]));
    // Only some, over several pages.
    let many: String = (0..2_500).map(|i| format!("board-{i},1\n")).collect();
    let made = lines(&house.post("devices/import", &format!("id,app\n{many}")).await);
    assert_eq!(done(&made), (2_500, 2_500, 0, 0));
    assert_eq!(made.iter().filter(|line| line.get("progress").is_some()).count(), 5);
    assert_eq!(house.get("devices/export?where=id+starts+board").await.text().lines().count(), 2_501);
    assert_eq!(house.get("devices/export?where=temp").await.problem(400).0, "bad_where");
}

#[tokio::test]
async fn what_is_written_down_goes_out_in_columns_and_comes_in_as_the_same() {
    let (house, _) = House::with_lamp(Default::default()).await;
    let file = "id,app,meta.room,meta.floor,meta.Serial.No\nlamp,,B 12,3,\nfan,1,,-2,\"\"\"3\"\"\"\ndoor,1,true,,=x\n";
    assert_eq!(done(&lines(&house.post("devices/import", file).await)), (3, 2, 1, 0));
    let meta = async |id: &str| house.get(&format!("devices/{id}")).await.ok()["meta"].clone();
    assert_eq!(meta("lamp").await, json!({"room": "B 12", "floor": 3}));
    assert_eq!(meta("fan").await, json!({"floor": -2, "Serial.No": "3"}));
    assert_eq!(meta("door").await, json!({"room": true, "Serial.No": "=x"}));
    let exported = house.get("devices/export").await.text().to_owned();
    assert!(exported.lines().next().unwrap().ends_with(",remote,meta.Serial.No,meta.floor,meta.room"), "{exported}");
    assert!(exported.lines().last().unwrap().ends_with(",'=x,,true"), "{exported}");
    // What there is none of among the devices of an export is no column.
    assert!(!house.get("devices/export?where=id%20%3D%20lamp").await.text().contains("Serial"));
    let before = [meta("lamp").await, meta("fan").await, meta("door").await];
    assert_eq!(done(&lines(&house.post("devices/import", &exported).await)), (3, 0, 3, 0));
    assert_eq!([meta("lamp").await, meta("fan").await, meta("door").await], before);
    // An empty field strikes out, a column that is not there leaves.
    lines(&house.post("devices/import", "id,meta.room\nlamp,\n").await);
    assert_eq!(meta("lamp").await, json!({"floor": 3}));
    let long = format!("id,meta.room\nlamp,{}\n", "x".repeat(300));
    assert_eq!(bad(&lines(&house.post("devices/import", &long).await)), [(2, "bad_meta")]);
    for (head, said) in [("id,meta.", "no column"), ("id,meta.a b", "no column"), ("id,meta.a,meta.a", "twice")] {
        let (code, detail) = house.post("devices/import", head).await.problem(400);
        assert!(code == "bad_column" && detail.contains(said), "{detail}");
    }
}
