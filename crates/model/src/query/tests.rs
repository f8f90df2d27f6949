//! What queries mean and what is said of those that mean nothing; against a slow oracle, and back through print.

use arbtest::arbitrary::{self, Unstructured};

use super::*;
use crate::app::AppId;
use crate::device::DeviceNumber;
use crate::limits;
use crate::twin::TwinPart;

#[derive(Debug, Default)]
struct Device {
    number: u32,
    app: u32,
    id: String,
    name: String,
    alias: String,
    tags: Vec<String>,
    firmware: String,
    created: i64,
    online: bool,
    blocked: bool,
    since: Option<i64>,
    protocol: String,
    meta: crate::Meta,
    points: Vec<(String, Value)>,
    twins: Vec<(TwinPath, Value)>,
}

impl Subject for Device {
    fn number(&self) -> DeviceNumber {
        DeviceNumber(self.number)
    }
    fn app(&self) -> AppId {
        AppId(self.app)
    }
    fn id(&self) -> &str {
        &self.id
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn alias(&self) -> &str {
        &self.alias
    }
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
    fn firmware(&self) -> &str {
        &self.firmware
    }
    fn created(&self) -> UnixMs {
        UnixMs(self.created)
    }
    fn online(&self) -> bool {
        self.online
    }
    fn blocked(&self) -> bool {
        self.blocked
    }
    fn since(&self) -> Option<UnixMs> {
        self.since.map(UnixMs)
    }
    fn protocol(&self) -> &str {
        &self.protocol
    }
    fn meta(&self, name: &str) -> Option<&Value> {
        self.meta.get(name)
    }
}

/// The points of a device, for the streams of a query.
struct Points<'a>(&'a Device, &'a Query);

impl Latest for Points<'_> {
    fn latest(&self, _: DeviceNumber, place: usize) -> Option<Value> {
        let wanted = &self.1.streams()[place];
        self.0.points.iter().find(|(name, _)| **name == **wanted).map(|(_, value)| value.clone())
    }
    fn twin(&self, _: DeviceNumber, place: usize) -> Option<Value> {
        let wanted = &self.1.twins()[place];
        self.0.twins.iter().find(|(path, _)| path == wanted).map(|(_, value)| value.clone())
    }
}

fn path(part: TwinPart, members: &[&str]) -> TwinPath {
    TwinPath { part, members: members.iter().map(|name| Box::from(*name)).collect() }
}

const HOUR_MS: i64 = 3_600_000;
/// 2026-11-20T12:00:00Z
const NOW: UnixMs = UnixMs(1_795_176_000_000);

fn lamp() -> Device {
    Device {
        number: 12,
        app: 7,
        id: "7-lamp".into(),
        name: "Kitchen 灯".into(),
        alias: "lounge".into(),
        tags: vec!["kitchen".into(), "floor 1".into()],
        firmware: "1.10.0".into(),
        created: NOW.0 - 48 * HOUR_MS,
        online: true,
        blocked: false,
        since: Some(NOW.0 - HOUR_MS),
        protocol: "mqtt".into(),
        meta: [
            ("room".into(), Value::Text("B 12".into())),
            ("floor".into(), Value::Number(3.0)),
            ("lent".into(), Value::Bool(false)),
            ("楼".into(), Value::Text("东".into())),
        ]
        .into(),
        points: vec![
            ("temp".into(), Value::Number(31.5)),
            ("relay".into(), Value::Bool(true)),
            ("mode".into(), Value::Text("Auto".into())),
            ("room temp".into(), Value::Number(-3.0)),
            ("温度".into(), Value::Number(20.0)),
        ],
        twins: vec![
            (path(TwinPart::Reported, &["led"]), Value::Text("on".into())),
            (path(TwinPart::Desired, &["led"]), Value::Text("off".into())),
            (path(TwinPart::Reported, &["wifi", "rssi"]), Value::Number(-60.0)),
            (path(TwinPart::Reported, &["room 1", "a.b", "on"]), Value::Bool(true)),
            (path(TwinPart::Reported, &["desired", "x"]), Value::Number(1.0)),
        ],
    }
}

#[track_caller]
fn holds(text: &str, device: &Device) -> bool {
    let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}: {error} {:?}", error.hint));
    query.matches(device, &Points(device, &query), NOW)
}

