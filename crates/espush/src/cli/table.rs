//! Tables for people: columns as wide as their widest cell, where a Chinese character counts as two.
//! Only the width rules that names, ids and sentences need; no borders, no colours.

/// Rows under a heading.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with its heading.
    pub fn new(heading: &[&str]) -> Table {
        Table { rows: vec![heading.iter().map(|cell| cell.to_string()).collect()] }
    }

    /// Adds a row. Control characters in a cell become `·`, so that what a device says cannot steer the terminal.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// Whether there is nothing under the heading.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

/// `text` without control characters.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

impl std::fmt::Display for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(widest).collect();
        for (i, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (cell, wide) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', wide - width(cell) + 2));
            }
            let end = if i + 1 == self.rows.len() { "" } else { "\n" };
            write!(out, "{}{end}", line.trim_end())?;
        }
        Ok(())
    }
}

/// How many terminal cells `text` fills.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

// The wide blocks of Unicode (East Asian Width W and F) and emoji, by block: exact enough to align
// what people write, in 20 lines instead of a table of thousands.
fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036F | 0x200B..=0x200F | 0x20D0..=0x20FF | 0xFE00..=0xFE0F | 0xFE20..=0xFE2F => 0,
        0x1100..=0x115F
        | 0x2E80..=0x303E
        | 0x3041..=0x33FF
        | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF
        | 0xA000..=0xA4CF
        | 0xA960..=0xA97F
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1F64F
        | 0x1F680..=0x1F6FF
        | 0x1F900..=0x1F9FF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_the_script() {
        let mut table = Table::new(&["ID", "NAME", "ON"]);
        table.row(vec!["lamp".into(), "客厅的灯".into(), "yes".into()]);
        table.row(vec!["fan-2".into(), "café".into(), "no".into()]);
        table.row(vec!["x".into(), "e\u{301}A".into(), "".into()]);
        assert_eq!(table.to_string(), "ID     NAME      ON\nlamp   客厅的灯  yes\nfan-2  café      no\nx      e\u{301}A");
    }

    #[test]
    fn what_a_device_says_does_not_steer_the_terminal() {
        let mut table = Table::new(&["SAID"]);
        table.row(vec!["\u{1b}[2Jgone\nnext".into()]);
        assert_eq!(table.to_string(), "SAID\n·[2Jgone·next");
    }

    #[test]
    fn widths() {
        assert_eq!(
            [width("abc"), width("灯"), width("한글"), width("ｱ"), width("💡"), width("Ａ"), width("")],
            [3, 2, 4, 1, 2, 2, 0]
        );
    }
}
