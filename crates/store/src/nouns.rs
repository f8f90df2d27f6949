//! Rows of the registry's tables as the nouns that they are.

use contract::store::{StoredAccount, StoredDevice, StoredGroup, StoredOldSecret, StoredToken};
use model::{
    Account, App, AppId, AppKey, Device, DeviceId, DeviceNumber, Meta, Peers, Presence, Role, Rules, TokenScopes, UnixMs,
};
use rusqlite::Row;

use crate::registry::APP_KEY;
use crate::seal::Seal;
use crate::trouble::{Outcome, damaged};

pub(crate) fn app(row: &Row<'_>, seal: &Seal) -> Outcome<App> {
    let id: u32 = row.get("id")?;
    let sealed: Vec<u8> = row.get("key")?;
    let bad = |what: &str| damaged(format_args!("{what} of app {id}"));
    Ok(App {
        id: AppId(id),
        key: seal
            .open(APP_KEY, id, &sealed)
            .as_deref()
            .and_then(AppKey::parse)
            .ok_or_else(|| bad("secret.key does not open the key"))?,
        name: row.get("name")?,
        open: row.get("open")?,
        single: row.get("single")?,
        peers: Peers::parse(&row.get::<_, String>("peers")?).ok_or_else(|| bad("unreadable peers"))?,
        settings: serde_json::from_str(&row.get::<_, String>("settings")?).map_err(|_| bad("unreadable settings"))?,
        created: UnixMs(row.get("created")?),
    })
}

pub(crate) fn device(row: &Row<'_>) -> Outcome<StoredDevice> {
    let number: u32 = row.get("number")?;
    let bad = |what: &str| damaged(format_args!("{what} of device {number}"));
    let presence = match row.get::<_, Option<bool>>("online")? {
        None => Presence::default(),
        Some(online) => Presence {
            online,
            since: row.get::<_, Option<i64>>("since")?.map(UnixMs),
            why: row.get("why")?,
            protocol: row.get("protocol")?,
            remote: row.get("remote")?,
        },
    };
    Ok(StoredDevice {
        device: Device {
            number: DeviceNumber(number),
            id: DeviceId::parse(&row.get::<_, String>("id")?).ok_or_else(|| bad("unreadable id"))?,
            app: AppId(row.get("app")?),
            name: row.get("name")?,
            alias: row.get("alias")?,
            // Where there is some, it is added when all is read.
            meta: Meta::new(),
            tags: serde_json::from_str(&row.get::<_, String>("tags")?).map_err(|_| bad("unreadable tags"))?,
            firmware: row.get("firmware")?,
            open: row.get("open")?,
            created: UnixMs(row.get("created")?),
        },
        secret_hash: row.get("secret_hash")?,
        presence,
    })
}

pub(crate) fn meta(row: &Row<'_>) -> Outcome<(DeviceNumber, Meta)> {
    let number: u32 = row.get("device")?;
    let meta = serde_json::from_str(&row.get::<_, String>("meta")?);
    Ok((DeviceNumber(number), meta.map_err(|_| damaged(format_args!("unreadable meta of device {number}")))?))
}

pub(crate) fn old_secret(row: &Row<'_>) -> Outcome<StoredOldSecret> {
    Ok(StoredOldSecret {
        device: DeviceNumber(row.get("device")?),
        hash: row.get("secret_hash")?,
        until: UnixMs(row.get("until")?),
    })
}

pub(crate) fn group(row: &Row<'_>) -> Outcome<StoredGroup> {
    Ok(StoredGroup { name: row.get("name")?, query: row.get("query")?, created: UnixMs(row.get("created")?) })
}

pub(crate) fn token(row: &Row<'_>) -> Outcome<StoredToken> {
    let id: i64 = row.get("id")?;
    let role = Role::parse(&row.get::<_, String>("role")?);
    Ok(StoredToken {
        id: u64::try_from(id).map_err(|_| damaged("a token's number is negative"))?,
        name: row.get("name")?,
        role: role.ok_or_else(|| damaged(format_args!("unknown role of token {id}")))?,
        hash: row.get("hash")?,
        created: UnixMs(row.get("created")?),
        expires: row.get::<_, Option<i64>>("expires")?.map(UnixMs),
        scopes: TokenScopes::of_words(row.get::<_, String>("scopes")?.split_whitespace())
            .map_err(|word| damaged(format_args!("unknown scope {word:?} of token {id}")))?,
        query: row.get("query")?,
        ended: row.get("ended")?,
    })
}

pub(crate) fn account(row: &Row<'_>) -> Outcome<StoredAccount> {
    let id: i64 = row.get("id")?;
    let bad = |what: &str| damaged(format_args!("{what} of account {id}"));
    let lines: Vec<String> = serde_json::from_str(&row.get::<_, String>("rules")?).map_err(|_| bad("unreadable rules"))?;
    Ok(StoredAccount {
        account: Account {
            id: u64::try_from(id).map_err(|_| bad("a negative number"))?,
            name: row.get("name")?,
            rules: Rules::parse(lines.iter().map(String::as_str)).map_err(|_| bad("unreadable rules"))?,
            created: UnixMs(row.get("created")?),
        },
        password_hash: row.get("password")?,
    })
}