#[test]
fn what_is_so() {
    let rows = [
        "id = 7-lamp",
        "id = \"7-lamp\"",
        "id in (fan, '7-lamp')",
        "id starts 7-L",
        "number = 12 and number < 13 and number >= 12 and number in (1,12)",
        "app = 7 and tags has \"kitchen\" and firmware < \"1.11\" and online and data.temp > 30",
        "app != 8",
        "name contains kitchen and name contains 灯 and name starts \"kitchen \"",
        "alias = lounge and not alias = Lounge",
        "tags has kitchen and tags has 'floor 1' and not tags has floor",
        "firmware > 1.9 and firmware = 1.10 and firmware >= v1.10.0 and firmware != 1.1 and firmware in (1.9, 1.10)",
        "online = true and online != false",
        "not blocked and blocked = false and blocked != true",
        "since > 2h ago and since < 30m ago and since >= 2026-11-20T11:00:00Z",
        "created < 1d ago and created > 2026-11-18 and created = 2026-11-18T20:00:00+08:00",
        "protocol = mqtt and protocol in (mqtt, espush)",
        "data.temp = 31.5 and data.temp >= 31.5 and data.temp in (1, 31.5) and data.temp < +3.2e1",
        "data.relay = true and data.relay != false",
        "data.mode = Auto and data.mode starts au and data.mode contains UT and data.mode != auto",
        "data.\"room temp\" < -2 and data.温度 = 20",
        "twin.led = on and twin.desired.led = off and twin.reported.led starts O and twin.wifi.rssi > -70",
        "twin.\"room 1\".\"a.b\".on = true and twin.'led' = on and twin.\"wifi\".rssi = -60",
        "twin.reported.desired.x = 1 and twin.\"desired\".x = 1",
        "not twin.wifi = 1 and not twin.gone != 1 and not twin.desired.wifi.rssi < 0",
        "meta.room = \"B 12\" and meta.room starts b and meta.room contains 12 and meta.room in (A, 'B 12') and meta.room != B",
        "meta.floor > 2 and meta.floor <= 3 and meta.floor != \"3\" and meta.lent = false and meta.楼 = 东",
        "not meta.gone = 1 and not meta.gone != 1 and not meta.room > 3 and meta.room != 3",
        // What is not there fits no comparison, and so every `not`.
        "not data.gone = 1 and not data.gone != 1 and not data.gone contains x",
        // Another kind of value is unequal, and without order.
        "data.mode != 3 and not data.mode < 3 and not data.temp = \"31.5\" and data.temp != true",
        "online or app = 8 and app = 9",
        "not (online and app = 8) and NOT not Online",
        "app not in (1, 2) and name not contains xyz",
        "((((online))))",
    ];
    for text in rows {
        // Keywords are free in their case, fields are not.
        let text = text.replace("Online", "online");
        assert!(holds(&text, &lamp()), "{text}");
    }
}

#[test]
fn what_was_never_there() {
    let new = Device { id: "d".into(), ..Device::default() };
    for text in [
        "not online",
        "online = false",
        "not since > 100d ago and not since < 0s ago and not since != 1d ago",
        "firmware = \"\" and not firmware < 1 and not firmware > 0 and firmware != 1.0",
        "name = '' and alias = \"\" and name starts '' and name contains ''",
        "not tags has \"\"",
        "protocol = ''",
    ] {
        assert!(holds(text, &new), "{text}");
    }
}

