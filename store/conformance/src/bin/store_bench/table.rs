//! Medians in a markdown table.

/// One run of one measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Server CPU for each operation.
    pub(crate) cpu_us: f64,
}

/// Medians of the runs of one measurement of one store.
pub(crate) struct Row {
    load: String,
    store: String,
    median: Run,
    slowest: f64,
    fastest: f64,
}

impl Row {
    pub(crate) fn new(load: &str, store: &str, runs: &[Run]) -> Self {
        let sorted = |value: fn(&Run) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let median = |value: fn(&Run) -> f64| sorted(value)[runs.len() / 2];
        let rates = sorted(|run| run.per_second);
        Self {
            load: load.to_owned(),
            store: store.to_owned(),
            median: Run {
                per_second: median(|run| run.per_second),
                p50_ms: median(|run| run.p50_ms),
                p99_ms: median(|run| run.p99_ms),
                cpu_us: median(|run| run.cpu_us),
            },
            slowest: rates[0],
            fastest: rates[rates.len() - 1],
        }
    }
}

/// The rows under their heads.
pub(crate) fn render(what: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "| {what} | store | per second (min-max) | p50 | p99 | server CPU each |\n\
         |---|---|---|---|---|---|\n"
    );
    for row in rows {
        let Run { per_second, p50_ms, p99_ms, cpu_us } = row.median;
        text += &format!(
            "| {} | {} | {per_second:.0} ({:.0}-{:.0}) | {p50_ms:.2} ms | {p99_ms:.2} ms | \
             {cpu_us:.0} µs |\n",
            row.load, row.store, row.slowest, row.fastest
        );
    }
    text
}
