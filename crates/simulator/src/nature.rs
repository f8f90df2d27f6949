//! What clients are like, drawn from the seed: which level they speak, how long their sessions are kept, what
//! they publish and want, how they acknowledge.

use model::Qos;
use protocols::mqtt::codec::Level;

use crate::history::{KeepS, Who};
use crate::rng::Rng;

/// How a client acknowledges what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// At once.
    Prompt,
    /// After so many milliseconds on average.
    Late(u64),
    /// Not on this line.
    Never,
}

/// What a client is like.
#[derive(Clone, Debug)]
pub struct Nature {
    /// The level that it speaks.
    pub level: Level,
    /// How long it wants its session kept; 0 is not at all.
    pub keep_s: KeepS,
    /// How often it has its session forgotten when it comes back.
    pub forgets_percent: u64,
    /// The user name; the password is `secret`.
    pub user: String,
    /// The client id.
    pub client: String,
    /// Whether it is a device, and not a client of an account.
    pub is_device: bool,
    /// The longest silence that it promises.
    pub keep_alive_s: u16,
    /// How many deliveries it takes at once (5.0); 0 says nothing.
    pub receive_max: u16,
    /// Topic aliases that it takes (5.0).
    pub aliases: u16,
    /// Its will: QoS and delay.
    pub will: Option<(Qos, u32)>,
    /// Milliseconds between publishes; 0 for never.
    pub publish_ms: u64,
    /// Where it publishes.
    pub topics: Vec<String>,
    /// How.
    pub qos: Vec<Qos>,
    /// What it may want.
    pub filters: Vec<(String, Qos)>,
    /// How it acknowledges.
    pub acks: Acks,
    /// Milliseconds that something on its line takes on average.
    pub latency_ms: u64,
    /// Milliseconds that its lines last on average; 0 is for ever.
    pub line_ms: u64,
    /// Milliseconds that it stays away on average.
    pub away_ms: u64,
}

/// What the clients of a run share.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// How many publish.
    pub publishers: usize,
    /// Milliseconds between two publishes of a publisher.
    pub publish_ms: u64,
}

const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

impl Nature {
    /// The nature of client `who`.
    pub fn draw(who: Who, crowd: &Crowd, rng: &mut Rng) -> Nature {
        let five = rng.percent(50);
        let level = if five { Level::V5 } else { Level::V311 };
        let kept = rng.percent(70);
        let keep_s = match (kept, five) {
            (false, _) => 0,
            (true, true) if rng.percent(40) => rng.within(2, 90) as u32,
            (true, _) => u32::MAX,
        };
        let is_device = rng.percent(70);
        let publishes = who < crowd.publishers;
        let mut nature = Nature {
            level,
            keep_s,
            forgets_percent: if rng.percent(20) { 20 } else { 0 },
            user: if is_device { format!("d{who}") } else { "crowd".into() },
            client: if is_device { "board".into() } else { format!("client-{who}") },
            is_device,
            keep_alive_s: *rng.pick(&[0, 5, 10, 30]),
            receive_max: *rng.pick(&[0, 0, 1, 5, 100]),
            aliases: *rng.pick(&[0, 0, 3]),
            will: rng.percent(30).then(|| (*rng.pick(&QOS), if five { *rng.pick(&[0, 0, 3, 20]) } else { 0 })),
            publish_ms: 0,
            topics: Vec::new(),
            qos: vec![*rng.pick(&QOS), *rng.pick(&QOS[1..])],
            filters: Vec::new(),
            acks: *rng.pick(&[Acks::Prompt, Acks::Prompt, Acks::Prompt, Acks::Late(50), Acks::Late(3000), Acks::Never]),
            latency_ms: *rng.pick(&[1, 5, 30, 300]),
            line_ms: *rng.pick(&[0, 10_000, 40_000, 120_000]),
            away_ms: *rng.pick(&[100, 3000, 20_000]),
        };
        if publishes {
            nature.publish_ms = crowd.publish_ms;
            nature.topics = (0..2).map(|n| format!("t/{who}/{n}")).collect();
            nature.topics.push(format!("s/{who}"));
            nature.topics.extend((0..2).map(|n| format!("r/{who}/{n}")));
            if is_device {
                nature.topics.push("me/data".into());
            }
        }
        if !publishes || rng.percent(50) {
            nature.want(crowd, rng);
        }
        nature
    }

    fn want(&mut self, crowd: &Crowd, rng: &mut Rng) {
        let somebody = |rng: &mut Rng| rng.below(crowd.publishers as u64);
        for _ in 0..rng.within(1, 3) {
            let (one, qos) = (somebody(rng), *rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce]));
            let filter = match rng.below(20) {
                0..7 => format!("t/{one}/{}", rng.below(2)),
                7..10 => format!("t/{one}/#"),
                10..12 => format!("t/+/{}", rng.below(2)),
                12..15 => format!("r/{one}/+"),
                15..17 => "w/#".into(),
                _ => format!("s/{one}"),
            };
            self.add(filter, qos);
        }
        // A group is of kept sessions alone or of clean ones alone: what a clean one was given ends with it.
        if rng.percent(25) {
            let group = if self.keep_s > 0 { "kept" } else { "clean" };
            let filter = *rng.pick(&["s/+", "s/#"]);
            self.filters.retain(|(other, _)| !other.starts_with("s/"));
            self.filters.push((format!("$share/{group}/{filter}"), *rng.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce])));
        }
        if self.is_device && rng.percent(60) {
            self.add("me/push".into(), *rng.pick(&QOS));
        }
    }

    fn add(&mut self, filter: String, qos: Qos) {
        if self.filters.iter().all(|(known, _)| *known != filter) {
            self.filters.push((filter, qos));
        }
    }
}
