//! Tokens: what programs and browsers show to be let in. Kept as hashes only; the text is shown once, or
//! for the machine's own token stands in a file that only its owner may read.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use contract::store::{SecretHash, StoredToken};
use contract::{Close, Fault};
use model::{Party, PartyKey, Role, TokenScope, TokenScopes, UnixMs, limits, text};

use crate::meter::Meter;
use crate::secrets::{self, TOKEN_PREFIX};
use crate::{Fleet, FleetError};

/// The names that the program gives; nobody else may, so that one can see where a token came from.
pub(crate) const BROWSER: &str = "browser";
const LOCAL: &str = "local";
const BOOTSTRAP: &str = "bootstrap";

/// What a token may do within its role. The default takes nothing away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// What may be done.
    pub scopes: TokenScopes,
    /// Only at devices that this query fits; empty for all.
    pub query: String,
}

impl Grant {
    /// Whether nothing is taken away.
    pub fn is_whole(&self) -> bool {
        self.scopes.is_whole() && self.query.is_empty()
    }
}

/// Who calls, once a token was found good.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token's number; `None` for the bootstrap token.
    pub token: Option<u64>,
    /// The token's name, for logs and for the sender of a push.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// What of that it may do.
    pub grant: Arc<Grant>,
    /// When it stops working.
    pub expires: Option<UnixMs>,
    /// How much it asks.
    pub meter: Arc<Meter>,
}

impl Caller {
    /// What its role comes to where this scope is what counts.
    pub fn role_within(&self, scope: TokenScope) -> Role {
        if self.grant.scopes.allow(scope) { self.role } else { Role::Viewer }
    }
}

/// A token as it is shown: never the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created: UnixMs,
    /// When it stops working.
    pub expires: Option<UnixMs>,
    /// What it may do within its role.
    pub grant: Arc<Grant>,
}

/// A token just made, with the text that is shown this once.
#[derive(Clone)]
pub struct NewToken {
    /// The token as it is shown from now on.
    pub view: TokenView,
    /// `espush_…`.
    pub token: String,
}

/// All tokens.
pub(crate) struct Tokens {
    by_hash: HashMap<SecretHash, Kept>,
    last: u64,
    bootstrap: Option<SecretHash>,
    bootstrap_meter: Arc<Meter>,
}

struct Kept {
    id: u64,
    name: Arc<str>,
    role: Role,
    created: UnixMs,
    expires: Option<UnixMs>,
    grant: Arc<Grant>,
    meter: Arc<Meter>,
    /// It has run out, and its lines were ended.
    ended: bool,
}

impl Kept {
    fn alive(&self, now: UnixMs) -> bool {
        !self.ended && self.expires.is_none_or(|expires| now < expires)
    }

    /// As it is kept once it has run out.
    fn ended(&self, hash: SecretHash) -> StoredToken {
        StoredToken {
            id: self.id,
            name: self.name.to_string(),
            role: self.role,
            hash,
            created: self.created,
            expires: self.expires,
            scopes: self.grant.scopes,
            query: self.grant.query.clone(),
            ended: true,
        }
    }

    fn view(&self) -> TokenView {
        let grant = Arc::clone(&self.grant);
        TokenView {
            id: self.id,
            name: self.name.to_string(),
            role: self.role,
            created: self.created,
            expires: self.expires,
            grant,
        }
    }
}

impl Tokens {
    pub(crate) fn new(stored: Vec<StoredToken>, last: u64, bootstrap: Option<String>) -> Tokens {
        let mut tokens = Tokens {
            by_hash: HashMap::new(),
            last,
            // An empty one is none: it must not let in whoever sends nothing.
            bootstrap_meter: Arc::default(),
            bootstrap: bootstrap.filter(|token| !token.is_empty()).map(|token| secrets::hash(token.as_bytes())),
        };
        stored.into_iter().for_each(|token| tokens.insert(token));
        tokens
    }

    fn insert(&mut self, token: StoredToken) {
        let StoredToken { id, name, role, hash, created, expires, scopes, query, ended } = token;
        let grant = Arc::new(Grant { scopes, query });
        let kept = Kept { id, name: name.into(), role, created, expires, grant, meter: Arc::default(), ended };
        self.by_hash.insert(hash, kept);
    }

    fn ids(&self, which: impl Fn(&Kept) -> bool) -> Vec<u64> {
        self.by_hash.values().filter(|kept| which(kept)).map(|kept| kept.id).collect()
    }
}

impl Fleet {
    /// Makes a token that may do all that its role may.
    pub async fn create_token(&self, name: &str, role: Role, expires: Option<UnixMs>) -> Result<NewToken, FleetError> {
        self.create_token_for(name, role, expires, Grant::default()).await
    }

