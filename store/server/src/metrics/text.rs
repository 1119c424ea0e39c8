//! The text format that every version of Prometheus reads (version 0.0.4), made from OpenMetrics.
//!
//! They differ in three things: OpenMetrics names a counter without the `_total` that its samples
//! have, may tell units, and ends with a mark.

/// Rewrites a page.
pub(super) fn from_open_metrics(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        // HELP comes before TYPE, which says whether the name must change.
        let next = lines.peek().copied().unwrap_or_default();
        match counter_name(line).or_else(|| counter_name(next).filter(|_| is_help(line))) {
            Some(name) => text.push_str(&line.replacen(name, &format!("{name}_total"), 1)),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

fn is_help(line: &str) -> bool {
    line.starts_with("# HELP ")
}

fn counter_name(line: &str) -> Option<&str> {
    line.strip_prefix("# TYPE ")?.strip_suffix(" counter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples_are() {
        let page = "# HELP a Things.\n# TYPE a counter\na_total 1\n# HELP b_total Level.\n\
                    # TYPE b_total gauge\nb_total 2\n# EOF\n";
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total 1\n\
                        # HELP b_total Level.\n# TYPE b_total gauge\nb_total 2\n";
        assert_eq!(from_open_metrics(page), expected);
    }
}
