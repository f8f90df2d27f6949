//! Medians as a Markdown table, rows in the order in which they first came.

use std::fmt;

pub struct Table {
    heads: Vec<String>,
    rows: Vec<(Vec<String>, Vec<Vec<f64>>)>,
}

impl Table {
    pub fn new(keys: &[&str], columns: &[&str]) -> Table {
        Table { heads: keys.iter().chain(columns).map(|head| (*head).to_owned()).collect(), rows: Vec::new() }
    }

    pub fn add(&mut self, keys: &[&str], figures: &[f64]) {
        assert_eq!(keys.len() + figures.len(), self.heads.len());
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        match self.rows.iter_mut().find(|row| row.0 == keys) {
            Some(row) => row.1.push(figures.to_vec()),
            None => self.rows.push((keys, vec![figures.to_vec()])),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "| {} |", self.heads.join(" | "))?;
        writeln!(out, "|{}", "---|".repeat(self.heads.len()))?;
        for (keys, rounds) in &self.rows {
            let figures = (0..self.heads.len() - keys.len()).map(|at| rounded(median(rounds.iter().map(|round| round[at]))));
            writeln!(out, "| {} |", keys.iter().cloned().chain(figures).collect::<Vec<_>>().join(" | "))?;
        }
        Ok(())
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = figures.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn rounded(figure: f64) -> String {
    if figure >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.1}") }
}