    /// Makes a token. Its query was checked.
    pub async fn create_token_for(
        &self,
        name: &str,
        role: Role,
        expires: Option<UnixMs>,
        grant: Grant,
    ) -> Result<NewToken, FleetError> {
        if !text::is_name(name) {
            return Err(FleetError::BadName);
        }
        if [BROWSER, LOCAL, BOOTSTRAP].contains(&name) {
            return Err(FleetError::ReservedTokenName(name.to_owned()));
        }
        if expires.is_some_and(|expires| expires <= self.clock.unix()) {
            return Err(FleetError::BadExpiry);
        }
        self.mint(name, role, expires, grant).await
    }

    /// Whose token it is; `None` when it is unknown or has expired.
    pub fn check_token(&self, token: &str) -> Option<Caller> {
        let hash = secrets::hash(token.as_bytes());
        let tokens = self.tokens.read();
        if tokens.bootstrap.is_some_and(|bootstrap| secrets::same(&bootstrap, &hash)) {
            let meter = Arc::clone(&tokens.bootstrap_meter);
            let (grant, name) = (Arc::default(), BOOTSTRAP.into());
            return Some(Caller { token: None, name, role: Role::Owner, grant, expires: None, meter });
        }
        // Found by its hash: how long that takes tells nothing about any token.
        let kept = tokens.by_hash.get(&hash).filter(|kept| kept.alive(self.clock.unix()))?;
        Some(Caller {
            token: Some(kept.id),
            name: Arc::clone(&kept.name),
            role: kept.role,
            grant: Arc::clone(&kept.grant),
            expires: kept.expires,
            meter: Arc::clone(&kept.meter),
        })
    }

    /// Whether it is a token that has run out.
    pub fn has_expired(&self, token: &str) -> bool {
        let hash = secrets::hash(token.as_bytes());
        self.tokens.read().by_hash.get(&hash).is_some_and(|kept| !kept.alive(self.clock.unix()))
    }

    /// Who speaks by the token of that number; 0 is the bootstrap token.
    pub(crate) fn token_party(&self, id: u64) -> Option<Arc<Party>> {
        let tokens = self.tokens.read();
        if id == 0 {
            let bootstrap = Party::Token { id, name: BOOTSTRAP.into(), role: Role::Owner };
            return tokens.bootstrap.map(|_| Arc::new(bootstrap));
        }
        let kept = tokens.by_hash.values().find(|kept| kept.id == id && kept.alive(self.clock.unix()))?;
        // The broker knows no scopes: a token with less than its role is for the API alone.
        if !kept.grant.is_whole() {
            return None;
        }
        Some(Arc::new(Party::Token { id, name: Arc::clone(&kept.name), role: kept.role }))
    }

    /// All tokens by number, browsers included.
    pub fn tokens(&self) -> Vec<TokenView> {
        let now = self.clock.unix();
        let tokens = self.tokens.read();
        let mut views: Vec<TokenView> = tokens.by_hash.values().filter(|kept| kept.alive(now)).map(Kept::view).collect();
        views.sort_by_key(|view| view.id);
        views
    }

    /// Ends a token.
    pub async fn delete_token(&self, id: u64) -> Result<(), FleetError> {
        self.to_its_end(move |fleet| async move {
            let _turn = fleet.edits.lock().await;
            if fleet.tokens.read().ids(|kept| kept.id == id).is_empty() {
                return Err(FleetError::NoSuchToken(id));
            }
            fleet.forget_token(id).await
        })
        .await
    }

    /// The owner token of this machine: the text in `<data>/owner.token`, written (0600) when missing and
    /// made valid when it is not. Whoever may read that file may read the whole store beside it.
    pub async fn ensure_local_token(&self, data: &Path) -> Result<String, FleetError> {
        let path = data.join("owner.token");
        let token =
            local_token(&path).map_err(|error| FleetError::File { path: path.display().to_string(), why: error.to_string() })?;
        let text = token.clone();
        self.to_its_end(|fleet| async move {
            let _turn = fleet.edits.lock().await;
            let hash = secrets::hash(text.as_bytes());
            let is_it = |kept: &Kept| &*kept.name == LOCAL && kept.role == Role::Owner && kept.expires.is_none();
            if fleet.tokens.read().by_hash.get(&hash).is_some_and(is_it) {
                return Ok(());
            }
            let earlier = fleet.tokens.read().ids(|kept| &*kept.name == LOCAL);
            for id in earlier {
                fleet.forget_token(id).await?;
            }
            fleet.keep_token(LOCAL, Role::Owner, None, hash, Grant::default()).await.map(|_| ())
        })
        .await?;
        Ok(token)
    }

