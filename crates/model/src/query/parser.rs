//! Tokens into a typed query, by recursive descent: `or` of `and` of `not` of a test or of parentheses.
//! Everything is checked here against the field it stands with, so that an error names its place.

use super::error::QueryError;
use super::field::{DATA, Field, META, NAMES, TWIN, meant};
use super::lexer::{Kind, Token, tokens};
use super::{Compare, Expr, Moment, Query, Reading, Test, Whole, Words};
use crate::limits;
use crate::meta::is_meta_name;
use crate::point::{Value, is_stream_name};
use crate::time::UnixMs;
use crate::twin::{TwinPart, TwinPath};

const WORDS: [&str; 9] = ["and", "or", "not", "in", "has", "starts", "contains", "true", "false"];

pub(super) fn parse(text: &str) -> Result<Query, QueryError> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0, values: 0, streams: Vec::new(), twins: Vec::new() };
    if parser.here().kind == Kind::End {
        return Err(QueryError::new(1, "the query is empty").hint("write what is asked of a device, such as `online`"));
    }
    let expr = parser.or()?;
    match &parser.here().kind {
        Kind::End => Ok(Query { expr, streams: parser.streams, twins: parser.twins }),
        Kind::Close => Err(QueryError::new(parser.here().at, "this `)` closes nothing")),
        _ => Err(QueryError::new(parser.here().at, format!("{} cannot follow here", parser.shown()))
            .hint("join conditions with `and` or `or`; a value of several words stands in quotes")),
    }
}

/// What a field is asked with.
#[derive(Clone, Copy, PartialEq)]
enum Operator {
    Compare(Compare),
    In,
    Has,
    Starts,
    Contains,
}

/// A value as it was written.
struct Literal {
    text: String,
    quoted: bool,
    at: usize,
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    values: usize,
    streams: Vec<Box<str>>,
    twins: Vec<TwinPath>,
}

impl Parser {
    fn here(&self) -> &Token {
        &self.tokens[self.next]
    }

    /// Goes on; the end is never passed.
    fn take(&mut self) -> Token {
        let token = self.tokens[self.next].clone();
        if token.kind != Kind::End {
            self.next += 1;
        }
        token
    }

