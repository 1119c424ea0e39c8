//! `diff`: the keys of two stores side by side.

use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;
use skein_store_client::{KeyRange, Session};

use super::compare::{self, Counts, Difference, Side};
use crate::args::{DiffArgs, Format, Global};
use crate::connect;
use crate::failure;
use crate::output::{self, Row};

/// A key that differs.
#[derive(Debug, Serialize)]
pub(crate) struct DiffLine {
    key: String,
    difference: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<String>,
}

impl DiffLine {
    pub(crate) fn of(difference: &Difference) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (word, a, b) = match difference {
            Difference::OnlyA(a) => ("only in A", Some(&a.value), None),
            Difference::OnlyB(b) => ("only in B", None, Some(&b.value)),
            Difference::Value(a, b) => ("different", Some(&a.value), Some(&b.value)),
        };
        let (a, b) = (a.map(|value| text(value)), b.map(|value| text(value)));
        Self { key: text(difference.key()), difference: word, a, b }
    }
}

impl Row for DiffLine {
    const HEADERS: &'static [&'static str] = &["KEY", "DIFFERENCE", "A", "B"];

    fn cells(&self) -> Vec<String> {
        let side = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![self.key.clone(), self.difference.to_owned(), side(&self.a), side(&self.b)]
    }
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    a: &'a str,
    b: &'a str,
    revision_a: i64,
    revision_b: i64,
    counts: Counts,
    items: Vec<DiffLine>,
}

pub(crate) async fn run(global: &Global, args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let (a, revision_a) = open(global, &args.a, args.rev_a).await?;
    let (b, revision_b) = open(global, &args.b, args.rev_b).await?;
    let range = KeyRange::prefix(args.prefix.as_bytes());
    let mut a = Side::of_store(a, range.clone(), revision_a);
    let mut b = Side::of_store(b, range, revision_b);
    let mut items = Vec::new();
    let counts = compare::compare(&mut a, &mut b, |difference| {
        if items.len() < args.limit {
            items.push(DiffLine::of(&difference));
        }
    })
    .await?;
    let report = Report { a: &args.a, b: &args.b, revision_a, revision_b, counts, items };
    match global.output {
        Format::Json => output::json(&report)?,
        Format::Table => output::text(&words(&report))?,
    }
    Ok(ExitCode::from(if counts.all_equal() { 0 } else { failure::PROBLEMS }))
}

/// A session with one side, and the revision to read it at.
async fn open(global: &Global, side: &str, revision: i64) -> anyhow::Result<(Session, i64)> {
    let of_side = || format!("side {side}");
    let session = connect::session_to(global, side.split(',')).with_context(of_side)?;
    let now = session.header().await.with_context(of_side)?.1;
    Ok((session, if revision == 0 { now } else { revision }))
}

fn words(report: &Report<'_>) -> String {
    let Counts { equal, different, only_a, only_b } = report.counts;
    let mut text = String::new();
    if !report.items.is_empty() {
        text.push_str(&output::table(&report.items));
        let hidden = different + only_a + only_b - report.items.len() as u64;
        if hidden > 0 {
            text.push_str(&format!("… and {hidden} more (--limit)\n"));
        }
    }
    text.push_str(&format!(
        "{equal} equal, {different} different, {only_a} only in A, {only_b} only in B\n\
         (A: {} at revision {}, B: {} at revision {})\n",
        report.a, report.revision_a, report.b, report.revision_b
    ));
    text
}
