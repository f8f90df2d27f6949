//! Password checks of broker accounts. One costs tens of milliseconds on purpose, so it never runs on a
//! shard: the gate answers later, a few checks run at a time, and as many wait as the limits say. Many
//! connections with the same password wait for one check, and how it ended is remembered for some
//! minutes: a fleet that shares an account comes back at once, and a board that keeps trying an old
//! password costs nothing and counts as no guess.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use contract::store::SecretHash;
use contract::{Refusal, Ticket, Verdict};
use model::{Millis, limits};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{Fleet, passwords, secrets};

/// Stands for a password in memory: with a salt of this run, so that it is of no use to anybody else.
type Proof = SecretHash;

/// The checks that wait and what is remembered of earlier ones.
pub(crate) struct Logins {
    inner: Mutex<Inner>,
    turns: Arc<Semaphore>,
    salt: [u8; 16],
}

#[derive(Default)]
struct Inner {
    /// Passwords checked, whether they were good, and until when that counts.
    known: HashMap<(u64, Proof), (bool, Millis)>,
    /// Who waits for which check.
    waiting: HashMap<(u64, Proof), Vec<(Ticket, IpAddr)>>,
    failed: HashMap<(u64, IpAddr), Failures>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u8,
    since: Millis,
}

impl Failures {
    fn counts(&self, now: Millis) -> bool {
        now < self.since.plus_s(limits::LOGIN_FAILURES_S)
    }
}

/// What is known of a password without checking it.
enum Known {
    Good,
    Refused(Refusal),
    /// A check was begun by this call.
    Begun,
    /// One was on its way already.
    Joined,
}

impl Logins {
    pub(crate) fn new() -> Logins {
        Logins {
            inner: Mutex::default(),
            turns: Arc::new(Semaphore::new(limits::PASSWORD_CHECKS_AT_ONCE_MAX)),
            salt: secrets::random(),
        }
    }

    fn proof(&self, password: &[u8]) -> Proof {
        secrets::hash(&[&self.salt, password].concat())
    }

    /// Forgets what was found of an account's passwords.
    pub(crate) fn forget(&self, account: u64) {
        self.inner.lock().known.retain(|(whose, _), _| *whose != account);
    }

    fn look(&self, key: (u64, Proof), place: IpAddr, ticket: Ticket, now: Millis) -> Known {
        let mut inner = self.inner.lock();
        match inner.known.get(&key).filter(|(_, until)| now < *until) {
            Some((true, _)) => return Known::Good,
            Some((false, _)) => return Known::Refused(Refusal::BadCredentials),
            None => {}
        }
        let failures = inner.failed.get(&(key.0, place)).filter(|failures| failures.counts(now));
        if failures.is_some_and(|failures| failures.count >= limits::LOGIN_FAILURES_MAX) {
            return Known::Refused(Refusal::TooManyGuesses);
        }
        if let Some(waiters) = inner.waiting.get_mut(&key) {
            if waiters.len() >= limits::PASSWORD_CHECK_WAITERS_MAX {
                return Known::Refused(Refusal::Unavailable);
            }
            waiters.push((ticket, place));
            return Known::Joined;
        }
        if inner.waiting.len() >= limits::PASSWORD_CHECKS_WAITING_MAX {
            return Known::Refused(Refusal::Unavailable);
        }
        inner.waiting.insert(key, vec![(ticket, place)]);
        Known::Begun
    }