    /// Makes a token of any name.
    pub(crate) async fn mint(
        &self,
        name: &str,
        role: Role,
        expires: Option<UnixMs>,
        grant: Grant,
    ) -> Result<NewToken, FleetError> {
        let name = name.to_owned();
        self.to_its_end(move |fleet| async move {
            let _turn = fleet.edits.lock().await;
            let token = secrets::new_token();
            let view = fleet.keep_token(&name, role, expires, secrets::hash(token.as_bytes()), grant).await?;
            Ok(NewToken { view, token })
        })
        .await
    }

    /// With `edits` held. The dead are buried first, to make room; all of them, if there is none.
    async fn keep_token(
        &self,
        name: &str,
        role: Role,
        expires: Option<UnixMs>,
        hash: SecretHash,
        grant: Grant,
    ) -> Result<TokenView, FleetError> {
        let now = self.clock.unix();
        let full = self.tokens.read().by_hash.len() >= limits::TOKENS_MAX;
        self.bury_dead_tokens(if full { 0 } else { limits::TOKEN_REMEMBERED_S }).await?;
        let id = {
            let mut tokens = self.tokens.write();
            if tokens.by_hash.len() >= limits::TOKENS_MAX {
                return Err(FleetError::Limit { what: "tokens", max: limits::TOKENS_MAX });
            }
            tokens.last += 1;
            tokens.last
        };
        let Grant { scopes, query } = grant.clone();
        let token = StoredToken { id, name: name.to_owned(), role, hash, created: now, expires, scopes, query, ended: false };
        self.registry.put_token(token.clone()).await?;
        let view = TokenView { id, name: token.name.clone(), role, created: now, expires, grant: Arc::new(grant) };
        self.tokens.write().insert(token);
        Ok(view)
    }

    /// Ends the tokens that ran out, and the lines that came in with them.
    pub(crate) async fn end_dead_tokens(&self) -> Result<(), FleetError> {
        let _turn = self.edits.lock().await;
        self.bury_dead_tokens(limits::TOKEN_REMEMBERED_S).await
    }

    /// With `edits` held. They are remembered for so long.
    async fn bury_dead_tokens(&self, remembered_s: u64) -> Result<(), FleetError> {
        let now = self.clock.unix();
        let dead: Vec<StoredToken> = {
            let tokens = self.tokens.read();
            let dead = tokens.by_hash.iter().filter(|(_, kept)| !kept.alive(now) && !kept.ended);
            dead.map(|(hash, kept)| kept.ended(*hash)).collect()
        };
        for token in dead {
            let (id, hash) = (token.id, token.hash);
            self.registry.put_token(token).await?;
            if let Some(kept) = self.tokens.write().by_hash.get_mut(&hash) {
                kept.ended = true;
            }
            self.end_lines(id, "its token has expired");
        }
        let before = UnixMs(now.0.saturating_sub_unsigned(remembered_s * 1000));
        let dead = self.tokens.read().ids(|kept| kept.ended && kept.expires.is_none_or(|expires| expires <= before));
        for id in dead {
            self.forget_token(id).await?;
        }
        Ok(())
    }

    /// With `edits` held.
    async fn forget_token(&self, id: u64) -> Result<(), FleetError> {
        self.registry.delete_token(id).await?;
        self.tokens.write().by_hash.retain(|_, kept| kept.id != id);
        self.end_lines(id, "its token was removed");
        Ok(())
    }

    fn end_lines(&self, id: u64, why: &'static str) {
        self.line.kick(PartyKey::Token(id), Close { fault: Fault::Nobody, why: why.into() }, true);
    }

    /// The number of a browser's token.
    pub(crate) fn browser_token(&self, token: &str) -> Option<u64> {
        let hash = secrets::hash(token.as_bytes());
        self.tokens.read().by_hash.get(&hash).filter(|kept| &*kept.name == BROWSER).map(|kept| kept.id)
    }
}

/// The token in the file, or a new one written there.
fn local_token(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().strip_prefix(TOKEN_PREFIX).is_some_and(|rest| rest.len() == 43) => {
            // It may have been copied or restored with the mode of anything else.
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            return Ok(text.trim().to_owned());
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let token = secrets::new_token();
    let draft = path.with_extension("token.new");
    // A draft that was left behind may have another mode, and the mode counts only for a new file.
    let _ = fs::remove_file(&draft);
    let mut file: File = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(token)
}