#[test]
fn what_cannot_be_asked_is_named_with_its_place_and_what_was_meant() {
    let rows = [
        ("", 1, "the query is empty", "online"),
        ("  ", 1, "the query is empty", "online"),
        ("app = 7 and temp > 30", 13, "unknown field `temp`", "did you mean `data.temp`?"),
        ("温度 > 30", 1, "unknown field `温度`", "did you mean `data.温度`?"),
        ("tag has x", 1, "unknown field `tag`", "did you mean `tags`?"),
        ("frimware < 2", 1, "unknown field `frimware`", "did you mean `firmware`?"),
        ("Online", 1, "unknown field `Online`", "did you mean `online`?"),
        ("lamp", 1, "unknown field `lamp`", "did you mean `id = \"lamp\"`?"),
        ("\"lamp\"", 1, "begins with a field", "did you mean `id = \"lamp\"`?"),
        ("twin = 1", 1, "followed by the name of a member", "twin.led = on"),
        ("online and twin. = 1", 12, "followed by the name of a member", "twin.led = on"),
        ("twin.desired = 1", 1, "followed by the name of a member", "twin.desired.led = on"),
        ("twin.a..b = 1", 1, "followed by the name of a member", "twin.led = on"),
        ("twin.a. = 1", 1, "followed by the name of a member", "twin.led = on"),
        ("twin.a.b.c.d.e.f.g.h.i = 1", 1, "members deep", ""),
        ("twin.led", 9, "after `twin.led` comes an operator", "= != <"),
        ("twin.led has x", 10, "cannot be asked with `has`", "starts contains"),
        ("meta. = 3", 1, "followed by a name", "meta.room"),
        ("meta.a/b = 3", 1, "followed by a name", "meta.room"),
        ("meta.room has x", 11, "cannot be asked with `has`", "starts contains"),
        ("data. > 3", 1, "followed by the name of a stream", "data.temp > 30"),
        ("data.a+b > 3", 1, "followed by the name of a stream", "data.temp > 30"),
        ("app == 7", 5, "`==` is not known", "write `=`"),
        ("app <> 7", 5, "`<>` is not known", "write `!=`"),
        ("online && app = 7", 8, "`&` cannot stand here", "write `and`"),
        ("!online", 1, "`!` cannot stand here", "write `not`"),
        ("tags has “a”", 10, "cannot stand here", "quotes are"),
        ("name = a b", 10, "`b` cannot follow here", "in quotes"),
        ("(online", 8, "`)` is missing: the `(` at character 1 is open, and the end follows", ""),
        ("online)", 7, "closes nothing", ""),
        ("app = ", 7, "a value for `app` is missing; the end stands here", ""),
        ("app 7", 5, "after `app` comes an operator, not `7`", "= != < <= > >= in"),
        ("app = seven", 7, "`app` is a whole number", "app = 7"),
        ("app = -1", 7, "`app` is a whole number", "app = 7"),
        ("app starts 7", 5, "cannot be asked with `starts`", "= != < <= > >= in"),
        ("name < x", 6, "`name` cannot be asked with `<`", "starts contains"),
        ("tags = kitchen", 6, "`tags` cannot be asked with `=`", "tags has \"kitchen\""),
        ("online > 3", 8, "`online` cannot be asked with", "stands alone"),
        ("online = 3", 10, "`online` is true or false", "not online"),
        ("app in 7", 8, "after `in` come values in parentheses", "app in (a, b)"),
        ("app in (7 8)", 11, "comes `,` or `)`", ""),
        ("app in ()", 9, "a value for `app` is missing; `)` stands here", ""),
        ("name = and", 8, "`and` is a word of the language", "\"and\""),
        ("and online", 1, "`and` cannot stand here", "a field, an operator"),
        ("name = \"a", 8, "does not end", "close it with \""),
        ("name = \"a\\b\"", 10, "after \\", "\\\\"),
        ("since > 2h", 9, "not a time", "did you mean `2h ago`?"),
        ("since > yesterday", 9, "not a time", "2026-11-20"),
        ("created < 1795000000000", 11, "not a time", "2026-11-20"),
        ("data.mode < \"b\"", 13, "a text cannot be compared with <", "without quotes"),
        ("data.on > true", 11, "a truth value cannot be compared with >", "only numbers"),
        ("online or", 10, "begins with a field, not with the end", "the fields are"),
    ];
    for (text, position, what, hint) in rows {
        let error = Query::parse(text).expect_err(text);
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.what.contains(what), "{text}: {error}");
        assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{text}: {:?}", error.hint);
    }
    assert_eq!(Query::parse("temp").unwrap_err().to_string(), "at character 1: unknown field `temp`");
}

