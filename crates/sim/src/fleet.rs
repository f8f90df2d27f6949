//! Many boards at once: who they are, where they connect, how their arrivals are spread, and how it all
//! ends. The boards of a fleet share nothing but their plan and the tally.

use std::sync::Arc;
use std::time::Duration;

use model::AppKey;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout};

use crate::espush::Espush;
use crate::line;
use crate::mqtt::Mqtt;
use crate::tally::{Counts, Tally};
use crate::wire::Wire;

/// How long the boards have to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often the caller is told the counts.
const REPORT: Duration = Duration::from_secs(1);

/// What the boards speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// MQTT 3.1.1.
    Mqtt,
    /// ES-PUSH classic, with an app key only.
    Espush,
}

/// Who the boards are.
#[derive(Clone)]
pub enum Who {
    /// They register themselves: `<app>-<chip>`, with chip ids counted up.
    App {
        /// The app's number.
        app: u32,
        /// The app's key, 32 hex characters.
        key: String,
        /// The chip id of the first board.
        first_chip: u32,
        /// How many boards.
        boards: u32,
    },
    /// Registered devices with their secrets, one board each. MQTT only.
    Devices(Vec<(String, String)>),
}

/// A fleet.
#[derive(Clone)]
pub struct Options {
    /// `host:port` of the listener that speaks `link`.
    pub server: String,
    /// What the boards speak.
    pub link: Link,
    /// Who they are.
    pub who: Who,
    /// How often each uploads LED and ADC; `None` is only after changes, so that idle boards cost nothing.
    pub upload_every: Option<Duration>,
    /// Over how long the boards' first connections are spread.
    pub spread: Duration,
    /// Where the ADCs begin; the same seed gives the same values.
    pub seed: u64,
}

impl Options {
    /// A fleet that connects at once and uploads every ten seconds.
    pub fn new(server: impl Into<String>, link: Link, who: Who) -> Options {
        let upload_every = Some(Duration::from_secs(10));
        Options { server: server.into(), link, who, upload_every, spread: Duration::ZERO, seed: 1 }
    }
}

/// What is wrong with a fleet's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The app key has another form.
    #[error("an app key has 32 hex characters")]
    AppKey,
    /// ES-PUSH has no login with device id and secret.
    #[error("ES-PUSH boards log in with an app id and its key; use --app and --key, or MQTT")]
    NeedsApp,
    /// Chip ids would pass their end.
    #[error("the chip ids end at 4294967295; begin lower or take fewer boards")]
    ChipIds,
    /// An id or secret that no MQTT field can carry.
    #[error("a device id or secret is longer than 65535 bytes")]
    TooLong,
}

/// The options, checked.
pub(crate) struct Plan {
    pub server: String,
    pub upload_every: Option<Duration>,
    pub seed: u64,
    link: Link,
    who: Who,
}

impl Plan {
    fn check(options: &Options) -> Result<Plan, OptionsError> {
        match &options.who {
            Who::App { key, first_chip, boards, .. } => {
                AppKey::parse(key).ok_or(OptionsError::AppKey)?;
                first_chip.checked_add(boards.saturating_sub(1)).ok_or(OptionsError::ChipIds)?;
            }
            Who::Devices(_) if options.link == Link::Espush => return Err(OptionsError::NeedsApp),
            Who::Devices(devices) => {
                let long = |text: &str| text.len() > usize::from(u16::MAX);
                if devices.iter().any(|(id, secret)| long(id) || long(secret)) {
                    return Err(OptionsError::TooLong);
                }
            }
        }
        Ok(Plan {
            server: options.server.clone(),
            upload_every: options.upload_every,
            seed: options.seed,
            link: options.link,
            who: options.who.clone(),
        })
    }

    fn boards(&self) -> u32 {
        match &self.who {
            Who::App { boards, .. } => *boards,
            Who::Devices(devices) => u32::try_from(devices.len()).unwrap_or(u32::MAX),
        }
    }

    /// A fresh client for board `index`.
    pub(crate) fn wire(&self, index: u32) -> Box<dyn Wire> {
        match (&self.who, self.link) {
            (Who::App { app, key, first_chip, .. }, Link::Mqtt) => {
                Box::new(Mqtt::new(app.to_string(), key.clone(), first_chip.wrapping_add(index).to_string()))
            }
            (Who::App { app, key, first_chip, .. }, Link::Espush) => {
                let key = key.as_bytes().first_chunk().copied().unwrap_or_default();
                Box::new(Espush::new(*app, key, first_chip.wrapping_add(index)))
            }
            (Who::Devices(devices), _) => {
                let (id, secret) = devices.get(index as usize).cloned().unwrap_or_default();
                Box::new(Mqtt::new(id.clone(), secret, format!("sim-{id}")))
            }
        }
    }
}

/// Runs the fleet until `stop` is done, then lets the boards say goodbye and returns what was counted.
/// `report` hears the counts every second. To drop the future ends everything at once as well.
///
/// A board that loses its line comes back by itself, so this returns early only for bad options. The
/// process needs a file descriptor per board (`ulimit -n`).
///
/// ```no_run
/// # async fn example() -> Result<(), sim::OptionsError> {
/// use sim::{Link, Options, Who};
/// let who = Who::Devices(vec![("lamp".into(), "its secret".into())]);
/// let stop = async { tokio::signal::ctrl_c().await.unwrap_or(()) };
/// sim::run(Options::new("127.0.0.1:1883", Link::Mqtt, who), stop, |counts| println!("{counts:?}")).await?;
/// # Ok(()) }
/// ```
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()>,
    mut report: impl FnMut(&Counts),
) -> Result<Counts, OptionsError> {
    let plan = Arc::new(Plan::check(&options)?);
    let tally = Arc::new(Tally::default());
    let (stopping, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut clock = interval(REPORT);
    let (begin, boards) = (Instant::now(), plan.boards());
    let mut next = 0;
    tokio::pin!(stop);
    loop {
        let due = begin + options.spread.mul_f64(f64::from(next) / f64::from(boards.max(1)));
        tokio::select! {
            biased;
            () = &mut stop => break,
            _ = clock.tick() => report(&tally.counts()),
            () = sleep_until(due), if next < boards => {
                tasks.spawn(line::play(plan.clone(), next, tally.clone(), stopped.clone()));
                next += 1;
            }
        }
    }
    stopping.send_replace(true);
    let goodbyes = async { while tasks.join_next().await.is_some() {} };
    if timeout(GOODBYE, goodbyes).await.is_err() {
        tasks.shutdown().await;
    }
    Ok(tally.counts())
}
