//! The demo: a cluster is built, shown at work, and removed again; the exit code says whether every shown thing held.

mod hops;
mod kernel;
mod memory;
mod pick;
mod pictures;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::cluster::{Cluster, teardown};
use crate::interrupt;
use crate::progress::Progress;
use crate::spec::{Datapath, Spec};
use crate::table::WIDTH;
use crate::{cli, cli::LabArgs, privilege};

/// One thing that was shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What, in a few words.
    pub title: String,
    /// What was seen.
    pub seen: String,
    /// Whether it held.
    pub held: bool,
}

/// Everything shown so far.
#[derive(Debug, Default)]
pub struct Show {
    results: Vec<Shown>,
}

impl Show {
    /// Runs one scene, prints its outcome and keeps it for the summary.
    pub fn scene(&mut self, title: &str, play: impl FnOnce() -> Result<String>) {
        let (seen, held) = match play() {
            Ok(seen) => (seen, true),
            Err(error) => (format!("{error:#}"), false),
        };
        let shown = Shown { title: title.to_owned(), seen, held };
        print!("{}", shown.render());
        self.results.push(shown);
    }

    fn all_held(&self) -> bool {
        self.results.iter().all(|shown| shown.held)
    }
}

impl Shown {
    /// Title with outcome, and what was seen below it.
    fn render(&self) -> String {
        let mark = if self.held { "ok  " } else { "FAIL" };
        let mut text = format!("  {mark}  {}\n", self.title);
        for line in wrap(&self.seen, WIDTH - 8) {
            text.push_str(&format!("        {line}\n"));
        }
        text
    }
}

/// Breaks a text into lines of at most `width` columns, at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// Runs the demo: with packets where eBPF can be loaded, else with maps in memory.
///
/// # Errors
/// The cluster did not come up, or something of it could not be removed.
pub fn run(args: &LabArgs, keep: bool, memory: bool) -> Result<ExitCode> {
    let mut missing = privilege::missing();
    if memory {
        missing.push("nothing: memory was asked for".to_owned());
    }
    let datapath = if missing.is_empty() { Datapath::Ebpf } else { Datapath::Memory };
    let notice = (datapath == Datapath::Memory).then(|| memory_notice(&missing));
    if let Some(notice) = &notice {
        println!("{notice}");
    }
    let spec = with_examples(args)?.spec(datapath)?;
    interrupt::tear_down_on_signal(&spec.name);
    let result = play(&spec, keep);
    if let Some(notice) = &notice {
        println!("{notice}");
    }
    result
}

fn memory_notice(missing: &[String]) -> String {
    format!(
        "No packet crosses the kernel here: maps are in memory, decisions by the datapath's own logic.\n\
         What was missing: {}",
        missing.join("; ")
    )
    .replace('\n', " ")
}

/// Without folders of the user's the demo runs the shop in `deploy/examples`.
fn with_examples(args: &LabArgs) -> Result<LabArgs> {
    let mut args = args.clone();
    if args.manifests.is_empty() {
        args.manifests.push(PathBuf::from("deploy/examples"));
    }
    Ok(args)
}

fn play(spec: &Spec, keep: bool) -> Result<ExitCode> {
    heading("Building");
    let mut cluster = match Cluster::up(spec, &mut Progress::new()) {
        Ok(cluster) => cluster,
        Err(error) => return Err(cli::failed_up(&spec.name, error)),
    };
    let mut show = Show::default();
    heading("Showing");
    match spec.datapath {
        Datapath::Ebpf => kernel::play(&mut cluster, &mut show),
        Datapath::Memory => memory::play(&mut cluster, &mut show),
    }
    let summary = pictures::summary(&cluster, &show.results);
    let held = show.all_held() && summary.is_ok();
    let logs = if held { teardown::Logs::Remove } else { teardown::Logs::Keep };
    let kept = if keep {
        cli::leave_up(&cluster)?;
        None
    } else {
        drop(cluster);
        teardown::down(&spec.name, logs)?
    };
    println!("{}", summary?);
    println!("{}", last_line(spec, keep, held, kept));
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn last_line(spec: &Spec, keep: bool, held: bool, kept: Option<PathBuf>) -> String {
    let fate = match (keep, kept) {
        (true, _) => {
            format!("The cluster is up: `skein-lab ps`, `skein-lab down --name {}`.", spec.name)
        }
        (false, Some(logs)) => format!("The cluster is gone; its logs are in {}.", logs.display()),
        (false, None) => "The cluster is gone without a trace.".to_owned(),
    };
    let verdict = if held { "Everything shown held." } else { "NOT everything shown held." };
    format!("{verdict} {fate}")
}

/// A line between the demo's parts.
fn heading(text: &str) {
    println!("\n{text} {}", "─".repeat(WIDTH - text.chars().count() - 1));
}