#[test]
fn a_query_is_bounded() {
    let long = format!("name = \"{}\"", "x".repeat(limits::QUERY_BYTES_MAX));
    assert!(Query::parse(&long).unwrap_err().what.contains("bytes"));
    let deep = |levels: usize| format!("{}online{}", "(".repeat(levels), ")".repeat(levels));
    assert!(Query::parse(&deep(limits::QUERY_DEPTH_MAX)).is_ok());
    assert!(Query::parse(&deep(limits::QUERY_DEPTH_MAX + 1)).unwrap_err().what.contains("deep"));
    let nots = |levels: usize| format!("{}online", "not ".repeat(levels));
    assert!(Query::parse(&nots(limits::QUERY_DEPTH_MAX)).is_ok());
    assert!(Query::parse(&nots(limits::QUERY_DEPTH_MAX + 1)).unwrap_err().what.contains("deep"));
    // The condition itself counts as one.
    let many = |values: usize| format!("app in ({})", vec!["1"; values].join(","));
    assert!(Query::parse(&many(limits::QUERY_VALUES_MAX - 1)).is_ok());
    assert!(Query::parse(&many(limits::QUERY_VALUES_MAX)).unwrap_err().what.contains("values"));
    let streams = |count: usize| (0..count).map(|i| format!("data.s{i} = 1")).collect::<Vec<_>>().join(" and ");
    assert!(Query::parse(&streams(limits::QUERY_STREAMS_MAX)).is_ok());
    assert!(Query::parse(&streams(limits::QUERY_STREAMS_MAX + 1)).unwrap_err().what.contains("streams"));
    let both = |count: usize| format!("{} and twin.a = 1 and twin.a = 2", streams(count));
    assert!(Query::parse(&both(limits::QUERY_STREAMS_MAX - 1)).is_ok());
    assert!(Query::parse(&both(limits::QUERY_STREAMS_MAX)).unwrap_err().what.contains("twins"));
}

