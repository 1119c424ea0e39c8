//! Alarms, quota, downgrade and the HTTP endpoints: the same calls on a real etcd and on
//! `skein-store`, and what each answered compared line by line, ids aside.
//!
//! `cargo test -p skein-store-conformance --test side_by_side [-- PART-OF-A-NAME]`.

#[path = "side_by_side/http.rs"]
mod http;
#[path = "side_by_side/player.rs"]
mod player;
#[path = "side_by_side/scenarios.rs"]
mod scenarios;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use player::Player;
use scenarios::{SCENARIOS, Scenario};
use skein_store_conformance::peers;
use skein_store_conformance::process::Process;

fn main() -> anyhow::Result<ExitCode> {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    println!("side by side, skein-store's answers compared with etcd's");
    let etcd = match peers::tool("etcd") {
        Ok(etcd) => etcd,
        Err(missing) => {
            println!("  LEFT OUT: no etcd of the pinned version: {missing}");
            let required = peers::required();
            return Ok(if required { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
    };
    let skein = peers::skein_store()?;
    let mut failed = undocumented_flags(&etcd)?;
    let runtime = tokio::runtime::Runtime::new()?;
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(&filter)) {
        let (expected, found) = runtime
            .block_on(async { tokio::try_join!(play(&etcd, scenario), play(&skein, scenario)) })?;
        let equal = expected == found && !expected.is_empty();
        println!("  {}     {}", verdict(equal), scenario.name);
        failed += usize::from(!equal);
        for (expected, found) in expected.iter().zip(&found).filter(|(e, f)| e != f) {
            println!("    etcd:  {expected}\n    skein: {found}");
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays a scenario on a fresh store and returns what was answered.
async fn play(program: &Path, scenario: &Scenario) -> anyhow::Result<Vec<String>> {
    let process = Process::start(program, scenario.flags).await?;
    let mut player = Player::new(process).await?;
    (scenario.play)(&mut player).await?;
    Ok(player.into_lines())
}

/// Flags that this etcd's help names and `docs/operations.md` does not, or the other way round.
fn undocumented_flags(etcd: &Path) -> anyhow::Result<usize> {
    let help = std::process::Command::new(etcd).arg("--help").output()?;
    let help = String::from_utf8(help.stdout)? + &String::from_utf8(help.stderr)?;
    let first_word = |line: &str, before: &str| {
        let rest = line.strip_prefix(before)?;
        rest.split([' ', '`']).next().map(str::to_owned)
    };
    let offered: BTreeSet<_> = help.lines().filter_map(|line| first_word(line, "  --")).collect();
    let document = std::fs::read_to_string(peers::repository().join("docs/operations.md"))?;
    let mut told: BTreeSet<_> =
        document.lines().filter_map(|line| first_word(line, "| `--")).collect();
    // The help shows these two in its head, as ways of calling etcd.
    told.retain(|flag| !matches!(flag.as_str(), "version" | "config-file"));
    let differ: Vec<_> = offered.symmetric_difference(&told).collect();
    let equal = differ.is_empty() && !offered.is_empty();
    println!("  {}     flags in etcd's help and in docs/operations.md", verdict(equal));
    differ.iter().for_each(|flag| println!("    only in one of them: --{flag}"));
    Ok(usize::from(!equal))
}

fn verdict(equal: bool) -> &'static str {
    if equal { "equal " } else { "FAILED" }
}