    /// Whether a keyword stands here; it is passed then. Upper and lower case are alike.
    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(&self.here().kind, Kind::Word(here) if here.eq_ignore_ascii_case(word));
        self.next += usize::from(found);
        found
    }

    fn shown(&self) -> String {
        match &self.here().kind {
            Kind::Word(word) => format!("`{word}`"),
            Kind::Quoted(text) => format!("`{}`", super::quoted(text)),
            Kind::Compare(compare) => format!("`{compare}`"),
            Kind::Open => "`(`".to_owned(),
            Kind::Close => "`)`".to_owned(),
            Kind::Comma => "`,`".to_owned(),
            Kind::End => "the end".to_owned(),
        }
    }

    fn deeper(&mut self, at: usize) -> Result<(), QueryError> {
        self.depth += 1;
        if self.depth > limits::QUERY_DEPTH_MAX {
            let what = format!("parentheses and `not` go at most {} deep", limits::QUERY_DEPTH_MAX);
            return Err(QueryError::new(at, what));
        }
        Ok(())
    }

    fn or(&mut self) -> Result<Expr, QueryError> {
        let mut parts = vec![self.and()?];
        while self.keyword("or") {
            parts.push(self.and()?);
        }
        Ok(Expr::or(parts))
    }

    fn and(&mut self) -> Result<Expr, QueryError> {
        let mut parts = vec![self.not()?];
        while self.keyword("and") {
            parts.push(self.not()?);
        }
        Ok(Expr::and(parts))
    }

    fn not(&mut self) -> Result<Expr, QueryError> {
        let at = self.here().at;
        if self.keyword("not") {
            self.deeper(at)?;
            let inner = self.not()?;
            self.depth -= 1;
            return Ok(Expr::Not(Box::new(inner)));
        }
        if self.here().kind != Kind::Open {
            return self.test();
        }
        self.take();
        self.deeper(at)?;
        let inner = self.or()?;
        if self.here().kind != Kind::Close {
            let what = format!("`)` is missing: the `(` at character {at} is open, and {} follows", self.shown());
            return Err(QueryError::new(self.here().at, what));
        }
        self.take();
        self.depth -= 1;
        Ok(inner)
    }

    fn test(&mut self) -> Result<Expr, QueryError> {
        let start = self.take();
        let name = match start.kind {
            Kind::Word(word) => word,
            kind => {
                self.next -= usize::from(kind != Kind::End);
                let what = format!("a condition begins with a field, not with {}", self.shown());
                let error = QueryError::new(start.at, what);
                return Err(match kind {
                    Kind::Quoted(text) => error.hint(format!("did you mean `id = {}`?", super::quoted(&text))),
                    _ => error.hint(format!("the fields are {NAMES}")),
                });
            }
        };
        let quoted_stream = match &self.here().kind {
            Kind::Quoted(stream) if name == DATA => Some(stream.clone()),
            _ => None,
        };
        self.next += usize::from(quoted_stream.is_some());
        let stream = quoted_stream.as_deref().or_else(|| name.strip_prefix(DATA));
        let field = match stream {
            Some(stream) if is_stream_name(stream) => Field::Data(stream),
            Some(_) => {
                let what = format!(
                    "`{DATA}` is followed by the name of a stream: 1 to {} bytes, no + and no #",
                    limits::STREAM_BYTES_MAX
                );
                return Err(QueryError::new(start.at, what).hint("such as `data.temp > 30`, or `data.\"room temp\" > 30`"));
            }
            None => match (name.strip_prefix(TWIN), name.strip_prefix(META)) {
                (Some(members), _) => Field::Twin(self.twin_path(members, start.at)?),
                (None, Some(own)) if is_meta_name(own) => Field::Meta(own),
                (None, Some(_)) => {
                    let max = limits::META_NAME_BYTES_MAX;
                    let what = format!("`{META}` is followed by a name: 1 to {max} bytes of letters, digits, _ . -");
                    return Err(QueryError::new(start.at, what).hint("such as `meta.room = \"B 12\"`"));
                }
                (None, None) if name == TWIN.trim_end_matches('.') => return Err(no_path(start.at)),
                (None, None) => Field::named(&name).ok_or_else(|| self.unknown(&name, start.at))?,
            },
        };
        self.values += 1;
        self.count(start.at)?;
        if let Field::Truth(truth) = field
            && !matches!(self.here().kind, Kind::Compare(_))
        {
            return Ok(Expr::Test(Test::Truth(truth)));
        }
        let at = self.here().at;
        let negated = self.keyword("not");
        let operator = self.operator(&field, &name)?;
        let test = self.typed(&field, &name, operator, at)?;
        if !negated {
            return Ok(test);
        }
        self.deeper(at)?;
        self.depth -= 1;
        Ok(Expr::Not(Box::new(test)))
    }

    /// The way to a value of the twin: names joined by dots, those with other characters in quotes.
    fn twin_path(&mut self, members: &str, at: usize) -> Result<TwinPath, QueryError> {
        // Whether each was in quotes: then it is a member's name in any case.
        let mut names: Vec<(Box<str>, bool)> = Vec::new();
        let mut word = members.to_owned();
        loop {
            let quoted = match &self.here().kind {
                Kind::Quoted(text) if word.is_empty() || word.ends_with('.') => Some(text.clone()),
                _ => None,
            };
            let plain = if quoted.is_some() { word.strip_suffix('.').unwrap_or(&word) } else { &word };
            if !plain.is_empty() || quoted.is_none() {
                names.extend(plain.split('.').map(|name| (name.into(), false)));
            }
            let Some(quoted) = quoted else { break };
            self.take();
            names.push((quoted.into(), true));
            match &self.here().kind {
                Kind::Word(more) if more.starts_with('.') => word = more[1..].to_owned(),
                _ => break,
            }
            self.take();
        }
        let part = match names.first() {
            Some((name, false)) => TwinPart::parse(name),
            _ => None,
        };
        if part.is_some() {
            names.remove(0);
        }
        if names.is_empty() || names.iter().any(|(name, quoted)| name.is_empty() && !quoted) {
            return Err(no_path(at));
        }
        if names.len() > limits::TWIN_DEPTH_MAX {
            return Err(QueryError::new(at, format!("a twin is at most {} members deep", limits::TWIN_DEPTH_MAX)));
        }
        let members = names.into_iter().map(|(name, _)| name).collect();
        Ok(TwinPath { part: part.unwrap_or(TwinPart::Reported), members })
    }

    fn unknown(&self, name: &str, at: usize) -> QueryError {
        if let Some(word) = WORDS.iter().find(|word| name.eq_ignore_ascii_case(word)) {
            return QueryError::new(at, format!("`{word}` cannot stand here"))
                .hint("a condition is a field, an operator and a value");
        }
        let error = QueryError::new(at, format!("unknown field `{name}`"));
        let alone = matches!(&self.here().kind, Kind::End | Kind::Close)
            || matches!(&self.here().kind, Kind::Word(word) if ["and", "or"].iter().any(|w| word.eq_ignore_ascii_case(w)));
        match meant(name) {
            Some(field) if !field.starts_with(DATA) => error.hint(format!("did you mean `{field}`?")),
            _ if alone => error.hint(format!("did you mean `id = {}`?", super::quoted(name))),
            Some(stream) => error.hint(format!("did you mean `{stream}`?")),
            None => error.hint(format!("the fields are {NAMES}")),
        }
    }

    /// Each value is looked at for each device: there are not too many of them.
    fn count(&self, at: usize) -> Result<(), QueryError> {
        if self.values > limits::QUERY_VALUES_MAX {
            let what = format!("a query has at most {} values and conditions", limits::QUERY_VALUES_MAX);
            return Err(QueryError::new(at, what).hint("give the devices a tag and ask for it"));
        }
        Ok(())
    }

    fn operator(&mut self, field: &Field<'_>, name: &str) -> Result<Operator, QueryError> {
        let at = self.here().at;
        let found = match &self.here().kind {
            Kind::Compare(compare) => Some(Operator::Compare(*compare)),
            Kind::Word(word) => match word.to_ascii_lowercase().as_str() {
                "in" => Some(Operator::In),
                "has" => Some(Operator::Has),
                "starts" => Some(Operator::Starts),
                "contains" => Some(Operator::Contains),
                _ => None,
            },
            _ => None,
        };
        let Some(found) = found else {
            let what = format!("after `{name}` comes an operator, not {}", self.shown());
            return Err(QueryError::new(at, what).hint(format!("`{name}` goes with {}", field.operators())));
        };
        let suits = match (field, found) {
            (Field::Whole(_) | Field::Time(_), Operator::Compare(_)) | (Field::Whole(_), Operator::In) => true,
            (Field::Text(_) | Field::Truth(_) | Field::Group, Operator::Compare(compare)) => compare.is_equality(),
            (Field::Group, Operator::In) => true,
            (Field::Text(_), Operator::In | Operator::Starts | Operator::Contains) => true,
            (Field::Firmware | Field::Data(_) | Field::Meta(_) | Field::Twin(_), found) => found != Operator::Has,
            (Field::Tags, found) => found == Operator::Has,
            _ => false,
        };
        if !suits {
            let what = format!("`{name}` cannot be asked with {}", self.shown());
            let hint = match (field, found) {
                (Field::Tags, _) => "ask for one tag: `tags has \"kitchen\"`, joined with `and` or `or`".to_owned(),
                _ => format!("`{name}` goes with {}", field.operators()),
            };
            return Err(QueryError::new(at, what).hint(hint));
        }
        self.take();
        Ok(found)
    }

    fn typed(&mut self, field: &Field<'_>, name: &str, operator: Operator, at: usize) -> Result<Expr, QueryError> {
        let test = match field {
            Field::Whole(whole) => Test::Whole(
                *whole,
                match operator {
                    Operator::Compare(compare) => Whole::Is(compare, number(&self.literal(name)?, name)?),
                    _ => Whole::In(self.list(name)?.iter().map(|literal| number(literal, name)).collect::<Result<_, _>>()?),
                },
            ),
            Field::Text(text) => Test::Text(*text, self.words(name, operator)?),
            Field::Firmware => Test::Firmware(self.words(name, operator)?),
            Field::Group => return self.group(name, operator, at),
            Field::Tags => Test::Tag(self.literal(name)?.text.into()),
            Field::Time(time) => {
                let Operator::Compare(compare) = operator else { return Err(QueryError::new(at, "not an operator of times")) };
                Test::Time(*time, compare, self.moment(name)?)
            }
            Field::Truth(of) => {
                let literal = self.literal(name)?;
                let truth = truth(&literal).ok_or_else(|| {
                    QueryError::new(literal.at, format!("`{name}` is true or false"))
                        .hint(format!("write `{name}` or `not {name}`"))
                })?;
                if truth == (operator == Operator::Compare(Compare::Equal)) {
                    return Ok(Expr::Test(Test::Truth(*of)));
                }
                self.deeper(at)?;
                self.depth -= 1;
                return Ok(Expr::Not(Box::new(Expr::Test(Test::Truth(*of)))));
            }
            Field::Data(stream) => {
                let place = self.stream(stream, at)?;
                Test::Data(place, self.reading(name, operator)?)
            }
            Field::Twin(path) => {
                let place = self.twin(path, at)?;
                Test::Twin(place, self.reading(name, operator)?)
            }
            Field::Meta(own) => Test::Meta((*own).into(), self.reading(name, operator)?),
        };
        Ok(Expr::Test(test))
    }

    /// One form for all ways to ask: what it stands for is put in its place later.
    fn group(&mut self, name: &str, operator: Operator, at: usize) -> Result<Expr, QueryError> {
        let one = |literal: Literal| Expr::Test(Test::Group(literal.text.into()));
        // They print with a `not` or parentheses of their own, and every name with its field.
        self.deeper(at)?;
        self.deeper(at)?;
        self.depth -= 2;
        match operator {
            Operator::Compare(Compare::Unequal) => Ok(Expr::Not(Box::new(one(self.literal(name)?)))),
            Operator::Compare(_) => self.literal(name).map(one),
            _ => {
                let names = self.list(name)?;
                self.values += names.len() - 1;
                self.count(at)?;
                Ok(Expr::or(names.into_iter().map(one).collect()))
            }
        }
    }

    fn stream(&mut self, name: &str, at: usize) -> Result<usize, QueryError> {
        if let Some(place) = self.streams.iter().position(|known| **known == *name) {
            return Ok(place);
        }
        self.one_more(at)?;
        self.streams.push(name.into());
        Ok(self.streams.len() - 1)
    }

    fn twin(&mut self, path: &TwinPath, at: usize) -> Result<usize, QueryError> {
        if let Some(place) = self.twins.iter().position(|known| known == path) {
            return Ok(place);
        }
        self.one_more(at)?;
        self.twins.push(path.clone());
        Ok(self.twins.len() - 1)
    }

    fn one_more(&self, at: usize) -> Result<(), QueryError> {
        if self.streams.len() + self.twins.len() == limits::QUERY_STREAMS_MAX {
            let what = format!("a query names at most {} streams and values of twins", limits::QUERY_STREAMS_MAX);
            return Err(QueryError::new(at, what));
        }
        Ok(())
    }

    fn words(&mut self, name: &str, operator: Operator) -> Result<Words, QueryError> {
        Ok(match operator {
            Operator::Compare(compare) => Words::Is(compare, self.literal(name)?.text.into()),
            Operator::Starts => Words::Starts(self.literal(name)?.text.to_lowercase().into()),
            Operator::Contains => Words::Contains(self.literal(name)?.text.to_lowercase().into()),
            Operator::In | Operator::Has => Words::In(self.list(name)?.into_iter().map(|literal| literal.text.into()).collect()),
        })
    }

    fn reading(&mut self, name: &str, operator: Operator) -> Result<Reading, QueryError> {
        let compare = match operator {
            Operator::Compare(compare) => compare,
            Operator::In => return Ok(Reading::In(self.list(name)?.iter().map(value).collect())),
            other => return Ok(Reading::Text(self.words(name, other)?)),
        };
        let literal = self.literal(name)?;
        match value(&literal) {
            Value::Number(number) => Ok(Reading::Number(compare, number)),
            value if !compare.is_equality() => {
                let kind = if matches!(value, Value::Bool(_)) { "a truth value" } else { "a text" };
                let what = format!("{kind} cannot be compared with {compare}");
                Err(QueryError::new(literal.at, what).hint("only numbers have an order; write them without quotes"))
            }
            Value::Bool(truth) => Ok(Reading::Truth(compare, truth)),
            Value::Text(text) => Ok(Reading::Text(Words::Is(compare, text.into()))),
        }
    }

    fn literal(&mut self, name: &str) -> Result<Literal, QueryError> {
        let Token { kind, at } = self.here().clone();
        let literal = match kind {
            Kind::Quoted(text) => Literal { text, quoted: true, at },
            Kind::Word(text) if !is_keyword(&text) => Literal { text, quoted: false, at },
            Kind::Word(word) => {
                let what = format!("`{word}` is a word of the language and no value");
                return Err(QueryError::new(at, what).hint(format!("as a value it stands in quotes: {}", super::quoted(&word))));
            }
            _ => return Err(QueryError::new(at, format!("a value for `{name}` is missing; {} stands here", self.shown()))),
        };
        self.take();
        self.values += 1;
        self.count(at)?;
        Ok(literal)
    }

    fn list(&mut self, name: &str) -> Result<Vec<Literal>, QueryError> {
        if self.here().kind != Kind::Open {
            let what = format!("after `in` come values in parentheses, not {}", self.shown());
            return Err(QueryError::new(self.here().at, what).hint(format!("such as `{name} in (a, b)`")));
        }
        self.take();
        let mut values = vec![self.literal(name)?];
        loop {
            let Token { kind, at } = self.take();
            match kind {
                Kind::Close => return Ok(values),
                Kind::Comma => values.push(self.literal(name)?),
                kind => {
                    self.next -= usize::from(kind != Kind::End);
                    let what = format!("after a value of `in` comes `,` or `)`, not {}", self.shown());
                    return Err(QueryError::new(at, what));
                }
            }
        }
    }

    fn moment(&mut self, name: &str) -> Result<Moment, QueryError> {
        let literal = self.literal(name)?;
        let wrong = || {
            QueryError::new(literal.at, format!("`{}` is not a time", literal.text))
                .hint("a time is 2026-11-20T09:48:48Z, 2026-11-20, or a length of time ago such as `2h ago` (s, m, h, d)")
        };
        if let Some(ms) = length_ms(&literal.text) {
            return if self.keyword("ago") {
                Ok(Moment::AgoMs(ms))
            } else {
                Err(wrong().hint(format!("did you mean `{} ago`?", literal.text)))
            };
        }
        // Digits alone would be milliseconds, which nobody reads.
        let digits = literal.text.parse::<i64>().is_ok();
        let day = format!("{}T00:00:00Z", literal.text);
        let read = UnixMs::parse(&literal.text).or_else(|| UnixMs::parse(&day)).filter(|_| !digits);
        // An offset may lead out of the years that can be written.
        read.filter(|at| UnixMs::parse(&at.rfc3339()) == Some(*at)).map(Moment::At).ok_or_else(wrong)
    }
}