#[test]
fn it_prints_itself_without_what_it_does_not_need() {
    let rows = [
        ("((online) and (app=7 or (app = 8)))", "online and (app = 7 or app = 8)"),
        ("online = false", "not online"),
        ("(online and app = 1) and app != 2", "online and app = 1 and app != 2"),
        ("id in (a,'b\"')", r#"id in ("a", "b\"")"#),
        ("since > 120m ago", "since > 2h ago"),
        ("since > 1500ms ago", "since > 1500ms ago"),
        ("created < 2026-11-20", "created < 2026-11-20T00:00:00.000Z"),
        ("data.\"temp\" > 30.50", "data.temp > 30.5"),
        ("data.'a b' contains XY", "data.\"a b\" contains \"xy\""),
        ("meta.room=\"B 12\" and meta.floor>2.50", "meta.room = \"B 12\" and meta.floor > 2.5"),
        ("name not starts x", "not name starts \"x\""),
        ("twin.reported.led != on", "twin.led != \"on\""),
        ("twin.\"led\" in (1, on) or twin.\"a b\".c.\"d.e\" = 1", "twin.led in (1, \"on\") or twin.\"a b\".c.\"d.e\" = 1"),
        ("twin.\"desired\".led = 1 or twin.desired.\"\" = 1", "twin.reported.desired.led = 1 or twin.desired.\"\" = 1"),
    ];
    for (text, printed) in rows {
        assert_eq!(Query::parse(text).unwrap().to_string(), printed);
    }
}

// ---- any query, any device ----

const TEXTS: [&str; 12] = ["", "a", "A", "Ab", "kitchen", "灯", "a b", "\"\\", "7", "true", "and", "Straße"];
const FIRMWARE: [&str; 8] = ["", "1.0", "1.0.0", "1.10", "v1.9", "AT 1.2", "AT 1.10", "beta"];
const OWN: [&str; 3] = ["room", "serial.no-1", "楼"];
const STREAMS: [&str; 4] = ["temp", "a b", "温度", "x\"y"];

fn text(u: &mut Unstructured<'_>) -> arbitrary::Result<Box<str>> {
    Ok((*u.choose(&TEXTS)?).into())
}

fn compare(u: &mut Unstructured<'_>) -> arbitrary::Result<Compare> {
    use Compare::*;
    Ok(*u.choose(&[Equal, Unequal, Less, LessEqual, Greater, GreaterEqual])?)
}

fn equality(u: &mut Unstructured<'_>) -> arbitrary::Result<Compare> {
    Ok(*u.choose(&[Compare::Equal, Compare::Unequal])?)
}

fn any_value(u: &mut Unstructured<'_>) -> arbitrary::Result<Value> {
    Ok(match u.int_in_range(0..=2)? {
        0 => Value::Number(*u.choose(&[0.0, -1.5, 3.0, 1e300, 0.1])?),
        1 => Value::Bool(u.arbitrary()?),
        _ => Value::Text(text(u)?.into()),
    })
}

fn words(
    u: &mut Unstructured<'_>,
    is: fn(&mut Unstructured<'_>) -> arbitrary::Result<Compare>,
    of: &[&str],
) -> arbitrary::Result<Words> {
    let one = |u: &mut Unstructured<'_>| -> arbitrary::Result<Box<str>> { Ok((*u.choose(of)?).into()) };
    Ok(match u.int_in_range(0..=3)? {
        0 => Words::Is(is(u)?, one(u)?),
        1 => Words::In((0..u.int_in_range(1..=3)?).map(|_| one(u)).collect::<Result<_, _>>()?),
        2 => Words::Starts(one(u)?.to_lowercase().into()),
        _ => Words::Contains(one(u)?.to_lowercase().into()),
    })
}

/// A place in a list, made there if it is new.
fn place<T: PartialEq>(known: &mut Vec<T>, wanted: T) -> usize {
    known.iter().position(|known| *known == wanted).unwrap_or_else(|| {
        known.push(wanted);
        known.len() - 1
    })
}

fn reading(u: &mut Unstructured<'_>) -> arbitrary::Result<Reading> {
    Ok(match u.int_in_range(0..=3)? {
        0 => Reading::Number(compare(u)?, *u.choose(&[0.0, -1.5, 3.0, 1e300])?),
        1 => Reading::Truth(equality(u)?, u.arbitrary()?),
        2 => match words(u, equality, &TEXTS)? {
            // Written so, it is a list of values.
            Words::In(texts) => Reading::In(texts.into_iter().map(|text| Value::Text(text.into())).collect()),
            words => Reading::Text(words),
        },
        _ => Reading::In(vec![any_value(u)?, any_value(u)?]),
    })
}

/// The ways to values of a twin that queries and devices have.
fn paths() -> Vec<TwinPath> {
    use TwinPart::{Desired, Reported};
    vec![path(Reported, &["led"]), path(Desired, &["led"]), path(Reported, &["desired", "a b"]), path(Desired, &["x\"y", ""])]
}

fn test(u: &mut Unstructured<'_>, named: &mut Named) -> arbitrary::Result<Test> {
    Ok(match u.int_in_range(0..=8)? {
        0 => Test::Truth(if u.arbitrary()? { TruthField::Online } else { TruthField::Blocked }),
        1 => {
            let field = *u.choose(&[WholeField::Number, WholeField::App])?;
            let small = |u: &mut Unstructured<'_>| u.int_in_range(0..=4u32);
            Test::Whole(
                field,
                if u.arbitrary()? { Whole::Is(compare(u)?, small(u)?) } else { Whole::In(vec![small(u)?, small(u)?]) },
            )
        }
        2 => {
            let field = *u.choose(&[TextField::Id, TextField::Name, TextField::Alias, TextField::Protocol])?;
            Test::Text(field, words(u, equality, &TEXTS)?)
        }
        3 => Test::Tag(text(u)?),
        4 => Test::Firmware(words(u, compare, &FIRMWARE)?),
        5 => {
            let moment = if u.arbitrary()? {
                Moment::AgoMs(u.int_in_range(0..=5)? * 1_800_000)
            } else {
                Moment::At(UnixMs(NOW.0 - u.int_in_range(0..=5)? * HOUR_MS))
            };
            Test::Time(*u.choose(&[TimeField::Created, TimeField::Since])?, compare(u)?, moment)
        }
        6 => {
            let name = *u.choose(&STREAMS)?;
            Test::Data(place(&mut named.0, name.into()), reading(u)?)
        }
        7 => Test::Meta((*u.choose(&OWN)?).into(), reading(u)?),
        _ => {
            let path = u.choose(&paths())?.clone();
            Test::Twin(place(&mut named.1, path), reading(u)?)
        }
    })
}

/// The streams and the values of twins of a query.
type Named = (Vec<Box<str>>, Vec<TwinPath>);

fn expr(u: &mut Unstructured<'_>, depth: usize, named: &mut Named) -> arbitrary::Result<Expr> {
    Ok(match if depth == 0 { 0 } else { u.int_in_range(0..=4)? } {
        0 | 1 => Expr::Test(test(u, named)?),
        2 => Expr::Not(Box::new(expr(u, depth - 1, named)?)),
        kind => {
            let parts = (0..u.int_in_range(2..=3)?).map(|_| expr(u, depth - 1, named)).collect::<Result<_, _>>()?;
            if kind == 3 { Expr::and(parts) } else { Expr::or(parts) }
        }
    })
}

fn query(u: &mut Unstructured<'_>) -> arbitrary::Result<Query> {
    let mut named = Named::default();
    let expr = expr(u, 3, &mut named)?;
    Ok(Query { expr, streams: named.0, twins: named.1 })
}

fn device(u: &mut Unstructured<'_>) -> arbitrary::Result<Device> {
    Ok(Device {
        number: u.int_in_range(0..=4)?,
        app: u.int_in_range(0..=4)?,
        id: text(u)?.into(),
        name: text(u)?.into(),
        alias: text(u)?.into(),
        tags: (0..u.int_in_range(0..=3)?).map(|_| text(u).map(String::from)).collect::<Result<_, _>>()?,
        firmware: (*u.choose(&FIRMWARE)?).into(),
        created: NOW.0 - u.int_in_range(0..=5)? * HOUR_MS,
        online: u.arbitrary()?,
        blocked: u.arbitrary()?,
        since: if u.arbitrary()? { Some(NOW.0 - u.int_in_range(0..=5)? * HOUR_MS) } else { None },
        protocol: text(u)?.into(),
        meta: OWN[..u.int_in_range(0..=3)?]
            .iter()
            .map(|name| Ok(((*name).to_owned(), any_value(u)?)))
            .collect::<arbitrary::Result<_>>()?,
        points: STREAMS[..u.int_in_range(0..=4)?]
            .iter()
            .map(|name| Ok(((*name).to_owned(), any_value(u)?)))
            .collect::<arbitrary::Result<_>>()?,
        twins: paths()
            .into_iter()
            .take(u.int_in_range(0..=4)?)
            .map(|path| Ok((path, any_value(u)?)))
            .collect::<arbitrary::Result<_>>()?,
    })
}

/// The slow reading: every field is copied out, every comparison is said again in the plainest way.
mod oracle {
    use super::*;

    pub fn expr(query: &Query, expr: &Expr, device: &Device) -> bool {
        match expr {
            Expr::And(parts) => parts.iter().filter(|part| !self::expr(query, part, device)).count() == 0,
            Expr::Or(parts) => parts.iter().filter(|part| self::expr(query, part, device)).count() > 0,
            Expr::Not(inner) => !self::expr(query, inner, device),
            Expr::Test(test) => self::test(query, test, device),
        }
    }

    fn ordered<T: PartialOrd>(a: T, compare: Compare, b: T) -> bool {
        match compare {
            Compare::Equal => a == b,
            Compare::Unequal => a != b,
            Compare::Less => a < b,
            Compare::LessEqual => a <= b,
            Compare::Greater => a > b,
            Compare::GreaterEqual => a >= b,
        }
    }

    fn words(ours: &str, words: &Words) -> bool {
        let lower = ours.to_lowercase();
        match words {
            Words::Is(compare, text) => ordered(ours, *compare, text),
            Words::In(texts) => texts.iter().map(|text| text.to_string()).any(|text| text == ours),
            Words::Starts(text) => lower.find(&**text) == Some(0),
            Words::Contains(text) => lower.find(&**text).is_some(),
        }
    }

    /// The kind and the numbers of the versions above, which have no suffixes.
    fn version(text: &str) -> Option<(String, Vec<u32>)> {
        let (kind, numbers) = match text.split_once(' ') {
            Some((kind, numbers)) => (kind, numbers),
            None => ("", text.trim_start_matches('v')),
        };
        let mut numbers = numbers.split('.').map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()?;
        numbers.resize(4, 0);
        Some((kind.to_owned(), numbers))
    }

    fn test(query: &Query, test: &Test, device: &Device) -> bool {
        match test {
            Test::Group(_) => false,
            Test::Truth(TruthField::Online) => device.online,
            Test::Truth(TruthField::Blocked) => device.blocked,
            Test::Whole(field, whole) => {
                let ours = if *field == WholeField::App { device.app } else { device.number };
                match whole {
                    Whole::Is(compare, number) => ordered(ours, *compare, *number),
                    Whole::In(numbers) => numbers.iter().filter(|number| **number == ours).count() > 0,
                }
            }
            Test::Text(field, asked) => {
                let all = [&device.id, &device.name, &device.alias, &device.protocol];
                words(all[*field as usize], asked)
            }
            Test::Tag(tag) => device.tags.iter().any(|own| **own == **tag),
            Test::Firmware(asked) => {
                let ours = device.firmware.clone();
                let same = |text: &str| ours == text || (version(&ours).is_some() && version(&ours) == version(text));
                match asked {
                    Words::Is(Compare::Equal, text) => same(text),
                    Words::Is(Compare::Unequal, text) => !same(text),
                    Words::Is(compare, text) => match (version(&ours), version(text)) {
                        (Some((a, ours)), Some((b, theirs))) => a == b && ordered(ours, *compare, theirs),
                        _ => false,
                    },
                    Words::In(texts) => texts.iter().any(|text| same(text)),
                    other => words(&ours, other),
                }
            }
            Test::Time(field, compare, moment) => {
                let ours = if *field == TimeField::Created { Some(device.created) } else { device.since };
                let theirs = match moment {
                    Moment::At(at) => at.0,
                    Moment::AgoMs(ms) => NOW.0 - ms,
                };
                ours.is_some_and(|ours| ordered(ours, *compare, theirs))
            }
            Test::Data(place, asked) => {
                let point = device.points.iter().find(|(name, _)| **name == *query.streams[*place]);
                reading(point.map(|(_, value)| value), asked)
            }
            Test::Meta(name, asked) => {
                reading(device.meta.iter().find(|(own, _)| **own == **name).map(|(_, value)| value), asked)
            }
            Test::Twin(place, asked) => {
                let value = device.twins.iter().find(|(path, _)| *path == query.twins[*place]);
                reading(value.map(|(_, value)| value), asked)
            }
        }
    }

    fn reading(ours: Option<&Value>, asked: &Reading) -> bool {
        match (ours, asked) {
            (None, _) => false,
            (Some(Value::Number(ours)), Reading::Number(compare, theirs)) => ordered(ours, *compare, theirs),
            (Some(Value::Bool(ours)), Reading::Truth(compare, theirs)) => ordered(ours, *compare, theirs),
            (Some(Value::Text(ours)), Reading::Text(asked)) => words(ours, asked),
            (Some(ours), Reading::In(values)) => values.iter().any(|value| value == ours),
            (_, Reading::Number(compare, _) | Reading::Truth(compare, _) | Reading::Text(Words::Is(compare, _))) => {
                *compare == Compare::Unequal
            }
            _ => false,
        }
    }
}

#[test]
fn any_query_means_what_the_slow_reading_says() {
    arbtest::arbtest(|u| {
        let (query, device) = (query(u)?, device(u)?);
        let ours = query.matches(&device, &Points(&device, &query), NOW);
        assert_eq!(ours, oracle::expr(&query, &query.expr, &device), "{query}\n{device:?}");
        Ok(())
    });
}

#[test]
fn any_query_survives_print_and_parse() {
    arbtest::arbtest(|u| {
        let query = query(u)?;
        let printed = query.to_string();
        let again = Query::parse(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
        // Streams are numbered as they are met, which another order of making may not follow.
        assert_eq!(again.to_string(), printed);
        let device = device(u)?;
        assert_eq!(
            again.matches(&device, &Points(&device, &again), NOW),
            query.matches(&device, &Points(&device, &query), NOW),
            "{printed}"
        );
        Ok(())
    });
}

#[test]
fn any_text_is_understood_or_refused_with_a_place_in_it() {
    const PIECES: [&str; 36] = [
        "and",
        "or",
        "not",
        "in",
        "(",
        ")",
        ",",
        "=",
        "!=",
        "<",
        ">=",
        "online",
        "app",
        "name",
        "tags",
        "has",
        "data.x",
        "data.",
        "since",
        "2h",
        "ago",
        "7",
        "\"a\"",
        "'",
        "\\",
        "灯",
        "starts",
        "firmware",
        "==",
        "true",
        "twin.led",
        "twin.",
        "twin.desired.",
        ".x",
        "meta.room",
        "meta.",
    ];
    arbtest::arbtest(|u| {
        let mut text = String::new();
        for _ in 0..u.int_in_range(0..=24)? {
            text += u.choose(&PIECES)?;
            text += if u.ratio(9, 10)? { " " } else { "" };
        }
        fuzz::query(text.as_bytes());
        Ok(())
    });
}
