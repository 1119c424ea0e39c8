//! Looks for what does not belong into the tree.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Lines of a Rust file, tests left out, above which it must be split.
const FILE_LINES_MAX: usize = 600;

/// Text that means "not finished", or that names one machine. Split, so that this file does not find
/// itself.
const MARKERS: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("to", "do!("),
    concat!("#[ign", "ore"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];

/// Kinds of files that are read.
const TEXT: [&str; 8] = ["rs", "toml", "md", "sh", "yaml", "json", "yml", "go"];

/// Checks every file that git knows.
///
/// # Errors
///
/// The list of findings.
pub fn run(root: &Path) -> Result<String> {
    let files = tracked(root)?;
    let mut findings = String::new();
    for relative in &files {
        let Ok(text) = std::fs::read_to_string(root.join(relative)) else { continue };
        for finding in inspect(relative, &text) {
            // Writing to a string cannot fail.
            let _ = writeln!(findings, "{finding}");
        }
    }
    if !findings.is_empty() {
        bail!("{findings}");
    }
    Ok(format!("tidy: {} files are fine", files.len()))
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output()
        .context("starting git")?;
    ensure!(output.status.success(), "git ls-files failed: not a checkout?");
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|path| is_text(path))
        .collect())
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| TEXT.contains(&extension))
        || path.file_name().is_some_and(|name| name == "Makefile")
}

/// Findings in one file.
#[must_use]
pub fn inspect(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for marker in MARKERS {
            if line.contains(marker) {
                found.push(format!("{}:{}: `{marker}`", path.display(), number + 1));
            }
        }
    }
    if path.extension().is_some_and(|extension| extension == "rs") && !is_test(path) {
        let lines = code_lines(text);
        if lines > FILE_LINES_MAX {
            found.push(format!(
                "{}: {lines} lines without tests, more than {FILE_LINES_MAX}",
                path.display()
            ));
        }
    }
    found
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path.file_name().is_some_and(|name| name == "tests.rs")
}

/// Lines up to the test module, which stands at the end of a file.
fn code_lines(text: &str) -> usize {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_markers_and_long_files() {
        let marker = format!("// {}: later", MARKERS[0]);
        let found = inspect(Path::new("a.rs"), &marker);
        assert_eq!(found.len(), 1, "{found:?}");
        let long = "fn x() {}\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(inspect(Path::new("a.rs"), &long).len(), 1);
        assert_eq!(inspect(Path::new("tests/a.rs"), &long).len(), 0);
        let with_tests = format!("fn x() {{}}\n#[cfg(test)]\n{long}");
        assert_eq!(inspect(Path::new("a.rs"), &with_tests).len(), 0);
    }
}
