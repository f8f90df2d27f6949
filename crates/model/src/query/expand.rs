//! Groups: a query may name others, and what it means is found by putting theirs in their place. Where groups
//! are kept is the caller's to say. The result names none and is bounded like any query, only wider.

use super::{Expr, Query, Test};
use crate::limits;
use crate::twin::TwinPath;

/// Why groups could not be put in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// No group has that name.
    Unknown(String),
    /// Groups within groups go too deep, or in a circle.
    TooDeep,
    /// The whole has too many conditions.
    TooLong,
    /// The whole names too many streams and values of twins.
    TooManyStreams,
}

/// Where groups are found.
pub type Groups<'a> = dyn Fn(&str) -> Option<Query> + 'a;

impl Query {
    /// The groups that it names, each once.
    pub fn groups(&self) -> Vec<&str> {
        let mut names = Vec::new();
        collect(&self.expr, &mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The same with every group as what it stands for.
    pub fn expanded(self, groups: &Groups<'_>) -> Result<Query, GroupError> {
        if self.groups().is_empty() {
            return Ok(self);
        }
        let mut whole = Whole { streams: Vec::new(), twins: Vec::new(), tests: 0, groups };
        let expr = whole.take(self.expr, (&self.streams, &self.twins), 0)?;
        Ok(Query { expr, streams: whole.streams, twins: whole.twins })
    }
}

fn collect<'a>(expr: &'a Expr, names: &mut Vec<&'a str>) {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| collect(part, names)),
        Expr::Not(inner) => collect(inner, names),
        Expr::Test(Test::Group(name)) => names.push(name),
        Expr::Test(_) => {}
    }
}

/// What the tests of a query name by their places: streams, and values of twins.
type Named<'a> = (&'a [Box<str>], &'a [TwinPath]);

struct Whole<'a> {
    streams: Vec<Box<str>>,
    twins: Vec<TwinPath>,
    tests: usize,
    groups: &'a Groups<'a>,
}

impl Whole<'_> {
    /// `named` is by the query that `expr` is part of; `level` is how many groups are around it.
    fn take(&mut self, expr: Expr, named: Named<'_>, level: usize) -> Result<Expr, GroupError> {
        let all = |this: &mut Self, parts: Vec<Expr>| {
            parts.into_iter().map(|part| this.take(part, named, level)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match expr {
            Expr::And(parts) => Expr::and(all(self, parts)?),
            Expr::Or(parts) => Expr::or(all(self, parts)?),
            Expr::Not(inner) => Expr::Not(Box::new(self.take(*inner, named, level)?)),
            Expr::Test(Test::Group(name)) => {
                if level == limits::GROUP_LEVELS_MAX {
                    return Err(GroupError::TooDeep);
                }
                let group = (self.groups)(&name).ok_or_else(|| GroupError::Unknown(name.into()))?;
                self.take(group.expr, (&group.streams, &group.twins), level + 1)?
            }
            Expr::Test(test) => {
                self.tests += 1;
                if self.tests > limits::QUERY_EXPANDED_MAX {
                    return Err(GroupError::TooLong);
                }
                Expr::Test(match test {
                    Test::Data(place, reading) => Test::Data(self.stream(&named.0[place])?, reading),
                    Test::Twin(place, reading) => Test::Twin(self.twin(&named.1[place])?, reading),
                    other => other,
                })
            }
        })
    }

    fn stream(&mut self, name: &str) -> Result<usize, GroupError> {
        if let Some(place) = self.streams.iter().position(|known| **known == *name) {
            return Ok(place);
        }
        self.one_more()?;
        self.streams.push(name.into());
        Ok(self.streams.len() - 1)
    }

    fn twin(&mut self, path: &TwinPath) -> Result<usize, GroupError> {
        if let Some(place) = self.twins.iter().position(|known| known == path) {
            return Ok(place);
        }
        self.one_more()?;
        self.twins.push(path.clone());
        Ok(self.twins.len() - 1)
    }

    fn one_more(&self) -> Result<(), GroupError> {
        let full = self.streams.len() + self.twins.len() == limits::QUERY_STREAMS_MAX;
        if full { Err(GroupError::TooManyStreams) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, GroupError> {
        let groups = |name: &str| {
            let text = match name {
                "hot" => "data.temp > 30 or data.core > 80",
                "kitchen" => "tags has kitchen and app = 7",
                "hot kitchen" => "group = hot and group = kitchen",
                "round" => "group = round",
                "lit" => "twin.led = on and data.temp > 1",
                "wide" => "data.a > 1 or data.b > 1 or data.c > 1 or data.d > 1 or data.e > 1 or data.f > 1 or data.g > 1",
                "double" => "group = four or group = four or group = four or group = four",
                "four" => "group = sixteen or group = sixteen or group = sixteen or group = sixteen",
                "sixteen" => return Query::parse(&vec!["online"; 256].join(" and ")).ok(),
                _ => return None,
            };
            Query::parse(text).ok()
        };
        Query::parse(text).unwrap().expanded(&groups).map(|query| query.to_string())
    }

    #[test]
    fn a_group_is_what_it_stands_for() {
        let rows = [
            ("online", "online"),
            ("group = kitchen and online", "tags has \"kitchen\" and app = 7 and online"),
            ("not group = kitchen", "not (tags has \"kitchen\" and app = 7)"),
            ("group != kitchen", "not (tags has \"kitchen\" and app = 7)"),
            ("group in (kitchen) or online", "tags has \"kitchen\" and app = 7 or online"),
            ("data.x = 1 and group = hot", "data.x = 1 and (data.temp > 30 or data.core > 80)"),
            (
                "twin.x = 1 or group = lit and twin.led = off",
                "twin.x = 1 or twin.led = \"on\" and data.temp > 1 and twin.led = \"off\"",
            ),
            (
                "group = \"hot kitchen\" or data.core < 1",
                "(data.temp > 30 or data.core > 80) and tags has \"kitchen\" and app = 7 or data.core < 1",
            ),
        ];
        for (text, wanted) in rows {
            assert_eq!(expanded(text).as_deref(), Ok(wanted), "{text}");
        }
        assert_eq!(Query::parse("group in (a, b) and not group = a").unwrap().groups(), ["a", "b"]);
    }

    #[test]
    fn what_has_no_end_is_refused() {
        assert_eq!(expanded("group = none"), Err(GroupError::Unknown("none".into())));
        assert_eq!(expanded("group = round"), Err(GroupError::TooDeep));
        assert_eq!(expanded("group = wide and group = hot"), Err(GroupError::TooManyStreams));
        assert_eq!(expanded("group = wide and group = lit"), Err(GroupError::TooManyStreams));
        assert_eq!(
            expanded("group = four or group = four or group = four or group = four or group = four"),
            Err(GroupError::TooLong)
        );
    }
}
