//! Whatever happens in whatever order: what is told follows the rules of a delivery's life, what was told
//! last is what is stored, and the hub never has a push twice.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::house::*;
use arbitrary::Unstructured;
use bytes::Bytes;
use contract::event::Change;
use contract::{Consumer, Event, Step};
use model::{DeliveryState, Order, PushId, Terms};
use push::{NewPush, Push};

/// What was done, as far as the checker must know.
enum Did {
    /// The hub gave a push back.
    Returned(PushId),
    /// The program is to be stopped.
    Stopped,
    Else,
}

/// One thing that the sender, the hub, the lamp or the time does.
async fn something(u: &mut Unstructured<'_>, world: &World, room: &Push) -> arbitrary::Result<Did> {
    let push = PushId(u.int_in_range(1..=6)?);
    match u.int_in_range(0..=12)? {
        0 | 1 => {
            let order = u.choose(&[Order::Message, Order::Ask, Order::Command { verb: "reboot".into() }])?.clone();
            let ttl_s = *u.choose(&[None, Some(0), Some(5), Some(60)])?;
            let collapse = u.choose(&[None, Some("a"), Some("b")])?.map(Into::into);
            let terms = Terms { collapse, ..Terms::default() };
            room.submit(NewPush { ttl_s, terms, ..new(order) }).await.unwrap();
        }
        2 => step(room, world, push, Step::Sent),
        3 => step(room, world, push, Step::Delivered),
        4 => step(room, world, push, Step::Applied(Bytes::from_static(b"done"))),
        5 => step(room, world, push, Step::Failed("no".into(), Bytes::new())),
        6 => {
            step(room, world, push, Step::Nobody { online: u.arbitrary()? });
            return Ok(Did::Returned(push));
        }
        7 => {
            step(room, world, push, Step::Lost);
            return Ok(Did::Returned(push));
        }
        8 => listening(room),
        9 => answer(room, world, &format!("answer/{push}"), "yes", 1),
        10 => drop(room.cancel(push).await.unwrap()),
        11 => tokio::time::advance(Duration::from_secs(u.int_in_range(1..=30)?)).await,
        _ if u.ratio(1, 3)? => room.on_event(&Event::DeviceChanged { device: LAMP, change: Change::Removed }),
        _ => return Ok(Did::Stopped),
    }
    // Else it waits, and is decided upon together with what follows.
    if u.arbitrary()? {
        room.flush().await;
    }
    Ok(Did::Else)
}

/// What the journal has told so far.
#[derive(Default)]
struct Checker {
    told: BTreeMap<u64, DeliveryState>,
    stored: BTreeMap<u64, DeliveryState>,
    given: BTreeMap<u64, usize>,
}

impl Checker {
    fn read(&mut self, journal: Vec<String>) {
        for line in journal {
            let words: Vec<&str> = line.split([' ', ':']).collect();
            let push: u64 = words[1].parse().unwrap();
            let state = || DeliveryState::parse(words[2]).unwrap();
            match words[0] {
                "create" => drop(self.stored.insert(push, DeliveryState::Queued)),
                "store" => drop(self.stored.insert(push, state())),
                "tell" => {
                    assert!(self.stored.contains_key(&push), "{push} was told and not stored");
                    if let Some(before) = self.told.insert(push, state()) {
                        assert!(before == state() || before.may_become(state()), "{push}: {before:?}, then {:?}", state());
                    }
                }
                "line" => {
                    assert_eq!(self.told[&push], DeliveryState::Queued, "{push} went out");
                    *self.given.entry(push).or_default() += 1;
                }
                _ => {}
            }
        }
    }
}

#[test]
fn the_rules_hold_in_any_order() {
    arbtest::arbtest(|u| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let mut room = world.room().await;
            let mut checker = Checker::default();
            let mut returned: BTreeMap<PushId, usize> = BTreeMap::new();
            let mut restarts = 0;
            for _ in 0..u.int_in_range(1..=40)? {
                match something(u, &world, &room).await? {
                    Did::Returned(push) => *returned.entry(push).or_default() += 1,
                    Did::Stopped => {
                        room.flush().await;
                        room = world.room().await;
                        restarts += 1;
                    }
                    Did::Else => {}
                }
            }
            room.flush().await;
            checker.read(world.take());
            assert_eq!(checker.told, checker.stored, "what was told last is what is stored");
            for (push, given) in checker.given {
                let returned = returned.get(&PushId(push)).copied().unwrap_or_default();
                assert!(given <= 1 + returned + restarts, "{push} was given {given} times and came back {returned} times");
            }
            Ok(())
        })
    });
}
