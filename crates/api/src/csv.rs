//! CSV (RFC 4180), both ways. Reading takes what spreadsheets write: a byte order mark, semicolons between the
//! fields where the first line has them, either end of line. Writing takes care that no spreadsheet takes a
//! text for a formula, and reading takes that care back.

/// A line of fields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where it begins, counted from 1.
    pub line: u64,
    pub fields: Vec<String>,
}

/// What is no CSV. Nothing after it can be trusted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub line: u64,
    pub why: &'static str,
}

/// Records of a text, one after the other; blank lines are none.
pub(crate) struct Reader<'a> {
    rest: &'a str,
    line: u64,
    between: char,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Reader<'a> {
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        let first = rest.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
        let between = if first.contains(';') && !first.contains(',') { ';' } else { ',' };
        Reader { rest, line: 1, between }
    }

    /// The next field, and whether it is the last of its record.
    fn field(&mut self) -> Result<(String, bool), Broken> {
        let begun = self.line;
        let mut field = String::new();
        if let Some(mut inside) = self.rest.strip_prefix('"') {
            loop {
                let Some(end) = inside.find('"') else {
                    return Err(Broken { line: begun, why: "a quote is opened here and never closed" });
                };
                field.push_str(&inside[..end]);
                inside = &inside[end + 1..];
                match inside.strip_prefix('"') {
                    Some(more) => (inside, ()) = (more, field.push('"')),
                    None => break,
                }
            }
            self.line += field.matches('\n').count() as u64;
            self.rest = inside;
        } else {
            let end = self.rest.find([self.between, '\n']).unwrap_or(self.rest.len());
            field.push_str(self.rest[..end].strip_suffix('\r').unwrap_or(&self.rest[..end]));
            self.rest = &self.rest[end..];
        }
        self.rest = match self.rest.strip_prefix(self.between) {
            Some(more) => {
                return Ok((field, {
                    self.rest = more;
                    false
                }));
            }
            None => self.rest.strip_prefix('\r').filter(|rest| rest.is_empty() || rest.starts_with('\n')).unwrap_or(self.rest),
        };
        if self.rest.is_empty() {
            return Ok((field, true));
        }
        match self.rest.strip_prefix('\n') {
            Some(more) => {
                (self.rest, self.line) = (more, self.line + 1);
                Ok((field, true))
            }
            None => {
                Err(Broken { line: self.line, why: "something follows a closing quote; a quote within quotes is written twice" })
            }
        }
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<Record, Broken>;

    fn next(&mut self) -> Option<Result<Record, Broken>> {
        while !self.rest.is_empty() {
            let line = self.line;
            let mut fields = Vec::new();
            loop {
                match self.field() {
                    Ok((field, last)) => {
                        fields.push(field);
                        if last {
                            break;
                        }
                    }
                    Err(broken) => {
                        self.rest = "";
                        return Some(Err(broken));
                    }
                }
            }
            if fields.iter().any(|field| !field.trim().is_empty()) {
                return Some(Ok(Record { line, fields }));
            }
        }
        None
    }
}

/// Whether a spreadsheet would take it for a formula, however many quotes stand before.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// A field, quoted where it must be; what could be a formula has a `'` in front.
pub(crate) fn field(text: &str) -> String {
    let safe = if is_formula(text) { format!("'{text}") } else { text.to_owned() };
    if safe.contains([',', ';', '"', '\r', '\n']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}

/// A field as it was before [`field`].
pub(crate) fn text(field: &str) -> &str {
    field.strip_prefix('\'').filter(|_| is_formula(field)).unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u64, Vec<String>)> {
        Reader::new(text).map(|record| record.map(|record| (record.line, record.fields)).unwrap()).collect()
    }

    fn row(line: u64, fields: &[&str]) -> (u64, Vec<String>) {
        (line, fields.iter().map(|field| (*field).to_owned()).collect())
    }

    #[test]
    fn what_spreadsheets_write_is_read() {
        assert_eq!(
            read("\u{feff}id,name\r\n\r\nlamp,\"Kitchen, \"\"big\"\"\nlamp\"\r\nfan,\n"),
            [row(1, &["id", "name"]), row(3, &["lamp", "Kitchen, \"big\"\nlamp"]), row(5, &["fan", ""]),]
        );
        assert_eq!(
            read("id;name\nlamp;\"a;b\"\nfan;a,b"),
            [row(1, &["id", "name"]), row(2, &["lamp", "a;b"]), row(3, &["fan", "a,b"])]
        );
        assert_eq!(read("\n \n,,\n"), []);
        assert_eq!(read("a,\"\"\"\""), [row(1, &["a", "\""])]);
    }

    #[test]
    fn what_is_broken_has_its_line_and_ends_the_file() {
        let mut reader = Reader::new("id\nlamp\n\"open\nx\n");
        assert!(reader.by_ref().take(2).all(|record| record.is_ok()));
        assert_eq!(reader.next().unwrap().unwrap_err().line, 3);
        assert_eq!(reader.next(), None);
        let mut reader = Reader::new("\"a\nb\"c,d\ne");
        assert_eq!(reader.next().unwrap().unwrap_err().line, 2);
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn no_field_is_a_formula_and_all_come_back() {
        for plain in [
            "",
            "lamp",
            "a-b",
            "灯",
            "=1+1",
            "-lamp",
            "+49",
            "@x",
            "'",
            "''",
            "'=x",
            "''@x",
            "a;b",
            "a,\"b\"",
            "two\nlines",
            "\tx",
        ] {
            let written = field(plain);
            assert!(!written.trim_start_matches('"').starts_with(['=', '+', '-', '@', '\t', '\r']), "{written}");
            let read = Reader::new(&format!("x,{written}\r\n")).next().unwrap().unwrap();
            assert_eq!(text(&read.fields[1]), plain);
        }
    }

    #[test]
    fn any_text_is_read_to_its_end() {
        arbtest::arbtest(|u| {
            let text: String = (0..u.int_in_range(0..=40)?)
                .map(|_| u.choose(&["a", ",", "\"", "\r", "\n", ";", "灯", "\u{feff}"]).copied())
                .collect::<Result<_, _>>()?;
            let lines = text.matches('\n').count() as u64 + 1;
            for record in Reader::new(&text) {
                let line = record.map_or_else(|broken| broken.line, |record| record.line);
                assert!((1..=lines).contains(&line), "{text:?}");
            }
            Ok(())
        });
    }
}
