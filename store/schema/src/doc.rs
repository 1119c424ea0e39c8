//! The schema as a document: what every kind is, rendered for people.

use std::fmt::Write;

use crate::any::Key;

/// Who may write a kind. One writer each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The elected control plane, fenced by its leadership key.
    ControlPlane,
    /// The agent of the node that the key names, and no other.
    Agent,
    /// The operator, through flags of the control plane.
    Operator,
    /// Every control plane, each for its own key.
    Candidates,
}

impl Writer {
    const fn text(self) -> &'static str {
        match self {
            Self::ControlPlane => "control plane (elected, fenced)",
            Self::Agent => "the agent of that node, nobody else",
            Self::Operator => "operator, through the control plane's flags (fenced)",
            Self::Candidates => "every control plane, its own key only",
        }
    }
}

/// How long a key of a kind lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until its writer deletes it.
    Durable,
    /// As long as its writer's lease.
    Lease,
}

impl Lifetime {
    const fn text(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Lease => "its writer's lease",
        }
    }
}

/// What there is to say about a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doc {
    /// The name of the kind, one word or two.
    pub kind: &'static str,
    /// The key with its variable parts in angle brackets.
    pub layout: &'static str,
    /// What one key stands for.
    pub scope: &'static str,
    /// Keys expected in a cluster of full size (5,000 nodes, 250,000 pods, 20,000 services).
    pub cardinality: &'static str,
    /// Who writes it.
    pub writer: Writer,
    /// Who reads it.
    pub readers: &'static str,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// The value in words.
    pub value: &'static str,
    /// What it means that a key is not there.
    pub absence: &'static str,
}

/// Renders `docs/schema.md`.
pub fn render() -> String {
    let mut text = String::from(HEAD);
    text.push_str("\n| key | kind | writer | lifetime |\n|---|---|---|---|\n");
    for (doc, ..) in Key::catalogue() {
        let (writer, lifetime) = (doc.writer.text(), doc.lifetime.text());
        let _ = writeln!(text, "| `{}` | {} | {writer} | {lifetime} |", doc.layout, doc.kind);
    }
    for (doc, key, value) in Key::catalogue() {
        render_kind(&mut text, &doc, &key, &value);
    }
    text
}

fn render_kind(text: &mut String, doc: &Doc, key: &str, value: &[u8]) {
    let _ = writeln!(text, "\n## {}\n\n`{}`\n", doc.kind, doc.layout);
    let rows = [
        ("Scope", doc.scope),
        ("Cardinality", doc.cardinality),
        ("Writer", doc.writer.text()),
        ("Readers", doc.readers),
        ("Lifetime", doc.lifetime.text()),
        ("Value", doc.value),
        ("Absence", doc.absence),
    ];
    for (name, what) in rows {
        let _ = writeln!(text, "* {name}: {what}");
    }
    let _ = writeln!(text, "\n```\n{key}\n{}\n```", pretty(value));
}

/// JSON over several lines; what is not JSON as it is.
fn pretty(value: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(value)
        .ok()
        .filter(|json| json.is_object())
        .and_then(|json| serde_json::to_string_pretty(&json).ok())
        .unwrap_or_else(|| String::from_utf8_lossy(value).into_owned())
}

const HEAD: &str = "\
# Keys and values

Generated from `store/schema`; do not edit. `UPDATE=1 cargo test -p skein-store-schema --test document` renders it anew,
and the same test fails when this file is stale.

Keys are text. Every part in angle brackets is a validated name, a number or an address, so none can hold a slash or be
empty and nothing is escaped; the slash of a CIDR is written as `-`. A prefix ends with a slash, so that `c1` never matches
`c11`. Values are JSON unless said otherwise. Those under `skein/` carry `\"v\"`, the version of their format: a reader
refuses a version that it does not know, naming both, and ignores fields that it does not know. Those under `cilium/` are
Cilium's formats to the letter, since other clusters may read them.

A value that does not decode is treated as absent by whoever computes from it, counted, and reported; it never stops the
handling of other keys.
";
