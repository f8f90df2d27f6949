//! A query as text, with no more parentheses than it needs. What is printed reads back as the same query.

use std::fmt;

use super::{Compare, Expr, Moment, Query, Reading, Test, Whole, Words, lexer};
use crate::point::Value;

impl fmt::Display for Query {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr(out, &self.expr)
    }
}

/// `text` in quotes, as a query reads it back.
pub fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            shown.push('\\');
        }
        shown.push(c);
    }
    shown.push('"');
    shown
}

impl Query {
    fn expr(&self, out: &mut fmt::Formatter<'_>, expr: &Expr) -> fmt::Result {
        match expr {
            Expr::Or(parts) => self.joined(out, parts, " or ", |_| false),
            // An `and` directly within an `or` needs none, an `or` within an `and` does.
            Expr::And(parts) => self.joined(out, parts, " and ", |part| matches!(part, Expr::Or(_))),
            Expr::Not(inner) => {
                out.write_str("not ")?;
                self.part(out, inner, matches!(**inner, Expr::And(_) | Expr::Or(_)))
            }
            Expr::Test(test) => self.test(out, test),
        }
    }

    fn joined(&self, out: &mut fmt::Formatter<'_>, parts: &[Expr], word: &str, wrap: fn(&Expr) -> bool) -> fmt::Result {
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                out.write_str(word)?;
            }
            self.part(out, part, wrap(part))?;
        }
        Ok(())
    }

    fn part(&self, out: &mut fmt::Formatter<'_>, part: &Expr, wrap: bool) -> fmt::Result {
        if !wrap {
            return self.expr(out, part);
        }
        out.write_str("(")?;
        self.expr(out, part)?;
        out.write_str(")")
    }

    fn test(&self, out: &mut fmt::Formatter<'_>, test: &Test) -> fmt::Result {
        match test {
            Test::Truth(field) => out.write_str(field.name()),
            Test::Whole(field, Whole::Is(compare, number)) => write!(out, "{} {compare} {number}", field.name()),
            Test::Whole(field, Whole::In(numbers)) => list(out, field.name(), numbers.iter()),
            Test::Text(field, words) => write_words(out, field.name(), words),
            Test::Tag(tag) => write!(out, "tags has {}", quoted(tag)),
            Test::Group(name) => write!(out, "group = {}", quoted(name)),
            Test::Firmware(words) => write_words(out, "firmware", words),
            Test::Time(field, compare, moment) => write!(out, "{} {compare} {moment}", field.name()),
            Test::Data(stream, reading) => write_reading(out, &stream_name(&self.streams[*stream]), reading),
            Test::Twin(path, reading) => write_reading(out, &self.twins[*path].to_string(), reading),
            Test::Meta(name, reading) => write_reading(out, &format!("meta.{name}"), reading),
        }
    }
}

fn stream_name(name: &str) -> String {
    if !name.is_empty() && name.chars().all(lexer::is_word_char) {
        format!("data.{name}")
    } else {
        format!("data.{}", quoted(name))
    }
}

fn write_reading(out: &mut fmt::Formatter<'_>, name: &str, reading: &Reading) -> fmt::Result {
    match reading {
        Reading::Number(compare, number) => write!(out, "{name} {compare} {}", plain(*number)),
        Reading::Truth(compare, truth) => write!(out, "{name} {compare} {truth}"),
        Reading::Text(words) => write_words(out, name, words),
        Reading::In(values) => list(out, name, values.iter().map(value)),
    }
}

fn write_words(out: &mut fmt::Formatter<'_>, name: &str, words: &Words) -> fmt::Result {
    match words {
        Words::Is(compare, text) => write!(out, "{name} {compare} {}", quoted(text)),
        Words::In(texts) => list(out, name, texts.iter().map(|text| quoted(text))),
        Words::Starts(text) => write!(out, "{name} starts {}", quoted(text)),
        Words::Contains(text) => write!(out, "{name} contains {}", quoted(text)),
    }
}

fn list<T: fmt::Display>(out: &mut fmt::Formatter<'_>, name: &str, values: impl Iterator<Item = T>) -> fmt::Result {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    write!(out, "{name} in ({})", values.join(", "))
}

fn value(value: &Value) -> String {
    match value {
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => plain(*number),
        Value::Text(text) => quoted(text),
    }
}

/// A number as people write it.
fn plain(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 { format!("{number}") } else { format!("{number:?}") }
}

impl fmt::Display for Compare {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Compare::Equal => "=",
            Compare::Unequal => "!=",
            Compare::Less => "<",
            Compare::LessEqual => "<=",
            Compare::Greater => ">",
            Compare::GreaterEqual => ">=",
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Moment::At(at) => out.write_str(&at.rfc3339()),
            Moment::AgoMs(ms) => {
                let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
                let fitting = units.into_iter().find(|(unit_ms, _)| ms % unit_ms == 0);
                let (unit_ms, unit) = fitting.unwrap_or((1, "ms"));
                write!(out, "{}{unit} ago", ms / unit_ms)
            }
        }
    }
}
