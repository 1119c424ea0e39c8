//! Dividing a file into documents.

use serde::de::IgnoredAny;

use super::{Chunk, Fault};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Yaml,
    Json,
}

impl Format {
    /// By the ending of a file's name; `None` for files that are not manifests.
    pub fn of_name(name: &str) -> Option<Format> {
        match name.rsplit_once('.')?.1 {
            "yaml" | "yml" => Some(Format::Yaml),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

pub(super) fn split(text: &str, format: Format) -> Vec<Result<Chunk<'_>, Fault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Yaml => split_yaml(text),
        Format::Json => split_json(text),
    }
}

fn split_yaml(text: &str) -> Vec<Result<Chunk<'_>, Fault>> {
    let mut chunks = Vec::new();
    let (mut start, mut lines_before, mut at, mut line) = (0, 0, 0, 0);
    let mut push = |text, lines_before| {
        chunks.push(Ok(Chunk { text, lines_before, format: Format::Yaml }));
    };
    for content in text.split_inclusive('\n') {
        if is_separator(content) && at > start && !is_prefix(&text[start..at]) {
            push(&text[start..at], lines_before);
            (start, lines_before) = (at, line);
        }
        at += content.len();
        line += 1;
    }
    if at > start {
        push(&text[start..at], lines_before);
    }
    chunks
}

/// `---` alone or followed by white space: the start of a document (YAML 1.2, section 9.1.2).
fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Directives (`%YAML 1.2`), which belong to the document that the next `---` starts (section 9.1.1).
fn is_prefix(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.next().is_some_and(|first| first.starts_with('%')) && lines.all(|l| l.starts_with('%'))
}

fn split_json(text: &str) -> Vec<Result<Chunk<'_>, Fault>> {
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    while let Some(value) = values.next() {
        if let Err(error) = value {
            let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
            chunks.push(Err(Fault { line, reason: format!("not JSON: {error}") }));
            break;
        }
        let (end, part) = (values.byte_offset(), &text[start..values.byte_offset()]);
        let lead = part.len() - part.trim_start().len();
        let lines_before = text[..start + lead].matches('\n').count() as u32;
        let text = part.trim_start();
        chunks.push(Ok(Chunk { text, lines_before, format: Format::Json }));
        start = end;
    }
    chunks
}