    /// Notes how a check ended; gives back who waited for it. One against a password that was changed
    /// meanwhile says nothing about the one of now.
    fn checked(&self, key: (u64, Proof), good: bool, current: bool, now: Millis) -> Vec<Ticket> {
        let mut inner = self.inner.lock();
        let waiters = inner.waiting.remove(&key).unwrap_or_default();
        // Half of the room is for good ones, whatever strangers try.
        let room = if good { limits::PASSWORDS_REMEMBERED_MAX } else { limits::PASSWORDS_REMEMBERED_MAX / 2 };
        if inner.known.len() >= room {
            inner.known.retain(|_, (_, until)| now < *until);
        }
        if current && inner.known.len() < room {
            inner.known.insert(key, (good, now.plus_s(limits::PASSWORD_REMEMBERED_S)));
        }
        let places: HashSet<IpAddr> = waiters.iter().map(|(_, place)| *place).collect();
        for whose in places.into_iter().map(|place| (key.0, place)) {
            if good {
                inner.failed.remove(&whose);
                continue;
            }
            if inner.failed.len() >= limits::LOGIN_FAILURES_KEPT_MAX && !inner.failed.contains_key(&whose) {
                let oldest = inner.failed.iter().min_by_key(|(_, failures)| failures.since).map(|(whose, _)| *whose);
                oldest.map(|whose| inner.failed.remove(&whose));
            }
            let failures = inner.failed.entry(whose).or_insert(Failures { count: 0, since: now });
            if !failures.counts(now) {
                *failures = Failures { count: 0, since: now };
            }
            failures.count = failures.count.saturating_add(1);
        }
        waiters.into_iter().map(|(ticket, _)| ticket).collect()
    }
}

impl Fleet {
    /// The gate's question for an account by name; `None` when the answer follows by `Line::decide`.
    /// How long it takes tells a stranger which accounts exist; their names are no secret.
    pub(crate) fn by_password(&self, name: &str, password: &[u8], remote: SocketAddr, ticket: Ticket) -> Option<Verdict> {
        let id = {
            let accounts = self.accounts.read();
            match accounts.find(name) {
                Some(kept) if kept.has_password() => kept.id(),
                _ => return Some(Err(Refusal::BadCredentials)),
            }
        };
        // An empty one lets nobody in, not even where an imported file has its hash: as Mosquitto has it.
        if password.is_empty() || password.len() > limits::PASSWORD_BYTES_MAX {
            return Some(Err(Refusal::BadCredentials));
        }
        let key = (id, self.logins.proof(password));
        match self.logins.look(key, place_of(remote.ip()), ticket, self.clock.millis()) {
            Known::Good => Some(self.accounts.read().admission(id).ok_or(Refusal::BadCredentials)),
            Known::Refused(refusal) => Some(Err(refusal)),
            Known::Joined => None,
            Known::Begun => {
                let Some(fleet) = self.me.upgrade() else { return Some(Err(Refusal::Unavailable)) };
                self.runtime.spawn(fleet.check(key, password.to_vec()));
                None
            }
        }
    }

    /// Checks a password when its turn comes, and tells everybody who waits for it.
    async fn check(self: Arc<Self>, key: (u64, Proof), password: Vec<u8>) {
        let turns = Arc::clone(&self.logins.turns);
        let turn = turns.acquire().await;
        let mut hash = self.accounts.read().hash(key.0);
        let mut good = false;
        if let Some(kept) = hash.clone() {
            // A foreign hash that fits makes place for one of our own while the password is here.
            let work = move || {
                let parsed = passwords::Hash::parse(&kept);
                let good = parsed.as_ref().is_some_and(|parsed| parsed.fits(&password));
                let own = parsed.filter(|parsed| good && parsed.is_foreign()).map(|_| passwords::hash(&password));
                (good, own.map(|own| (kept, own)))
            };
            // Fails only when the runtime is ending; then nobody is let in any more.
            let (fits, own) = tokio::task::spawn_blocking(work).await.unwrap_or_default();
            good = fits;
            if let Some((imported, own)) = own {
                match self.replace_hash(key.0, imported, own).await {
                    Ok(replaced) => hash = replaced,
                    Err(error) => {
                        tracing::warn!(account = key.0, %error, "the imported password hash stays until the next login");
                    }
                }
            }
        }
        drop(turn);
        let (waiters, verdict) = {
            // Held until it is remembered: a password that is changed now is forgotten after that.
            let accounts = self.accounts.read();
            let current = hash.is_some() && accounts.hash(key.0) == hash;
            good = good && current;
            let verdict = accounts.admission(key.0).filter(|_| good).ok_or(Refusal::BadCredentials);
            (self.logins.checked(key, good, current, self.clock.millis()), verdict)
        };
        for ticket in waiters {
            self.line.decide(ticket, verdict.clone());
        }
    }
}

/// Where failures are counted: an address, or for IPv6 the network that one customer is given.
fn place_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}
