//! Why the fleet could not do what was asked of it. The texts are shown to people and name the fix;
//! the code is the stable word that programs read.

use contract::store::StoreError;
use model::query::GroupError;
use model::{AppId, DeviceId, limits};

/// Why not.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FleetError {
    /// No app has that number.
    #[error("there is no app {0}; see the list of apps")]
    NoSuchApp(AppId),
    /// No device has that id.
    #[error("there is no device {0:?}; see the list of devices")]
    NoSuchDevice(String),
    /// No token has that number.
    #[error("there is no token {0}; see the list of tokens")]
    NoSuchToken(u64),
    /// No account has that number.
    #[error("there is no account {0}; see the list of accounts")]
    NoSuchAccount(u64),
    /// Nobody of that id knocked with the key of an app that takes no new devices.
    #[error("no device {0:?} has knocked with its app's key lately; see the list of knocks")]
    NoSuchKnock(String),
    /// No group has that name.
    #[error("there is no group {0:?}; see the list of groups")]
    NoSuchGroup(String),
    /// A group has that name.
    #[error("there is a group {0:?} already; choose another name, or change that one")]
    GroupTaken(String),
    /// A group would stand for itself.
    #[error("the group {0:?} would name itself, by way of the groups in its query")]
    GroupCircle(String),
    /// Other groups name it.
    #[error("the group {name:?} is named by others: {users}; change or delete those first")]
    GroupInUse {
        /// The group.
        name: String,
        /// Those that name it.
        users: String,
    },
    /// What groups stand for is too much for one query.
    #[error("{}", too_much(.0))]
    GroupsTooMuch(GroupError),
    /// The name cannot be an account's.
    #[error("{0:?} cannot be an account's name: 1 to {max} bytes, not digits alone, not \"token\", no + or # and no control characters",
        max = limits::NAME_BYTES_MAX)]
    BadAccountName(String),
    /// An account or a device has that name.
    #[error("an account or a device is called {0:?} already; choose another name, or delete the other first")]
    AccountNameTaken(String),
    /// A password chosen by the caller that is too short or too long.
    #[error("a password has 8 to {max} bytes; leave it out and one is made", max = limits::PASSWORD_BYTES_MAX)]
    BadPassword,
    /// A password hash of no known form.
    #[error("this is no password hash that is known here: $argon2id$…, or $7$… or $6$… from a Mosquitto password file")]
    BadPasswordHash,
    /// `anonymous` stands for those who show no credentials.
    #[error("anonymous is for clients without a password; make another account for those with one")]
    AnonymousPassword,
    /// The app number is in use.
    #[error("there is an app {0} already; choose another number, or leave it out and one is given")]
    AppIdTaken(AppId),
    /// The app number cannot be chosen.
    #[error("{0} cannot be an app's number: 1 to 2147483647; leave it out and one is given")]
    BadAppId(AppId),
    /// The id is in use.
    #[error("a device with the id {0} exists already; choose another id")]
    DeviceIdTaken(DeviceId),
    /// The id cannot be one.
    #[error("{0:?} cannot be a device id: 1 to {max} of A-Z a-z 0-9 . _ -, and not digits alone", max = limits::DEVICE_ID_BYTES_MAX)]
    BadDeviceId(String),
    /// The word means something else to a protocol.
    #[error("{0} is reserved; choose another device id")]
    ReservedDeviceId(DeviceId),
    /// `7-…` belongs to app 7: its app key would open it.
    #[error("an id that begins with {app}- belongs to app {app}; choose another id, or that app")]
    ForeignDeviceId {
        /// The app that the id speaks of.
        app: AppId,
    },
    /// A name, alias or token name that is none.
    #[error("a name has 1 to {max} bytes and no control characters", max = limits::NAME_BYTES_MAX)]
    BadName,
    /// A token name that the program uses for its own.
    #[error("the token name {0} is reserved; choose another")]
    ReservedTokenName(String),
    /// Tags that are none, or too many.
    #[error("a device has at most {} tags of 1 to {} bytes without control characters", limits::TAGS_MAX, limits::NAME_BYTES_MAX)]
    BadTags,
    /// Something written down that cannot be.
    #[error("{0}")]
    BadMeta(String),
    /// Too many different names for one table.
    #[error("the devices have more than {} different names in meta; export fewer of them at once", limits::META_COLUMNS_MAX)]
    ManyMetaNames,
    /// A setting that is not shaped like one.
    #[error("{0:?} is not a setting: write <protocol>.<name> in lower case, with a value of at most {max} bytes, {count} settings at most",
        max = limits::SETTING_BYTES_MAX, count = limits::SETTINGS_MAX)]
    BadSetting(String),
    /// A secret given by the caller that is too short or too long.
    #[error("a secret has 8 to 64 printable ASCII characters without blanks; leave it out and one is made")]
    BadSecret,
    /// An old secret that would work for too long.
    #[error("an old secret works beside the new one for at most {} days", limits::SECRET_OVERLAP_S_MAX / 86_400)]
    BadOverlap,
    /// A token that would be dead when it is born.
    #[error("the token would expire before now; give a later time")]
    BadExpiry,
    /// A cursor that did not come from this list.
    #[error("the cursor is not one that this list gave; start again without it")]
    BadCursor,
    /// The app still has devices.
    #[error("app {app} still has {devices} devices; delete them first")]
    AppHasDevices {
        /// The app.
        app: AppId,
        /// How many.
        devices: usize,
    },
    /// A limit of `model::limits` was reached.
    #[error("there are {max} {what} already, which is the limit; delete some first")]
    Limit {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A file beside the store could not be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn too_much(error: &GroupError) -> String {
    match error {
        GroupError::TooDeep => format!("groups within groups go at most {} deep", limits::GROUP_LEVELS_MAX),
        GroupError::TooManyStreams => {
            format!("with its groups the query names more than {} streams", limits::QUERY_STREAMS_MAX)
        }
        GroupError::TooLong => format!("with its groups the query has more than {} conditions", limits::QUERY_EXPANDED_MAX),
        GroupError::Unknown(name) => format!("there is no group {name:?}"),
    }
}

/// Whose trouble an error is, as an HTTP status tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for is not there (404).
    Missing,
    /// What was asked for cannot be (400).
    Invalid,
    /// It does not go with what is there (409).
    Conflict,
    /// It is our trouble (503).
    Ours,
}

