//! Presence, knocks and the time of day.

use std::sync::Arc;
use std::time::Duration;

use contract::event::Change;
use contract::store::{Later, Registry, RegistrySnapshot, StoredAccount, StoredGroup, StoredToken};
use contract::{Close, Consumer, Event, Fault, Refusal};
use model::{App, AppId, Device, DeviceNumber, Message, PartyKey, Presence, Topic, UnixMs, limits};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{House, Said, remote, ticket};

fn opened(device: DeviceNumber, protocol: &'static str, port: u16, at: i64) -> Event {
    Event::LineOpened { device, protocol, remote: remote(port), firmware: None, at: UnixMs(at) }
}

fn closed(device: DeviceNumber, why: &'static str, at: i64) -> Event {
    Event::LineClosed { device, protocol: "mqtt", close: Close { fault: Fault::Line, why: why.into() }, at: UnixMs(at) }
}

fn told(house: &House) -> Vec<Presence> {
    let presence = |event| match event {
        Event::PresenceChanged { presence, .. } => Some(presence),
        _ => None,
    };
    house.told().into_iter().filter_map(presence).collect()
}

#[tokio::test]
async fn a_line_that_opens_after_its_device_was_removed_is_ended() {
    let mut house = House::new().await;
    let app = house.app("lamps", false).await;
    let (lamp, _) = house.device(&app, "lamp").await;
    house.fleet.delete_device("lamp").await.unwrap();
    // The gate let it in before, and it came to its shard after the kick.
    house.fleet.on_event(&opened(lamp, "mqtt", 1, 10));
    for _ in 0..2 {
        assert!(matches!(house.said.recv().await, Some(Said::Kick(PartyKey::Device(device), _, true)) if device == lamp));
    }
    assert_eq!(house.fleet.counts().online, 0);
}

#[tokio::test]
async fn a_device_is_online_while_it_holds_a_line() {
    let house = House::new().await;
    let app = house.app("lamps", false).await;
    let (lamp, _) = house.device(&app, "lamp").await;
    let online = |protocol: &str, port: u16| Presence {
        online: true,
        since: Some(UnixMs(10)),
        why: "connected by mqtt".into(),
        protocol: protocol.into(),
        remote: format!("10.0.0.9:{port}"),
    };
    house.fleet.on_event(&opened(lamp, "mqtt", 1, 10));
    assert_eq!(told(&house), [online("mqtt", 1)]);
    house.fleet.on_event(&opened(lamp, "lines", 2, 20));
    assert_eq!(told(&house), [online("lines", 2)], "still since the first, but seen by the newest");
    assert_eq!(house.fleet.counts().online, 1);
    house.fleet.on_event(&closed(lamp, "the line broke", 30));
    assert!(told(&house).is_empty(), "it has another line");
    assert!(house.fleet.is_online(lamp));
    house.fleet.on_event(&closed(lamp, "nothing was heard for 90 s", 40));
    let offline =
        Presence { online: false, since: Some(UnixMs(40)), why: "nothing was heard for 90 s".into(), ..online("lines", 2) };
    assert_eq!(told(&house), std::slice::from_ref(&offline));
    assert_eq!((house.fleet.counts().online, house.fleet.is_online(lamp)), (0, false));
    house.fleet.on_event(&closed(lamp, "a line we never saw", 50));
    assert!(told(&house).is_empty());

    let house = house.restart().await;
    assert_eq!(house.fleet.device("lamp").unwrap().presence, offline);
}

#[tokio::test]
async fn no_line_survives_a_restart() {
    let house = House::new().await;
    let app = house.app("lamps", false).await;
    let (lamp, _) = house.device(&app, "lamp").await;
    house.fleet.on_event(&opened(lamp, "mqtt", 1, 10));
    let house = house.restart().await;
    let presence = house.fleet.device("lamp").unwrap().presence;
    assert_eq!((presence.online, presence.since), (false, Some(UnixMs(1_000_000))), "since we know that it is not");
    assert_eq!((presence.why.as_str(), presence.protocol.as_str()), ("the server was restarted", "mqtt"));
    house.fleet.on_event(&opened(lamp, "mqtt", 1, 2_000_000));
    assert!(house.fleet.is_online(lamp));
}

#[tokio::test]
async fn what_firmware_a_device_tells_is_kept() {
    let house = House::new().await;
    let app = house.app("lamps", false).await;
    let (lamp, secret) = house.device(&app, "lamp").await;
    house.told();
    let tells = |firmware: &str| Event::LineOpened {
        device: lamp,
        protocol: "espush",
        remote: remote(1),
        firmware: Some(firmware.into()),
        at: UnixMs(1),
    };
    let edits = || house.told().into_iter().filter(|e| matches!(e, Event::DeviceChanged { change: Change::Edited, .. })).count();
    house.fleet.on_event(&tells(" AT\0 1.2\n"));
    assert_eq!(edits(), 1);
    house.fleet.on_event(&tells("AT 1.2"));
    house.fleet.on_event(&tells(""));
    assert_eq!(edits(), 0, "nothing new");
    let house = house.restart().await;
    assert_eq!(house.fleet.device("lamp").unwrap().device.firmware, "AT 1.2");
    assert!(house.fleet.check_secret("lamp", &secret).is_some(), "the secret stayed");
}

/// Tells what presence is written.
struct Watched(Arc<dyn Registry>, UnboundedSender<Vec<DeviceNumber>>);

