//! Reads `mosquitto.conf` as Mosquitto does: one `key value` a line, `#` in the first column is a
//! comment, the value is the rest of the line. `include_dir` brings in the `*.conf` of a directory in
//! the order of their names. Knows no keys.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Where it stands: `mosquitto.conf:12`.
    pub place: String,
    /// Its first word.
    pub key: String,
    /// The rest, without blanks around it.
    pub value: String,
}

impl Directive {
    /// The line as it is shown: a bridge's password is nobody's to read.
    pub fn shown(&self) -> String {
        let value = if self.key.ends_with("password") { "…" } else { &self.value };
        format!("{} {value}", self.key).trim_end().to_owned()
    }
}

/// All directives of a file and of what it includes.
pub fn read(path: &Path) -> anyhow::Result<Vec<Directive>> {
    let mut all = Vec::new();
    read_into(path, path.parent().unwrap_or(Path::new(".")), 0, &mut all)?;
    Ok(all)
}

/// A path of the configuration: as it stands, or beside the configuration file when it is not there
/// (a copy of `/etc/mosquitto` is read as well as the original).
pub fn locate(beside: &Path, value: &str) -> PathBuf {
    let path = PathBuf::from(value);
    if path.exists() {
        return path;
    }
    let near = [beside.join(&path), beside.join(path.file_name().unwrap_or_default())];
    near.into_iter().find(|near| near.exists()).unwrap_or(path)
}

fn read_into(path: &Path, root: &Path, depth: usize, all: &mut Vec<Directive>) -> anyhow::Result<()> {
    anyhow::ensure!(depth < 10, "{}: files that include each other without an end", path.display());
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    for (number, line) in String::from_utf8_lossy(&text).lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.trim_start().split_once(char::is_whitespace).unwrap_or((line.trim_start(), ""));
        let value = value.trim();
        if key == "include_dir" {
            let dir = locate(root, value);
            let files = std::fs::read_dir(&dir).with_context(|| format!("cannot read the include_dir {}", dir.display()))?;
            let mut files: Vec<PathBuf> = files.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
            files.retain(|file| file.extension().is_some_and(|ext| ext == "conf"));
            files.sort();
            for file in files {
                read_into(&file, root, depth + 1, all)?;
            }
            continue;
        }
        let place = format!("{}:{}", path.display(), number + 1);
        all.push(Directive { place, key: key.to_owned(), value: value.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_included_files_come_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        write(
            "mosquitto.conf",
            "# comment\n\nlistener 1883  127.0.0.1\ninclude_dir /no/such/place/conf.d\nmax_queued_messages\t5\n",
        );
        write("conf.d/b.conf", "b 2\n");
        write("conf.d/a.conf", "  a with blanks in it  \n");
        write("conf.d/a.conf~", "nonsense\n");
        let all = read(&dir.path().join("mosquitto.conf")).unwrap();
        let pairs: Vec<(&str, &str)> = all.iter().map(|d| (d.key.as_str(), d.value.as_str())).collect();
        assert_eq!(
            pairs,
            [("listener", "1883  127.0.0.1"), ("a", "with blanks in it"), ("b", "2"), ("max_queued_messages", "5")]
        );
        assert!(all[3].place.ends_with("mosquitto.conf:5"), "{}", all[3].place);
        write("conf.d/a.conf", "include_dir conf.d\n");
        assert!(read(&dir.path().join("mosquitto.conf")).unwrap_err().to_string().contains("include each other"));
    }
}
