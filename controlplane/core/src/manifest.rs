//! Manifests: text in, typed objects and problems out. Pure; files are read at the edge.
//!
//! A file is split into documents before anything is parsed, so that a broken document never
//! hides its neighbours. YAML documents are divided by lines that start with `---`, as kubectl
//! divides them; JSON files hold one or more values one after the other. Kinds ending in `List`
//! are taken apart into their items. What is not ours is listed and left alone.
//!
//! Lines are counted from 1 in the whole file.

mod decode;
mod locate;
mod set;
mod split;

use std::sync::Arc;

pub use set::{FileId, ManifestSet};
pub use split::Format;

use crate::convert;
use crate::object::{Kind, Object, ObjectRef};

/// One document of a file, or one item of a list in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The line on which it starts, or of the error when it is invalid.
    pub line: u32,
    pub outcome: Outcome,
}

/// What a document turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A valid object of a kind that Skein works from.
    Object(Arc<Object>),
    /// A well-formed object of another kind: listed, left alone.
    Foreign { api_version: String, kind: String, name: String },
    /// Neither: `object` names it as far as it could be read.
    Invalid { object: Option<ObjectRef>, reason: String },
}

/// Parses every document of a file. Never fails as a whole: what cannot be read is an
/// [`Outcome::Invalid`] among the others.
pub fn parse(text: &str, format: Format) -> Vec<Document> {
    let mut documents = Vec::new();
    for part in split::split(text, format) {
        match part {
            Ok(chunk) => parse_chunk(&chunk, &mut documents),
            Err(problem) => documents.push(problem.into_document(None)),
        }
    }
    documents
}

/// A part of the file that holds one document.
#[derive(Clone, Copy, Debug)]
struct Chunk<'a> {
    text: &'a str,
    /// Lines of the file before the first line of `text`.
    lines_before: u32,
    format: Format,
}

/// Why a document, or a part of it, is not usable.
#[derive(Debug)]
struct Fault {
    line: u32,
    reason: String,
}

impl Fault {
    fn into_document(self, object: Option<ObjectRef>) -> Document {
        Document { line: self.line, outcome: Outcome::Invalid { object, reason: self.reason } }
    }
}

fn parse_chunk(chunk: &Chunk<'_>, documents: &mut Vec<Document>) {
    if let Some(document) = parse_at_once(chunk) {
        return documents.push(document);
    }
    let head = match decode::head(chunk) {
        Ok(Some(head)) => head,
        Ok(None) => return,
        Err(fault) => return documents.push(fault.into_document(None)),
    };
    if head.is_list() {
        return match decode::items(chunk, &head) {
            Ok(items) => documents.extend(items.into_iter().map(parse_item)),
            Err(fault) => documents.push(fault.into_document(None)),
        };
    }
    let line = chunk.lines_before + chunk.first_line();
    documents.push(classify(&head, line, || {
        decode::object(chunk, head.skein_kind()).and_then(|raw| {
            convert::object(raw).map_err(|e| Fault {
                line: locate::line_of(chunk, e.field()).unwrap_or(line),
                reason: e.to_string(),
            })
        })
    }));
}

/// Most documents are valid objects whose first lines tell the kind: these need no reading of the
/// head before. `None` when this is none of them.
fn parse_at_once(chunk: &Chunk<'_>) -> Option<Document> {
    // Decoding fails unless the document says the same kind.
    let raw = decode::object(chunk, Some(decode::kind_at_a_glance(chunk)?)).ok()?;
    let object = convert::object(raw).ok()?;
    let line = chunk.lines_before + chunk.first_line();
    Some(Document { line, outcome: Outcome::Object(Arc::new(object)) })
}

fn parse_item(item: decode::Item) -> Document {
    let line = item.line;
    match item.head {
        Err(reason) => Fault { line, reason }.into_document(None),
        Ok(head) => classify(&head, line, || {
            decode::object_from_value(item.value, head.skein_kind())
                .and_then(|raw| convert::object(raw).map_err(|e| e.to_string()))
                .map_err(|reason| Fault { line, reason })
        }),
    }
}

fn classify(
    head: &decode::Head,
    line: u32,
    object: impl FnOnce() -> Result<Object, Fault>,
) -> Document {
    let Some(kind) = head.skein_kind() else {
        return Document { line, outcome: head.foreign() };
    };
    match object() {
        Ok(object) => Document { line, outcome: Outcome::Object(Arc::new(object)) },
        Err(fault) => fault.into_document(head.object_ref(kind)),
    }
}

impl Chunk<'_> {
    /// The first line of the chunk that is neither empty nor a comment or directive, counted from 1.
    fn first_line(&self) -> u32 {
        let content = |line: &str| {
            let line = line.trim_start();
            !line.is_empty() && !line.starts_with(['#', '%']) && !line.starts_with("---")
        };
        self.text.lines().position(content).map_or(1, |n| n as u32 + 1)
    }
}

impl Kind {
    fn of(api_version: &str, kind: &str) -> Option<Kind> {
        match (api_version, kind) {
            ("v1", "Namespace") => Some(Kind::Namespace),
            ("v1", "Node") => Some(Kind::Node),
            ("v1", "Pod") => Some(Kind::Pod),
            ("v1", "Service") => Some(Kind::Service),
            ("discovery.k8s.io/v1", "EndpointSlice") => Some(Kind::EndpointSlice),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