impl Registry for Watched {
    fn load(&self) -> Later<RegistrySnapshot> {
        self.0.load()
    }
    fn put_app(&self, app: App) -> Later<()> {
        self.0.put_app(app)
    }
    fn delete_app(&self, app: AppId) -> Later<()> {
        self.0.delete_app(app)
    }
    fn put_device(&self, device: Device, secret: Option<String>) -> Later<()> {
        self.0.put_device(device, secret)
    }
    fn rotate_secret(&self, _: DeviceNumber, _: String, _: Option<UnixMs>) -> Later<()> {
        unreachable!("nobody gets a secret here")
    }
    fn drop_old_secret(&self, _: DeviceNumber) -> Later<()> {
        unreachable!("nobody gets a secret here")
    }
    fn reveal_old_secret(&self, _: DeviceNumber) -> Later<Option<String>> {
        unreachable!("nobody gets a secret here")
    }
    fn put_group(&self, _: StoredGroup, _: Option<String>) -> Later<()> {
        unreachable!("nobody makes groups here")
    }
    fn delete_group(&self, _: String) -> Later<()> {
        unreachable!("nobody makes groups here")
    }
    fn block_device(&self, _: DeviceNumber, _: bool) -> Later<()> {
        unreachable!("nobody is blocked here")
    }
    fn reveal_secret(&self, _: DeviceNumber) -> Later<Option<String>> {
        unreachable!("nobody proves anything here")
    }
    fn delete_device(&self, device: DeviceNumber) -> Later<()> {
        self.0.delete_device(device)
    }
    fn put_presence(&self, batch: Vec<(DeviceNumber, Presence)>) -> Later<()> {
        self.1.send(batch.iter().map(|(device, _)| *device).collect()).unwrap();
        self.0.put_presence(batch)
    }
    fn put_account(&self, account: StoredAccount) -> Later<()> {
        self.0.put_account(account)
    }
    fn delete_account(&self, id: u64) -> Later<()> {
        self.0.delete_account(id)
    }
    fn put_token(&self, token: StoredToken) -> Later<()> {
        self.0.put_token(token)
    }
    fn delete_token(&self, id: u64) -> Later<()> {
        self.0.delete_token(id)
    }
}

#[tokio::test(start_paused = true)]
async fn presence_is_written_by_itself_at_most_once_a_second() {
    let (watching, mut written) = unbounded_channel();
    let dir = tempfile::tempdir().unwrap();
    let house = House::with(dir, |_| {}, |store| Arc::new(Watched(store, watching))).await;
    let app = house.app("lamps", false).await;
    let (lamp, _) = house.device(&app, "lamp").await;
    let (fan, _) = house.device(&app, "fan").await;
    let begin = tokio::time::Instant::now();
    house.fleet.on_event(&opened(lamp, "mqtt", 1, 10));
    assert_eq!(written.recv().await.unwrap(), [lamp]);
    for at in 0..50 {
        house.fleet.on_event(&closed(fan, "gone", at));
        house.fleet.on_event(&opened(fan, "mqtt", 1, at));
    }
    assert_eq!(written.recv().await.unwrap(), [fan], "fifty changes, one write");
    assert!(begin.elapsed() >= Duration::from_secs(1), "on the paused clock");
    house.fleet.close().await.unwrap();
    assert!(written.try_recv().is_err(), "nothing was left to write");
}

#[tokio::test]
async fn knocks_are_remembered_newest_first_and_no_longer_than_a_page() {
    let house = House::new().await;
    for i in 0..limits::KNOCKS_MAX as i64 + 5 {
        let claim = format!("{i} {}", "灯".repeat(1000));
        let knock = Event::Knocked {
            protocol: "mqtt",
            remote: remote(1),
            claim,
            device: None,
            refusal: Refusal::BadCredentials,
            at: UnixMs(i),
        };
        house.fleet.on_event(&knock);
    }
    let knocks = house.fleet.knocks();
    assert_eq!(knocks.len(), limits::KNOCKS_MAX);
    assert_eq!((knocks[0].at.0, knocks[0].reason.as_str()), (204, "unknown device id or wrong secret"));
    assert!(knocks.is_sorted_by(|a, b| a.at > b.at));
    assert!(knocks[0].claim.starts_with("204 灯") && knocks[0].claim.len() <= limits::KNOCK_CLAIM_BYTES_MAX);
}

#[tokio::test]
async fn a_device_that_asks_is_told_the_time() {
    let mut house = House::new().await;
    let app = house.app("lamps", false).await;
    let (lamp, _) = house.device(&app, "lamp").await;
    let up = |rest: &str, ticket| {
        let message = Message { source: Some(lamp), ..Message::new(Topic::of_device("lamp", rest), "?", UnixMs(1)) };
        Event::Up { device: lamp, message: Arc::new(message), ticket }
    };
    house.fleet.on_event(&up("data", None));
    house.fleet.on_event(&up("time/x", None));
    house.fleet.on_event(&up("time", Some(ticket(4))));
    assert!(matches!(house.said.try_recv(), Ok(Said::Published(to, Ok(()))) if to == ticket(4)));
    match house.said.try_recv() {
        Ok(Said::Publish(message)) => {
            assert_eq!(message.topic.as_str(), "dev/lamp/time");
            assert_eq!(&message.payload[..], b"1000000");
            assert_eq!(message.source, None);
        }
        other => panic!("{other:?}"),
    }
    assert!(house.said.try_recv().is_err(), "one answer, and none to what is not a question");
}
