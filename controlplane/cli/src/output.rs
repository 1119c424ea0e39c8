//! Tables for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::args::Format;

/// Characters of a cell in a listing; the whole is in the JSON and in `get` of a single key.
const CELL_CHARS_MAX: usize = 100;

/// A row of a listing.
pub(crate) trait Row: Serialize {
    const HEADERS: &'static [&'static str];
    fn cells(&self) -> Vec<String>;
}

#[derive(Serialize)]
struct Listing<'a, T> {
    revision: i64,
    items: &'a [T],
}

/// Prints rows with the revision that they were read at.
pub(crate) fn listing<T: Row>(format: Format, revision: i64, items: &[T]) -> io::Result<()> {
    match format {
        Format::Json => json(&Listing { revision, items }),
        Format::Table => {
            let mut out = io::stdout().lock();
            out.write_all(table(items).as_bytes())?;
            writeln!(out, "({} at revision {revision})", counted(items.len(), "entry", "entries"))
        }
    }
}

/// Prints rows that are of no one revision.
pub(crate) fn items<T: Row>(format: Format, items: &[T]) -> io::Result<()> {
    match format {
        Format::Json => json(&serde_json::json!({ "items": items })),
        Format::Table => text(&table(items)),
    }
}

/// Prints a value as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

/// Prints a value as JSON on one line.
pub(crate) fn json_line<T: Serialize>(value: &T) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)
}

/// Prints one answer: an object for programs, a line for people.
pub(crate) fn answer(format: Format, object: &serde_json::Value, words: &str) -> io::Result<()> {
    match format {
        Format::Json => json_line(object),
        Format::Table => text(&format!("{words}\n")),
    }
}

/// Prints text as it is.
pub(crate) fn text(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

/// Rows under their headers, columns two spaces apart, the last one ragged.
pub(crate) fn table<T: Row>(items: &[T]) -> String {
    let header = T::HEADERS.iter().map(|header| (*header).to_owned()).collect();
    let mut lines: Vec<Vec<String>> = vec![header];
    lines.extend(items.iter().map(|item| item.cells().into_iter().map(cell).collect()));
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..T::HEADERS.len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut padded = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            padded.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}

/// What a cell shows: one line, cut when long, a dash when empty.
fn cell(text: String) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    let line = text.replace(|c: char| c.is_control(), " ");
    match line.char_indices().nth(CELL_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

/// "1 entry", "2 entries".
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Bytes as people read them.
pub(crate) fn bytes(count: i64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut size = count as f64;
    let mut unit = "B";
    for larger in UNITS {
        if size < 1_000.0 {
            break;
        }
        size /= 1_000.0;
        unit = larger;
    }
    if unit == "B" { format!("{count} B") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair(&'static str, &'static str);

    impl Row for Pair {
        const HEADERS: &'static [&'static str] = &["NAME", "VALUE"];
        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), self.1.to_owned()]
        }
    }

    #[test]
    fn columns_are_aligned_and_empty_cells_marked() {
        let text = table(&[Pair("a", "1"), Pair("longer-name", ""), Pair("", "two\nlines")]);
        assert_eq!(
            text,
            "NAME         VALUE\na            1\nlonger-name  -\n-            two lines\n"
        );
    }

    #[test]
    fn long_cells_are_cut() {
        assert_eq!(cell("é".repeat(200)).chars().count(), CELL_CHARS_MAX + 1);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(24_576), "24.6 kB");
        assert_eq!(bytes(3_200_000_000), "3.2 GB");
    }
}
