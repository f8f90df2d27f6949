//! Groups: queries that have a name.

use std::sync::Arc;

use fleet::{Asked, Audience, FleetError};
use model::Query;
use model::query::NoPoints;

use crate::House;

async fn make(house: &House, name: &str, text: &str) -> Result<fleet::GroupView, FleetError> {
    house.fleet.create_group(name.into(), text.into(), Query::parse(text).unwrap()).await
}

async fn edit(house: &House, name: &str, new_name: Option<&str>, text: Option<&str>) -> Result<fleet::GroupView, FleetError> {
    let query = text.map(|text| (text.to_owned(), Query::parse(text).unwrap()));
    house.fleet.edit_group(name, new_name.map(str::to_owned), query).await
}

async fn count(house: &House, text: &str) -> Result<usize, FleetError> {
    let query = house.fleet.expand(Query::parse(text).unwrap())?;
    let asked = Asked { query: Arc::new(query), points: Arc::new(NoPoints) };
    Ok(house.fleet.select(Audience::Query(asked)).await?.devices.len())
}

#[tokio::test]
async fn a_group_is_asked_for_by_name_and_changes_with_its_query() {
    let house = House::new().await;
    let app = house.app("lamps", false).await;
    for id in ["lamp", "fan", "door"] {
        house.device(&app, id).await;
    }
    make(&house, "kitchen boards", "id in (lamp, fan)").await.unwrap();
    make(&house, "others", "group != \"kitchen boards\"").await.unwrap();
    assert_eq!(house.fleet.group("kitchen boards").unwrap().users, ["others"]);
    assert_eq!(
        (count(&house, "group = others").await.unwrap(), count(&house, "group in ('kitchen boards')").await.unwrap()),
        (1, 2)
    );
    edit(&house, "kitchen boards", None, Some("id = lamp")).await.unwrap();
    let house = house.restart().await;
    assert_eq!(count(&house, "group = others").await.unwrap(), 2);
    assert_eq!(
        house.fleet.groups().iter().map(|group| group.query.as_str()).collect::<Vec<_>>(),
        ["id = lamp", "group != \"kitchen boards\""]
    );
    edit(&house, "others", Some("the rest"), None).await.unwrap();
    house.fleet.delete_group("the rest").await.unwrap();
    edit(&house, "kitchen boards", Some("kitchen"), None).await.unwrap();
    let house = house.restart().await;
    assert_eq!(house.fleet.groups().into_iter().map(|group| group.name).collect::<Vec<_>>(), ["kitchen"]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let house = House::new().await;
    make(&house, "a", "online").await.unwrap();
    make(&house, "b", "group = a").await.unwrap();
    make(&house, "c", "not group = b").await.unwrap();
    let code = |result: Result<fleet::GroupView, FleetError>| result.unwrap_err().code();
    assert_eq!(code(make(&house, "a", "online").await), "group_taken");
    assert_eq!(code(make(&house, "", "online").await), "bad_name");
    assert_eq!(code(make(&house, "d", "group = none").await), "no_such_group");
    assert_eq!(code(make(&house, "d", "group = d").await), "group_circle");
    assert_eq!(code(edit(&house, "a", None, Some("group = c and online")).await), "group_circle");
    assert_eq!(code(edit(&house, "a", Some("z"), None).await), "group_in_use");
    assert_eq!(code(edit(&house, "c", Some("a"), None).await), "group_taken");
    assert_eq!(code(edit(&house, "c", Some("z"), Some("group = z")).await), "group_circle");
    assert_eq!(code(edit(&house, "none", None, None).await), "no_such_group");
    let used = house.fleet.delete_group("b").await.unwrap_err();
    assert_eq!((used.code(), used.to_string().contains("others: c;")), ("group_in_use", true), "{used}");
    // One that others name cannot grow until they are beyond what can be carried out.
    let long = vec!["online"; 240].join(" or ");
    make(&house, "wide", &long).await.unwrap();
    let sixteen = ["group = wide"; 16].join(" or ");
    make(&house, "many", &sixteen).await.unwrap();
    make(&house, "twenty", &["online"; 20].join(" and ")).await.unwrap();
    assert_eq!(code(edit(&house, "wide", None, Some(&format!("{long} or group = twenty"))).await), "groups_too_much");
    assert_eq!(house.fleet.group("wide").unwrap().query, long);
    assert!(matches!(count(&house, "group = none").await, Err(FleetError::NoSuchGroup(_))));
}
