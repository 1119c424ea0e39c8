//! A current `etcdctl` against a real etcd and against `skein-store`: equal output, ids aside. Every
//! scenario is played on one member, and through the second of three.
//!
//! `cargo test -p skein-store-conformance --test etcdctl [-- PART-OF-A-NAME]`.

#[path = "etcdctl/auth.rs"]
mod auth;
#[path = "etcdctl/mask.rs"]
mod mask;
#[path = "etcdctl/scenarios.rs"]
mod scenarios;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use scenarios::{SCENARIOS, Scenario, Step};
use skein_store_conformance::context::Context;
use skein_store_conformance::peers::{self, PeerError};
use skein_store_conformance::process::Process;

/// How long a command that never ends by itself may show what it has to show.
const LISTEN: Duration = Duration::from_millis(1_500);

/// How long any other command may take.
const COMMAND_WAIT: Duration = Duration::from_secs(20);

fn main() -> anyhow::Result<ExitCode> {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let programs = match programs() {
        Ok(programs) => programs,
        Err(missing) => {
            println!("etcdctl\n  LEFT OUT: no etcdctl or etcd of the pinned version: {missing}");
            let required = peers::required();
            return Ok(if required { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
    };
    let failed = tokio::runtime::Runtime::new()?.block_on(run(&programs, &filter))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Programs {
    etcdctl: PathBuf,
    etcd: PathBuf,
}

fn programs() -> Result<Programs, PeerError> {
    Ok(Programs { etcdctl: peers::tool("etcdctl")?, etcd: peers::tool("etcd")? })
}

async fn run(programs: &Programs, filter: &str) -> anyhow::Result<usize> {
    let mut failed = 0;
    for members in [1, 3] {
        println!(
            "etcdctl, its output against skein-store compared with that against etcd: {members} members"
        );
        failed += run_on(programs, members, filter).await?;
    }
    Ok(failed)
}

async fn run_on(programs: &Programs, members: usize, filter: &str) -> anyhow::Result<usize> {
    let etcds = Process::start_cluster(&programs.etcd, members).await?;
    let skeins = Process::start_cluster(&peers::skein_store()?, members).await?;
    let (etcd, skein) = (&etcds[members / 2], &skeins[members / 2]);
    let mut failed = 0;
    let scenarios = SCENARIOS.iter().chain(auth::SCENARIOS);
    // Those on stores of their own are played once.
    let played = |scenario: &&Scenario| members == 1 || scenario.alone.is_none();
    for scenario in scenarios.filter(|s| s.name.contains(filter)).filter(played) {
        let (expected, found) = match scenario.alone {
            None => tokio::try_join!(
                play(&programs.etcdctl, etcd, scenario),
                play(&programs.etcdctl, skein, scenario)
            )?,
            Some(flags) => {
                let etcd = Process::start(&programs.etcd, flags).await?;
                let skein = Process::start(&peers::skein_store()?, flags).await?;
                tokio::try_join!(
                    play(&programs.etcdctl, &etcd, scenario),
                    play(&programs.etcdctl, &skein, scenario)
                )?
            }
        };
        if expected == found {
            println!("  equal      {}", scenario.name);
        } else {
            failed += 1;
            println!("  FAILED     {}", scenario.name);
            print!("{}", mask::difference(&expected, &found));
        }
    }
    println!();
    Ok(failed)
}

/// Plays a scenario on a cleared store and returns what was printed, comparable.
async fn play(etcdctl: &Path, store: &Process, scenario: &Scenario) -> anyhow::Result<String> {
    let context = Context { store: std::sync::Arc::new(store.connect()?) };
    context.clear().await.map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let base = context.revision().await.map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let mut transcript = String::new();
    let dir = tempfile::tempdir()?;
    let mut player =
        Player { etcdctl, dir: dir.path(), address: store.address(), lease: String::new(), base };
    let mut listener: Option<(&str, tokio::process::Child)> = None;
    for step in scenario.steps {
        match step {
            Step::Listen(line) => {
                listener = Some((line, player.command(line).spawn()?));
                tokio::time::sleep(LISTEN / 2).await;
            }
            Step::Run(line) => transcript += &player.run(line, "").await?,
            Step::Input(line, input) => transcript += &player.run(line, input).await?,
        }
    }
    if let Some((line, mut child)) = listener {
        tokio::time::sleep(LISTEN).await;
        child.start_kill()?;
        let output = child.wait_with_output().await?;
        transcript += &player.transcript(line, None, &output.stdout, &output.stderr);
    }
    Ok(mask::mask(&transcript, &store.address(), base, scenario.numbers))
}

/// Runs commands of one scenario against one store.
struct Player<'a> {
    etcdctl: &'a Path,
    /// Where commands run: `snapshot save` replaces the file that it is told to write, whatever it
    /// is, so a scenario names only files in here.
    dir: &'a Path,
    address: String,
    /// The id that the last `lease grant` printed; `LEASE` in a command stands for it.
    lease: String,
    /// The revision at the scenario's start; `REV+n` in a command counts from it.
    base: i64,
}

impl Player<'_> {
    fn command(&self, line: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.etcdctl);
        command.arg(format!("--endpoints={}", self.address));
        command.args(line.split_whitespace().map(|word| self.word(word)));
        command.current_dir(self.dir).env_remove("ETCDCTL_ENDPOINTS").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn word(&self, word: &str) -> String {
        let word = word.replace("LEASE", &self.lease);
        let word = word.replace("EMPTY", "");
        match word.split_once("REV+") {
            Some((before, count)) => {
                format!("{before}{}", self.base + count.parse::<i64>().unwrap_or_default())
            }
            None => word,
        }
    }

    async fn run(&mut self, line: &str, input: &str) -> anyhow::Result<String> {
        use tokio::io::AsyncWriteExt;
        let mut child = self.command(line).stdin(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read may be gone already.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let Ok(output) = tokio::time::timeout(COMMAND_WAIT, child.wait_with_output()).await else {
            return Ok(self.transcript(line, None, b"", b"did not end"));
        };
        let output = output?;
        let printed = String::from_utf8_lossy(&output.stdout);
        if let Some(rest) = printed.strip_prefix("lease ")
            && printed.contains("granted with TTL")
        {
            self.lease = rest.split(' ').next().unwrap_or_default().to_owned();
        }
        Ok(self.transcript(line, output.status.code(), &output.stdout, &output.stderr))
    }

    fn transcript(&self, line: &str, code: Option<i32>, out: &[u8], err: &[u8]) -> String {
        let mut text = format!("$ etcdctl {line}\n");
        text += &String::from_utf8_lossy(out);
        // The client's own log lines name times and goroutines; what they tell follows as text.
        for line in String::from_utf8_lossy(err).lines().filter(|line| !line.starts_with('{')) {
            text += &format!("! {line}\n");
        }
        if let Some(code) = code {
            text += &format!("= {code}\n");
        }
        match self.lease.is_empty() {
            true => text,
            false => text.replace(&self.lease, "LEASE"),
        }
    }
}
