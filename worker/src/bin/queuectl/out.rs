//! Output: tables and sentences for people, JSON for programs.

use std::io::Write;

use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, presets::NOTHING,
};
pub(crate) use common::words::{add, count, number};
use serde::Serialize;

/// Where a command's answer goes.
pub(crate) struct Out {
    pub(crate) json: bool,
    width: Option<u16>,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        let width = console::Term::stdout()
            .size_checked()
            .map(|(_, columns)| columns);
        Self { json, width }
    }

    /// Writes JSON if that was asked for, else what `tell` makes for people.
    pub(crate) fn answer<T: Serialize>(
        &self,
        value: &T,
        tell: impl FnOnce() -> String,
    ) -> std::io::Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(value)?
        } else {
            tell()
        };
        let mut stdout = std::io::stdout().lock();
        let written = writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush());
        match written {
            // Who reads has seen enough, e.g. `| head`.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// A table. What is too wide for the terminal is cut in the last column.
    pub(crate) fn table(&self, columns: &[Column], rows: Vec<Vec<String>>) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if let Some(width) = self.width {
            table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width);
        }
        if columns.iter().any(|column| !column.name.is_empty()) {
            table.set_header(columns.iter().map(|column| Cell::new(column.name)));
        }
        for cells in rows {
            let mut row = Row::from(cells);
            row.max_height(1);
            table.add_row(row);
        }
        table.set_truncation_indicator("…");
        for (at, column) in columns.iter().enumerate() {
            let last = at + 1 == columns.len();
            let may_shrink = last && column.alignment == CellAlignment::Left;
            let Some(made) = table.column_mut(at) else {
                continue;
            };
            made.set_padding((0, if last { 0 } else { 2 }));
            made.set_cell_alignment(column.alignment);
            if !may_shrink {
                made.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table.trim_fmt()
    }

    /// Cuts a text into lines that fit the terminal when they are indented by `indent`.
    pub(crate) fn wrap(&self, text: &str, indent: usize) -> String {
        wrap(text, indent, self.width)
    }
}

/// An error, for standard error; what follows its first line is indented.
pub(crate) fn complaint(error: &str) -> String {
    let width = console::Term::stderr().size_checked().map(|size| size.1);
    let error = format!("queuectl: {error}");
    let lines: Vec<_> = error.lines().map(|line| wrap(line, 2, width)).collect();
    lines.join("\n  ")
}

fn wrap(text: &str, indent: usize, width: Option<u16>) -> String {
    let width = usize::from(width.unwrap_or(u16::MAX)).saturating_sub(indent);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let long = word.chars().count();
        if used > 0 && used + 1 + long > width.max(20) {
            lines.push(String::new());
            used = 0;
        }
        let Some(line) = lines.last_mut() else { break };
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += long;
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    name: &'static str,
    alignment: CellAlignment,
}

/// A column of texts.
pub(crate) const fn text(name: &'static str) -> Column {
    Column {
        name,
        alignment: CellAlignment::Left,
    }
}

/// A column of numbers.
pub(crate) const fn numbers(name: &'static str) -> Column {
    Column {
        name,
        alignment: CellAlignment::Right,
    }
}

/// Words on one line without control characters: what stands in Redis must not steer a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The beginning of an identity, enough to tell workers apart.
pub(crate) fn short(worker: &str) -> String {
    clean(&worker.chars().take(8).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_cell_is_cut_in_the_last_column_alone() {
        let out = Out {
            json: false,
            width: Some(24),
        };
        let rows = vec![vec!["default-1042".to_owned(), "x".repeat(50)]];

        let table = out.table(&[text("ID"), text("ARGS")], rows);

        assert!(table.contains("default-1042  xxxx"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 24));
        assert!(table.ends_with('…'), "{table}");
    }
}
