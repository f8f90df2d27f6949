//! Who may come in. A protocol says what the peer presented ([`Login`]); the gate (the fleet) answers
//! with an [`Admission`] or a [`Refusal`], at once when memory suffices, later through the ticket when
//! it must write first (a device that registers itself).

use std::net::SocketAddr;
use std::sync::Arc;

use model::app::ProtocolSettings;
use model::{AppId, AppKey, DeviceId, DeviceNumber, Party, PartyKey, Peers};

use crate::place::Ticket;

/// Characters of a claim that are told.
const CLAIM_CHARS_MAX: usize = 160;

/// What a peer presented to get in.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Nothing at all.
    Anonymous,
    /// A user name and a password: device id and secret, app id and key (then `client` is the chip id),
    /// or the word `token` and an API token.
    Password {
        /// The user name.
        user: String,
        /// The password. Bytes, because MQTT says so.
        password: Vec<u8>,
        /// The client id, which is the chip id when an app key is presented.
        client: String,
    },
    /// An app id, its key and a chip id: registers `<app>-<chip>` if the app allows it.
    AppKey {
        /// The app.
        app: u32,
        /// The key as it came, not yet checked for its form.
        key: String,
        /// The chip id in decimal.
        chip: String,
    },
    /// A chip id alone (ES-PUSH single-device registration): the app is ours to choose and to tell.
    Single {
        /// The chip id in decimal.
        chip: String,
    },
    /// A certificate that the listener has checked speaks for the device. It stands in where a peer
    /// presents nothing; no bytes of any peer ever become this login.
    Certified {
        /// The device's id, as the certificate's common name tells it.
        device: String,
    },
    /// The peer has proved that it knows the device's secret (SCRAM), against keys that the gate gave. No
    /// bytes of any peer ever become this login.
    Proved {
        /// The device's id.
        device: String,
        /// Its secret before the newest was proved.
        older: bool,
        /// Of the keys, see [`ScramKeys::stamp`].
        stamp: u64,
    },
    /// The house itself, at the inner end of a connection that the configuration told it to make. It needs
    /// no credentials, and so only a machine that was made for an outgoing connection may present it: no
    /// bytes of any peer ever become this login.
    Bridge {
        /// The bridge's name in the configuration.
        name: String,
    },
}

impl Login {
    /// Whom the peer claims to be, for logs and knocks: cut to a length that a list can show, since a
    /// stranger chose it. Never the password or key.
    pub fn claim(&self) -> String {
        let mut claim = self.whole_claim();
        if let Some((end, _)) = claim.char_indices().nth(CLAIM_CHARS_MAX) {
            claim.truncate(end);
            claim.push('…');
        }
        claim
    }

    /// The device that registers itself with this login, if the app and its key are right and the app takes new ones.
    pub fn newcomer(&self) -> Option<DeviceId> {
        match self {
            Login::AppKey { app, chip, .. } => DeviceId::of_chip(AppId(*app), chip),
            Login::Password { user, client, .. } if user.bytes().all(|b| b.is_ascii_digit()) => {
                DeviceId::of_chip(AppId(user.parse().ok()?), client)
            }
            _ => None,
        }
    }

    fn whole_claim(&self) -> String {
        match self {
            Login::Anonymous => "anonymous".to_owned(),
            Login::Password { user, client, .. } => format!("user {user:?}, client {client:?}"),
            Login::AppKey { app, chip, .. } => format!("app {app}, chip {chip:?}"),
            Login::Single { chip } => format!("chip {chip:?}"),
            Login::Certified { device } => format!("certificate of {device:?}"),
            Login::Proved { device, .. } => format!("proof of {device:?}"),
            Login::Bridge { name } => format!("bridge {name:?}"),
        }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Login({})", self.claim())
    }
}

/// What the gate says of one who may come in.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Who it is.
    pub party: Arc<Party>,
    /// The app's per-protocol settings; empty for tokens and anonymous clients.
    pub settings: Arc<ProtocolSettings>,
    /// Set for [`Login::Single`]: the app and key that the device is to use from now on.
    pub enrolled: Option<(AppId, AppKey)>,
    /// How many changes of credentials the gate had seen when it said so, for [`Gate::stands`].
    pub stamp: u64,
}

