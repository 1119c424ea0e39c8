//! Saying what takes long, while it takes long.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use anyhow::Result;

/// Width of the text before the time on a finished line.
const TEXT_WIDTH: usize = 62;

/// Prints one line per step: its name, what it says of itself while it runs (on a terminal), its time.
#[derive(Debug)]
pub struct Progress {
    quiet: bool,
    terminal: bool,
}

impl Progress {
    /// To standard output.
    #[must_use]
    pub fn new() -> Self {
        Self { quiet: false, terminal: std::io::stdout().is_terminal() }
    }

    /// Says nothing.
    #[must_use]
    pub fn quiet() -> Self {
        Self { quiet: true, terminal: false }
    }

    /// Runs one step.
    ///
    /// # Errors
    /// The step's own.
    pub fn step<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut dyn FnMut(&str)) -> Result<T>,
    ) -> Result<T> {
        let started = Instant::now();
        let (terminal, quiet) = (self.terminal, self.quiet);
        let mut last = String::new();
        let mut say = |detail: &str| {
            detail.clone_into(&mut last);
            if terminal {
                print!("\r  {:<TEXT_WIDTH$}", format!("{name}: {detail}"));
                let _ = std::io::stdout().flush();
            }
        };
        if !quiet {
            say("...");
        }
        let result = work(&mut say);
        if !quiet {
            let text = match last.as_str() {
                "..." | "" => name.to_owned(),
                detail => format!("{name}: {detail}"),
            };
            let back = if terminal { "\r" } else { "" };
            let outcome = match &result {
                Ok(_) => format!("{:8.2} s", started.elapsed().as_secs_f64()),
                Err(_) => "  FAILED".to_owned(),
            };
            println!("{back}  {text:<TEXT_WIDTH$}{outcome}");
        }
        result
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
