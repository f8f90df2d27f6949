//! Reads server-sent events off a stream, one at a time. Keeps what a reconnect needs (the last id) and
//! nothing else; comments only show that the line lives.

use std::io::{BufRead, Error, ErrorKind};

/// Longest line that is read: above anything the server sends, so that a wrong address cannot fill the memory.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name, `message` when it has none.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// A stream of events.
pub struct Events<R> {
    lines: R,
    /// The last id seen, for `Last-Event-ID`.
    pub last_id: Option<String>,
}

impl<R: BufRead> Events<R> {
    /// Reads from `lines`; `last_id` is what an earlier stream ended with.
    pub fn new(lines: R, last_id: Option<String>) -> Events<R> {
        Events { lines, last_id }
    }

    /// The next event; `None` when the stream ended.
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        let mut event = Event::default();
        let mut has_data = false;
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if has_data {
                    return Ok(Some(event));
                }
                event = Event::default();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.last_id = Some(value.to_owned()),
                "event" => event.name = value.to_owned(),
                "data" => {
                    if has_data {
                        event.data.push('\n');
                    }
                    has_data = true;
                    event.data.push_str(value);
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<String>, Error> {
        let mut bytes = Vec::new();
        let read = std::io::Read::take(&mut self.lines, LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        if bytes.pop() != Some(b'\n') {
            return Err(Error::new(ErrorKind::InvalidData, "the stream broke in the middle of a line"));
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        String::from_utf8(bytes).map(Some).map_err(|_| Error::new(ErrorKind::InvalidData, "an event is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_the_standard_writes_them() {
        let text = ": hello\n\nid: 7\nevent: presence\ndata: {\"a\":\ndata: 1}\n\nid:8\r\ndata:x\r\n\r\nevent: empty\n\ndata: unfinished\n";
        let mut events = Events::new(text.as_bytes(), None);
        let first = events.next().unwrap().unwrap();
        assert_eq!(first, Event { name: "presence".into(), data: "{\"a\":\n1}".into() });
        assert_eq!(events.last_id.as_deref(), Some("7"));
        let second = events.next().unwrap().unwrap();
        assert_eq!((second.data.as_str(), events.last_id.as_deref()), ("x", Some("8")));
        assert_eq!(events.next().unwrap(), None, "an event without its empty line has not happened");
    }

    #[test]
    fn a_broken_stream_is_an_error_and_an_endless_line_ends() {
        assert!(Events::new("data: x".as_bytes(), None).next().is_err());
        let endless = std::io::BufReader::new(std::io::Read::take(std::io::repeat(b'x'), u64::MAX));
        assert!(Events::new(endless, None).next().is_err());
    }
}