/// Why something was refused. One list for logins and for what parties ask later; each protocol has one
/// function from here to its wire code. The texts are shown to the owner and name the fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No user name where one is needed.
    #[error("no credentials; send device id and secret, or set auth.anonymous = true to open the broker")]
    NoCredentials,
    /// A device id that is not registered, or a wrong secret. One answer for both, so that ids cannot be probed.
    #[error("unknown device id or wrong secret")]
    BadCredentials,
    /// The device's owner has blocked it. Said only to one who has shown its secret.
    #[error("the device is blocked; `espush device unblock` lets it in again")]
    Blocked,
    /// Too many wrong passwords for an account from one address: for a while none is looked at.
    #[error("too many wrong passwords for this account from this address; wait a minute")]
    TooManyGuesses,
    /// An app id that does not exist, or a wrong key.
    #[error("unknown app id or wrong app key")]
    BadAppKey,
    /// The app does not let devices register themselves.
    #[error("the app does not accept new devices; adopt this one with `espush device adopt`, or open the app")]
    AppClosed,
    /// A chip or client id that cannot become part of a device id.
    #[error("the chip id is empty or has characters that a device id must not have")]
    BadChipId,
    /// Single-device registration without an app that takes such devices.
    #[error("no app takes devices without an app key; make one with single = true")]
    NoSingleApp,
    /// A client id that the protocol does not allow here.
    #[error("the client id is not usable")]
    BadClientId,
    /// Nobody is there who would get it.
    #[error("nobody is reached at this number now")]
    Unreachable,
    /// Whoever would get it does not read what waits already.
    #[error("as much as may waits at this number already")]
    Full,
    /// A topic or filter that the party may not use.
    #[error("not allowed on this topic")]
    NotAllowed,
    /// A malformed topic or filter, or one beyond our limits.
    #[error("invalid topic or filter")]
    BadTopic,
    /// A payload that the receiving room cannot read (a `me/data` that is not JSON, say).
    #[error("the payload does not have the form that this topic wants")]
    BadPayload,
    /// A limit of `model::limits` was reached.
    #[error("a limit was reached")]
    Quota,
    /// We cannot keep what was sent. Never the peer's fault.
    #[error("the server cannot keep it now")]
    Unavailable,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 16] = [
        Refusal::NoCredentials,
        Refusal::BadCredentials,
        Refusal::Blocked,
        Refusal::TooManyGuesses,
        Refusal::BadAppKey,
        Refusal::AppClosed,
        Refusal::BadChipId,
        Refusal::NoSingleApp,
        Refusal::BadClientId,
        Refusal::Unreachable,
        Refusal::Full,
        Refusal::NotAllowed,
        Refusal::BadTopic,
        Refusal::BadPayload,
        Refusal::Quota,
        Refusal::Unavailable,
    ];

    /// The stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Refusal::NoCredentials => "no_credentials",
            Refusal::BadCredentials => "bad_credentials",
            Refusal::Blocked => "blocked",
            Refusal::TooManyGuesses => "too_many_guesses",
            Refusal::BadAppKey => "bad_app_key",
            Refusal::AppClosed => "app_closed",
            Refusal::BadChipId => "bad_chip_id",
            Refusal::NoSingleApp => "no_single_app",
            Refusal::BadClientId => "bad_client_id",
            Refusal::Unreachable => "unreachable",
            Refusal::Full => "full",
            Refusal::NotAllowed => "not_allowed",
            Refusal::BadTopic => "bad_topic",
            Refusal::BadPayload => "bad_payload",
            Refusal::Quota => "quota",
            Refusal::Unavailable => "unavailable",
        }
    }
}

/// The gate's answer.
pub type Verdict = Result<Admission, Refusal>;

/// What a SCRAM-SHA-256 exchange with one user takes (RFC 5802): made from its secret, which does not go
/// along. For a user that does not exist there are keys too, which no proof fits.
#[derive(Clone)]
pub struct ScramKeys {
    /// The salt of this exchange.
    pub salt: [u8; 16],
    /// How often the password is hashed.
    pub iterations: u32,
    /// The hash of the client's key.
    pub stored_key: [u8; 32],
    /// The server's key.
    pub server_key: [u8; 32],
    /// The same two keys of the secret before the newest, while that works.
    pub older: Option<([u8; 32], [u8; 32])>,
    /// Our part of the nonce, fresh for each exchange.
    pub nonce: [u8; 18],
    /// How many changes of credentials the gate had seen when it made them: a proof of a secret that was replaced
    /// meanwhile counts for nothing.
    pub stamp: u64,
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ScramKeys(…)")
    }
}

/// A device as far as its address goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// Its id.
    pub id: DeviceId,
    /// Its app.
    pub app: AppId,
    /// Whom the app's devices may write to.
    pub peers: Peers,
}

/// Decides who may come in.
pub trait Gate: Send + Sync {
    /// `Some` when memory suffices. `None` when the gate must write first; it then answers by
    /// [`Line::decide`](crate::Line::decide) with the same ticket. Called on a shard: must not block.
    fn admit(&self, login: &Login, remote: SocketAddr, ticket: Ticket) -> Option<Verdict>;

    /// Whether an admission still counts, asked where its connection ends up: between the two it may have
    /// been on its way to another shard while its device was blocked or removed, or given a new secret.
    fn stands(&self, _: &Admission) -> Result<(), Refusal> {
        Ok(())
    }

    /// Who the owner of a session that was kept is now; `None` when there is no such party any more.
    fn party(&self, key: PartyKey) -> Option<Arc<Party>>;

    /// What is to be known of a device that sends to a number, or is sent to; `None` when there is no such
    /// device or it is blocked.
    fn addressee(&self, _: DeviceNumber) -> Option<Addressee> {
        None
    }

    /// The keys for a SCRAM exchange with `user`; always answered later, by [`Line::scram`](crate::Line::scram).
    fn scram(&self, user: &str, remote: SocketAddr, ticket: Ticket);
}