fn no_path(at: usize) -> QueryError {
    QueryError::new(at, "`twin.` is followed by the name of a member, and by more of them for a value further in")
        .hint("such as `twin.led = on`, `twin.desired.led = on`, or `twin.\"room 1\".temp > 30`")
}

fn is_keyword(word: &str) -> bool {
    // Not true and false: they are values.
    WORDS[..7].iter().any(|known| word.eq_ignore_ascii_case(known))
}

fn number(literal: &Literal, name: &str) -> Result<u32, QueryError> {
    literal.text.parse().map_err(|_| {
        QueryError::new(literal.at, format!("`{name}` is a whole number, not `{}`", literal.text))
            .hint(format!("such as `{name} = 7`"))
    })
}

fn truth(literal: &Literal) -> Option<bool> {
    match literal.text.to_ascii_lowercase().as_str() {
        _ if literal.quoted => None,
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A value of a point: a number or a truth value when it stands without quotes and can be read as one.
fn value(literal: &Literal) -> Value {
    if literal.quoted {
        return Value::Text(literal.text.clone());
    }
    // Words such as `inf` are texts, and so is a number that no point can have.
    let numeric = literal.text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    match literal.text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => Value::Number(number),
        _ => truth(literal).map_or_else(|| Value::Text(literal.text.clone()), Value::Bool),
    }
}

/// Milliseconds of `2h` and its like.
fn length_ms(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    text[..digits].parse::<i64>().ok()?.checked_mul(unit_ms)
}