impl FleetError {
    /// The stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            FleetError::NoSuchApp(_) => "no_such_app",
            FleetError::NoSuchDevice(_) => "no_such_device",
            FleetError::NoSuchToken(_) => "no_such_token",
            FleetError::NoSuchAccount(_) => "no_such_account",
            FleetError::NoSuchKnock(_) => "no_such_knock",
            FleetError::NoSuchGroup(_) => "no_such_group",
            FleetError::GroupTaken(_) => "group_taken",
            FleetError::GroupCircle(_) => "group_circle",
            FleetError::GroupInUse { .. } => "group_in_use",
            FleetError::GroupsTooMuch(_) => "groups_too_much",
            FleetError::BadAccountName(_) => "bad_account_name",
            FleetError::AccountNameTaken(_) => "account_name_taken",
            FleetError::BadPassword => "bad_password",
            FleetError::BadPasswordHash => "bad_password_hash",
            FleetError::AnonymousPassword => "anonymous_password",
            FleetError::AppIdTaken(_) => "app_id_taken",
            FleetError::BadAppId(_) => "bad_app_id",
            FleetError::DeviceIdTaken(_) => "device_id_taken",
            FleetError::BadDeviceId(_) => "bad_device_id",
            FleetError::ReservedDeviceId(_) => "reserved_device_id",
            FleetError::ForeignDeviceId { .. } => "foreign_device_id",
            FleetError::BadName => "bad_name",
            FleetError::ReservedTokenName(_) => "reserved_token_name",
            FleetError::BadTags => "bad_tags",
            FleetError::BadMeta(_) => "bad_meta",
            FleetError::ManyMetaNames => "too_many_columns",
            FleetError::BadSetting(_) => "bad_setting",
            FleetError::BadSecret => "bad_secret",
            FleetError::BadOverlap => "bad_overlap",
            FleetError::BadExpiry => "bad_expiry",
            FleetError::BadCursor => "bad_cursor",
            FleetError::AppHasDevices { .. } => "app_has_devices",
            FleetError::Limit { .. } => "limit_reached",
            FleetError::File { .. } => "file_failed",
            FleetError::Store(_) => "store_failed",
        }
    }

    /// Whose trouble it is.
    pub fn kind(&self) -> Kind {
        match self {
            FleetError::NoSuchApp(_)
            | FleetError::NoSuchDevice(_)
            | FleetError::NoSuchToken(_)
            | FleetError::NoSuchGroup(_)
            | FleetError::NoSuchKnock(_)
            | FleetError::NoSuchAccount(_) => Kind::Missing,
            FleetError::AppIdTaken(_)
            | FleetError::AccountNameTaken(_)
            | FleetError::GroupTaken(_)
            | FleetError::GroupInUse { .. }
            | FleetError::DeviceIdTaken(_)
            | FleetError::AppHasDevices { .. }
            | FleetError::Limit { .. } => Kind::Conflict,
            FleetError::File { .. } | FleetError::Store(_) => Kind::Ours,
            _ => Kind::Invalid,
        }
    }
}
