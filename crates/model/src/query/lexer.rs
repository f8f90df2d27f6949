//! Text into tokens, each with its place. A word is letters of any script, digits and `_ . - : + /`, so
//! that ids, versions, numbers and times need no quotes; what a word means depends on where it stands.

use super::Compare;
use super::error::QueryError;
use crate::limits;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A word as it was written.
    Word(String),
    /// A text in quotes, without them.
    Quoted(String),
    Compare(Compare),
    Open,
    Close,
    Comma,
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// The place of its first character, counted from 1.
    pub(crate) at: usize,
}

/// Whether a word may have it.
pub(crate) fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | ':' | '+' | '/')
}

/// All tokens; the last is [`Kind::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, QueryError> {
    if text.len() > limits::QUERY_BYTES_MAX {
        let what = format!("a query has at most {} bytes, this one {}", limits::QUERY_BYTES_MAX, text.len());
        return Err(QueryError::new(1, what).hint("give the devices tags and ask for those"));
    }
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut place = 0;
    while let Some(&c) = chars.get(place) {
        let at = place + 1;
        let next = chars.get(place + 1).copied();
        let (kind, long) = match (c, next) {
            (c, _) if c.is_whitespace() => {
                place += 1;
                continue;
            }
            ('(', _) => (Kind::Open, 1),
            (')', _) => (Kind::Close, 1),
            (',', _) => (Kind::Comma, 1),
            ('=', Some('=')) => return Err(QueryError::new(at, "`==` is not known here").hint("write `=`")),
            ('=', _) => (Kind::Compare(Compare::Equal), 1),
            ('!', Some('=')) => (Kind::Compare(Compare::Unequal), 2),
            ('<', Some('=')) => (Kind::Compare(Compare::LessEqual), 2),
            ('<', Some('>')) => return Err(QueryError::new(at, "`<>` is not known here").hint("write `!=`")),
            ('<', _) => (Kind::Compare(Compare::Less), 1),
            ('>', Some('=')) => (Kind::Compare(Compare::GreaterEqual), 2),
            ('>', _) => (Kind::Compare(Compare::Greater), 1),
            ('"' | '\'', _) => {
                let (text, long) = quoted(&chars[place..], at)?;
                (Kind::Quoted(text), long)
            }
            (c, _) if is_word_char(c) => {
                let word: String = chars[place..].iter().take_while(|c| is_word_char(**c)).collect();
                let long = word.chars().count();
                (Kind::Word(word), long)
            }
            (c, _) => return Err(stray(c, at)),
        };
        tokens.push(Token { kind, at });
        place += long;
    }
    tokens.push(Token { kind: Kind::End, at: chars.len() + 1 });
    Ok(tokens)
}

/// The text in quotes that `chars` begins with, and how many characters it takes.
fn quoted(chars: &[char], at: usize) -> Result<(String, usize), QueryError> {
    let mut text = String::new();
    let mut rest = chars.iter().enumerate().skip(1);
    while let Some((place, &c)) = rest.next() {
        match c {
            c if c == chars[0] => return Ok((text, place + 1)),
            '\\' => match rest.next() {
                Some((_, &c @ ('\\' | '"' | '\''))) => text.push(c),
                Some(_) => {
                    let what = "after \\ in a text in quotes comes \\ or a quote";
                    return Err(QueryError::new(at + place, what).hint("write \\\\ for \\ itself"));
                }
                None => break,
            },
            c => text.push(c),
        }
    }
    Err(QueryError::new(at, "the text in quotes does not end").hint(format!("close it with {}", chars[0])))
}

fn stray(c: char, at: usize) -> QueryError {
    let hint = match c {
        '&' => "write `and`",
        '|' => "write `or`",
        '!' => "write `not`",
        '“' | '”' | '„' | '‘' | '’' | '「' | '」' => "quotes are \"…\" or '…'",
        '（' | '）' => "parentheses are ( and )",
        '，' | '、' => "values are separated by ,",
        '＝' | '≠' | '≤' | '≥' | '＜' | '＞' => "the comparisons are = != < <= > >=",
        _ => "a value with such characters stands in quotes",
    };
    QueryError::new(at, format!("`{}` cannot stand here", c.escape_debug())).hint(hint)
}
