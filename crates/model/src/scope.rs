//! Scopes: what a token may do within its role. A token without any may do all that its role may.

/// One kind of thing that is done through the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenScope {
    /// Look at devices, groups, apps and refused logins.
    DevicesRead,
    /// Register, change and remove them.
    DevicesWrite,
    /// Push, and see what became of it; schedules.
    Push,
    /// Read what devices uploaded.
    DataRead,
    /// Upload for them.
    DataWrite,
    /// Follow what happens, live.
    Events,
    /// Everything else: tokens, accounts, webhooks, the audit log.
    Admin,
}

impl TokenScope {
    /// All of them.
    pub const ALL: [TokenScope; 7] = [
        TokenScope::DevicesRead,
        TokenScope::DevicesWrite,
        TokenScope::Push,
        TokenScope::DataRead,
        TokenScope::DataWrite,
        TokenScope::Events,
        TokenScope::Admin,
    ];

    /// The scope of a word.
    pub fn parse(word: &str) -> Option<TokenScope> {
        TokenScope::ALL.into_iter().find(|scope| scope.as_str() == word)
    }

    /// The word for the scope.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenScope::DevicesRead => "devices:read",
            TokenScope::DevicesWrite => "devices:write",
            TokenScope::Push => "push",
            TokenScope::DataRead => "data:read",
            TokenScope::DataWrite => "data:write",
            TokenScope::Events => "events",
            TokenScope::Admin => "admin",
        }
    }
}

/// A set of scopes. The empty one, which tokens from before have, takes nothing away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenScopes(u8);

impl TokenScopes {
    /// Whether nothing is taken away.
    pub fn is_whole(self) -> bool {
        self.0 == 0
    }

    /// Whether this may be done.
    pub fn allow(self, scope: TokenScope) -> bool {
        self.is_whole() || self.0 & 1 << scope as u8 != 0
    }

    /// The set with one more.
    pub fn with(self, scope: TokenScope) -> TokenScopes {
        TokenScopes(self.0 | 1 << scope as u8)
    }

    /// Those that are in it by name.
    pub fn named(self) -> impl Iterator<Item = TokenScope> {
        TokenScope::ALL.into_iter().filter(move |scope| self.0 & 1 << *scope as u8 != 0)
    }

    /// The words with blanks between.
    pub fn to_words(self) -> String {
        self.named().map(TokenScope::as_str).collect::<Vec<_>>().join(" ")
    }

    /// The set of such words; the word that is none, if there is one.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<TokenScopes, &'a str> {
        words.into_iter().try_fold(TokenScopes::default(), |scopes, word| Ok(scopes.with(TokenScope::parse(word).ok_or(word)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_allows_what_is_in_it_and_the_empty_one_everything() {
        let whole = TokenScopes::default();
        assert!(whole.is_whole() && TokenScope::ALL.into_iter().all(|scope| whole.allow(scope)));
        for one in TokenScope::ALL {
            let only = TokenScopes::default().with(one);
            assert!(TokenScope::ALL.into_iter().all(|scope| only.allow(scope) == (scope == one)));
            assert_eq!(TokenScope::parse(one.as_str()), Some(one));
        }
        let some = TokenScopes::of_words("push data:read".split(' ')).unwrap();
        assert_eq!(some.to_words(), "push data:read");
        assert_eq!(TokenScopes::of_words(["push", "all"]), Err("all"));
        assert_eq!(TokenScopes::of_words("".split_whitespace()), Ok(TokenScopes::default()));
    }
}
