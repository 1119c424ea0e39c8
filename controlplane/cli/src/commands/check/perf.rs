//! `check perf`: whether the store keeps up with a load.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;
use skein_store_client::{KeyRange, RangeRequest, Session};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::args::{Format, Global, Load, PerfArgs};
use crate::connect;
use crate::failure;
use crate::output;

/// Length of a written key.
const KEY_BYTES: usize = 256;
/// Length of a written value.
const VALUE_BYTES: usize = 1024;
/// Share of the rate that must be reached. This and the next two are etcdctl's.
const RATE_SHARE_MIN: f64 = 0.9;
/// No write may take longer.
const SLOWEST_MAX: Duration = Duration::from_millis(500);
/// Nor may the times deviate by more.
const DEVIATION_MAX: Duration = Duration::from_millis(100);
/// Connections at most; clients share them. A session spends one of our open files, of which 1,024 are
/// usual.
const SESSIONS_MAX: usize = 100;

/// Writes per second and clients of a load, as in `etcdctl check perf`.
fn size_of(load: Load) -> (u32, usize) {
    match load {
        Load::S => (150, 50),
        Load::M => (1_000, 200),
        Load::L => (8_000, 500),
        Load::Xl => (15_000, 1_000),
    }
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
struct Measured {
    writes: usize,
    errors: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    rate: f64,
    mean_ms: f64,
    p99_ms: f64,
    slowest_ms: f64,
    deviation_ms: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    rate_wanted: u32,
    clients: usize,
    #[serde(flatten)]
    measured: Measured,
    passed: bool,
    failed_for: Vec<String>,
}

pub(super) async fn check(
    session: &Session,
    global: &Global,
    args: &PerfArgs,
) -> anyhow::Result<ExitCode> {
    if args.prefix.is_empty() || args.prefix.len() + 20 > KEY_BYTES {
        bail!("--prefix must be of 1 to {} bytes", KEY_BYTES - 20);
    }
    let range = KeyRange::prefix(args.prefix.as_bytes());
    let count = RangeRequest { count_only: true, ..RangeRequest::default() };
    let there = session.page(&range, count).await?.count;
    if there > 0 {
        bail!("{there} keys begin with {:?}; delete them or choose another --prefix", args.prefix);
    }
    let (rate, clients) = size_of(args.load);
    eprintln!("skeinctl: {rate} writes/s by {clients} clients for {:?}", args.duration);
    let sessions = (0..clients.min(SESSIONS_MAX))
        .map(|_| connect::session(global))
        .collect::<Result<Vec<_>, _>>()?;
    let measured = run(&sessions, rate, clients, args).await;
    clean_up(session, &range, args).await?;
    let failed_for = judge(&measured, rate);
    let passed = failed_for.is_empty();
    let report = Report { rate_wanted: rate, clients, measured, passed, failed_for };
    match global.output {
        Format::Json => output::json(&report)?,
        Format::Table => output::text(&words(&report))?,
    }
    Ok(ExitCode::from(if passed { 0 } else { failure::PROBLEMS }))
}

/// Times of the writes that succeeded, and why the first one did not that failed.
#[derive(Default)]
struct Tally {
    micros: Vec<u32>,
    errors: usize,
    first_error: Option<String>,
}

/// Lets the clients write. Write `n` is due at `n / rate`, whichever client comes to it, so that a slow
/// answer delays only its client.
async fn run(sessions: &[Session], rate: u32, clients: usize, args: &PerfArgs) -> Measured {
    let due = Arc::new(AtomicU64::new(0));
    let total = (f64::from(rate) * args.duration.as_secs_f64()) as u64;
    let begun = Instant::now();
    // A store that is too slow for the rate is not given longer.
    let end = begun + args.duration;
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let session = sessions[client % sessions.len()].clone();
        let (due, prefix) = (Arc::clone(&due), args.prefix.clone());
        tasks.spawn(async move {
            let mut tally = Tally::default();
            loop {
                let n = due.fetch_add(1, Ordering::Relaxed);
                let at = begun + Duration::from_secs_f64(n as f64 / f64::from(rate));
                if n >= total || Instant::now() >= end {
                    return tally;
                }
                tokio::time::sleep_until(at).await;
                write(&session, &prefix, n, &mut tally).await;
            }
        });
    }
    let mut all = Tally::default();
    for tally in tasks.join_all().await {
        all.micros.extend(tally.micros);
        all.errors += tally.errors;
        all.first_error = all.first_error.or(tally.first_error);
    }
    measured(all, begun.elapsed())
}

