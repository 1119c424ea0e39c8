//! Decoding one document: its head first, then, for our kinds, the whole of it.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{Chunk, Fault, Format, Outcome};
use crate::convert::Raw;
use crate::object::{DEFAULT_NAMESPACE, Kind, ObjectRef};

/// What every Kubernetes object starts with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Option<HeadMetadata>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct HeadMetadata {
    name: Option<String>,
    namespace: Option<String>,
}

/// One item of a list.
pub(super) struct Item {
    pub(super) line: u32,
    pub(super) head: Result<Head, String>,
    pub(super) value: Value,
}

impl Head {
    fn api_version(&self) -> &str {
        self.api_version.as_deref().unwrap_or_default()
    }

    fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.metadata.as_ref().and_then(|m| m.name.as_deref()).unwrap_or_default()
    }

    pub(super) fn skein_kind(&self) -> Option<Kind> {
        Kind::of(self.api_version(), self.kind())
    }

    /// `List`, `PodList` and so on; some other projects' kinds end so too (`IPAddressList`), but
    /// those are lists as well by Kubernetes' conventions.
    pub(super) fn is_list(&self) -> bool {
        self.kind().ends_with("List")
    }

    pub(super) fn foreign(&self) -> Outcome {
        Outcome::Foreign {
            api_version: self.api_version().to_owned(),
            kind: self.kind().to_owned(),
            name: self.name().to_owned(),
        }
    }

    /// `None` when there is no usable name.
    pub(super) fn object_ref(&self, kind: Kind) -> Option<ObjectRef> {
        let metadata = self.metadata.as_ref()?;
        let name = metadata.name.as_deref().filter(|n| !n.is_empty())?;
        let namespace = metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        Some(ObjectRef::new(kind, namespace, name))
    }

    fn complete(self) -> Result<Head, String> {
        if self.api_version().is_empty() {
            return Err("apiVersion: missing".to_owned());
        }
        if self.kind().is_empty() {
            return Err("kind: missing".to_owned());
        }
        Ok(self)
    }
}

/// The head of a document; `None` when the document is empty (comments only).
pub(super) fn head(chunk: &Chunk<'_>) -> Result<Option<Head>, Fault> {
    let Some(head) = decode::<Option<Head>>(chunk)? else { return Ok(None) };
    let line = chunk.lines_before + chunk.first_line();
    head.complete().map(Some).map_err(|reason| Fault { line, reason })
}

/// The kind that the lines of a YAML document in block style say, without parsing it: a guess.
pub(super) fn kind_at_a_glance(chunk: &Chunk<'_>) -> Option<Kind> {
    if chunk.format != Format::Yaml {
        return None;
    }
    let field = |name: &str| {
        let mut values = chunk.text.lines().filter_map(|line| line.strip_prefix(name));
        values.next().map(str::trim)
    };
    Kind::of(field("apiVersion:")?, field("kind:")?)
}

/// The items of a list, each with its line where the format tells it.
pub(super) fn items(chunk: &Chunk<'_>, list: &Head) -> Result<Vec<Item>, Fault> {
    let items: Vec<(u32, Value)> = match chunk.format {
        Format::Yaml => {
            let list = decode::<YamlList>(chunk)?;
            let line = |s: &Spanned<Value>| {
                chunk.lines_before + u32::try_from(s.referenced.line()).unwrap_or(0)
            };
            list.items.into_iter().map(|s| (line(&s), s.value)).collect()
        }
        Format::Json => {
            let line = chunk.lines_before + 1;
            decode::<JsonList>(chunk)?.items.into_iter().map(|v| (line, v)).collect()
        }
    };
    Ok(items.into_iter().map(|(line, value)| item(line, value, list)).collect())
}

#[derive(Deserialize)]
struct YamlList {
    #[serde(default)]
    items: Vec<Spanned<Value>>,
}

#[derive(Deserialize)]
struct JsonList {
    #[serde(default)]
    items: Vec<Value>,
}

/// Items of a typed list (`PodList`) may leave out what the list says already.
fn item(line: u32, mut value: Value, list: &Head) -> Item {
    if let (Value::Object(fields), Some(kind)) =
        (&mut value, list.kind().strip_suffix("List").filter(|k| !k.is_empty()))
    {
        fields.entry("apiVersion").or_insert_with(|| list.api_version().into());
        fields.entry("kind").or_insert_with(|| kind.into());
    }
    let head = Head::deserialize(&value).map_err(|e| e.to_string()).and_then(Head::complete);
    Item { line, head, value }
}

/// The whole document as the Kubernetes type of its kind.
pub(super) fn object(chunk: &Chunk<'_>, kind: Option<Kind>) -> Result<Raw, Fault> {
    match kind {
        Some(Kind::Namespace) => decode::<Namespace>(chunk).map(Raw::Namespace),
        Some(Kind::Node) => decode::<Node>(chunk).map(|n| Raw::Node(Box::new(n))),
        Some(Kind::Pod) => decode::<Pod>(chunk).map(|p| Raw::Pod(Box::new(p))),
        Some(Kind::Service) => decode::<Service>(chunk).map(|s| Raw::Service(Box::new(s))),
        Some(Kind::EndpointSlice) => decode::<EndpointSlice>(chunk).map(Raw::Slice),
        None => Err(Fault { line: chunk.lines_before + 1, reason: "not one of our kinds".into() }),
    }
}

/// The same for an item of a list.
pub(super) fn object_from_value(value: Value, kind: Option<Kind>) -> Result<Raw, String> {
    let result = match kind {
        Some(Kind::Namespace) => Namespace::deserialize(value).map(Raw::Namespace),
        Some(Kind::Node) => Node::deserialize(value).map(|n| Raw::Node(Box::new(n))),
        Some(Kind::Pod) => Pod::deserialize(value).map(|p| Raw::Pod(Box::new(p))),
        Some(Kind::Service) => Service::deserialize(value).map(|s| Raw::Service(Box::new(s))),
        Some(Kind::EndpointSlice) => EndpointSlice::deserialize(value).map(Raw::Slice),
        None => Err(serde_json::Error::custom("not one of our kinds")),
    };
    result.map_err(|e| e.to_string())
}

fn decode<T: DeserializeOwned>(chunk: &Chunk<'_>) -> Result<T, Fault> {
    match chunk.format {
        Format::Yaml => decode_yaml(chunk),
        Format::Json => serde_json::from_str(chunk.text).map_err(|e| Fault {
            line: chunk.lines_before + u32::try_from(e.line()).unwrap_or(1).max(1),
            reason: e.to_string(),
        }),
    }
}

pub(super) fn decode_yaml<T: DeserializeOwned>(chunk: &Chunk<'_>) -> Result<T, Fault> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(chunk.text, options).map_err(|error| {
        let line = error.location().and_then(|l| u32::try_from(l.line()).ok());
        let line = line.filter(|l| *l > 0).unwrap_or_else(|| chunk.first_line());
        // Lines in the text are those of the file too, and the text is for whoever wrote the file,
        // not for who calls the parser.
        let rendering = serde_saphyr::render_options! {
            formatter: &serde_saphyr::UserMessageFormatter,
            line_offset: u64::from(chunk.lines_before),
        };
        let reason = one_line(&error.render_with_options(rendering));
        Fault { line: chunk.lines_before + line, reason }
    })
}

fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ")
}
