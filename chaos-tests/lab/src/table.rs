//! Tables for a terminal of 80 columns.

/// Width everything shown fits into.
pub const WIDTH: usize = 80;
/// Space left of every table.
const INDENT: usize = 2;

/// Rows of text cells under a head.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|c| (*c).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is no row under the head.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// Text of at most [`WIDTH`] columns: the widest columns are cut until it fits.
    #[must_use]
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let widest =
            |c: usize| self.rows.iter().filter_map(move |r| r.get(c)).map(|t| t.chars().count());
        let mut widths: Vec<usize> = (0..columns).map(|c| widest(c).max().unwrap_or(0)).collect();
        let gaps = INDENT + 2 * columns.saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > WIDTH {
            let Some(most) = widths.iter_mut().max() else { break };
            *most -= 1;
        }
        let lines = self.rows.iter().map(|row| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(text, width)| fit(text, *width)).collect();
            format!("{:INDENT$}{}", "", cells.join("  ")).trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }
}

/// The text in exactly `width` columns; a cut is marked.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:<width$}");
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wider_than_the_terminal_and_short_columns_stay_whole() {
        let mut table = Table::new(&["NODE", "POD"]);
        table.row(["node1".to_owned(), "x".repeat(200)]);
        let text = table.render();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("node1  xxx"), "{text}");
        assert!(text.contains('…'));
    }
}