async fn write(session: &Session, prefix: &str, n: u64, tally: &mut Tally) {
    let key = format!("{prefix}{n:0width$}", width = KEY_BYTES - prefix.len());
    let sent = Instant::now();
    match session.put(key, vec![b'x'; VALUE_BYTES], None).await {
        Ok(_) => {
            let micros = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
            tally.micros.push(micros);
        }
        Err(error) => {
            tally.errors += 1;
            tally.first_error.get_or_insert_with(|| error.to_string());
        }
    }
}

fn measured(tally: Tally, took: Duration) -> Measured {
    let Tally { mut micros, errors, first_error } = tally;
    micros.sort_unstable();
    let writes = micros.len();
    let ms = |micros: u32| f64::from(micros) / 1e3;
    let count = writes.max(1) as f64;
    let mean_ms = micros.iter().map(|micros| ms(*micros)).sum::<f64>() / count;
    let square = |micros: &u32| (ms(*micros) - mean_ms).powi(2);
    Measured {
        writes,
        errors,
        first_error,
        rate: writes as f64 / took.as_secs_f64(),
        mean_ms,
        p99_ms: micros.get(writes * 99 / 100).copied().map_or(0.0, ms),
        slowest_ms: micros.last().copied().map_or(0.0, ms),
        deviation_ms: (micros.iter().map(square).sum::<f64>() / count).sqrt(),
    }
}

/// What the store did not do well enough.
fn judge(measured: &Measured, rate: u32) -> Vec<String> {
    let mut reasons = Vec::new();
    let least = f64::from(rate) * RATE_SHARE_MIN;
    if measured.rate < least {
        reasons.push(format!("{:.0} writes/s instead of {least:.0} at least", measured.rate));
    }
    for (what, found, most) in [
        ("the slowest write took", measured.slowest_ms, SLOWEST_MAX),
        ("the times deviate by", measured.deviation_ms, DEVIATION_MAX),
    ] {
        let most = most.as_secs_f64() * 1e3;
        if found > most {
            reasons.push(format!("{what} {found:.0} ms instead of {most:.0} ms at most"));
        }
    }
    if measured.errors > 0 {
        let first = measured.first_error.as_deref().unwrap_or_default();
        reasons.push(format!("{} writes failed, the first: {first}", measured.errors));
    }
    reasons
}

async fn clean_up(session: &Session, range: &KeyRange, args: &PerfArgs) -> anyhow::Result<()> {
    let revision = session.delete_range(range).await?.revision;
    if args.auto_compact {
        session.compact_physically(revision).await?;
    }
    if args.auto_defrag {
        for (_, answer) in session.defragment_each().await {
            answer?;
        }
    }
    Ok(())
}

fn words(report: &Report) -> String {
    let Measured { writes, rate, mean_ms, p99_ms, slowest_ms, deviation_ms, .. } = report.measured;
    let mut text = format!(
        "{writes} writes, {rate:.0}/s of {}/s wanted\n\
         {mean_ms:.1} ms on average, 99% within {p99_ms:.1} ms, slowest {slowest_ms:.1} ms, \
         deviation {deviation_ms:.1} ms\n",
        report.rate_wanted
    );
    for reason in &report.failed_for {
        text.push_str(&format!("FAIL: {reason}\n"));
    }
    text.push_str(if report.passed { "PASS\n" } else { "FAIL\n" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up() {
        let tally = Tally { micros: vec![3_000, 1_000], ..Tally::default() };
        let measured = measured(tally, Duration::from_secs(2));
        assert_eq!((measured.writes, measured.rate), (2, 1.0));
        assert_eq!((measured.mean_ms, measured.slowest_ms, measured.deviation_ms), (2.0, 3.0, 1.0));
    }

    #[test]
    fn each_bound_can_fail() {
        let good = || Measured { rate: 140.0, slowest_ms: 499.0, ..Measured::default() };
        assert!(judge(&good(), 150).is_empty());
        for (bad, words) in [
            (Measured { rate: 130.0, ..good() }, "instead of 135"),
            (Measured { slowest_ms: 501.0, ..good() }, "slowest"),
            (Measured { deviation_ms: 101.0, ..good() }, "deviate"),
            (Measured { errors: 1, ..good() }, "1 writes failed"),
        ] {
            let reasons = judge(&bad, 150);
            assert!(reasons.len() == 1 && reasons[0].contains(words), "{reasons:?}");
        }
    }
}
