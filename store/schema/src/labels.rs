//! Label sets, in the form in which Cilium stores an identity.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

/// A label string that is not `source:key=value;` repeated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LabelError {
    /// A part has no source, no key or no value.
    #[error("label {part:?} is not source:key=value")]
    Shape {
        /// The part that does not parse.
        part: String,
    },
    /// The string does not end with a semicolon.
    #[error("label string does not end with ';'")]
    Unterminated,
    /// One key stands there twice, or the keys are not sorted.
    #[error("label keys are not in strict order at {key:?}")]
    Order {
        /// The key out of order.
        key: String,
    },
    /// A part holds a character that would break the string apart.
    #[error("label {part:?} holds a reserved character")]
    Reserved {
        /// The offending text.
        part: String,
    },
}

/// Where a label comes from and what it says; its key is the key of the set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// `k8s` for everything that comes from Kubernetes.
    pub source: String,
    /// The value, possibly empty.
    pub value: String,
}

/// Labels by key, each key once. Shown (and stored) as `source:key=value;` repeated, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LabelSet(BTreeMap<String, Label>);

impl LabelSet {
    /// The source of labels that come from Kubernetes.
    pub const K8S: &'static str = "k8s";

    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a label, replacing one with the same key.
    ///
    /// # Errors
    /// A source with `:`, `;` or `=`, a key with `;` or `=`, or a value with `;` is refused: it could
    /// not be read back.
    pub fn insert(&mut self, source: &str, key: &str, value: &str) -> Result<(), LabelError> {
        let reserved = |part: &str, reserved: &[char]| match part.contains(reserved) {
            true => Err(LabelError::Reserved { part: part.to_owned() }),
            false => Ok(()),
        };
        reserved(source, &[':', ';', '='])?;
        reserved(key, &[';', '='])?;
        reserved(value, &[';'])?;
        if source.is_empty() || key.is_empty() {
            return Err(LabelError::Shape { part: format!("{source}:{key}={value}") });
        }
        let label = Label { source: source.to_owned(), value: value.to_owned() };
        self.0.insert(key.to_owned(), label);
        Ok(())
    }

    /// The label with a key.
    pub fn get(&self, key: &str) -> Option<&Label> {
        self.0.get(key)
    }

    /// Labels in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Label)> {
        self.0.iter().map(|(key, label)| (key.as_str(), label))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set behind a stored string. Only the form that [`fmt::Display`] writes is taken, so that one
    /// set of labels has one string.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let Some(body) = text.strip_suffix(';') else {
            return if text.is_empty() { Ok(Self::new()) } else { Err(LabelError::Unterminated) };
        };
        let mut set = Self::new();
        for part in body.split(';') {
            let shape = || LabelError::Shape { part: part.to_owned() };
            let (source, rest) = part.split_once(':').ok_or_else(shape)?;
            let (key, value) = rest.split_once('=').ok_or_else(shape)?;
            if set.0.last_key_value().is_some_and(|(last, _)| last.as_str() >= key) {
                return Err(LabelError::Order { key: key.to_owned() });
            }
            set.insert(source, key, value)?;
        }
        Ok(set)
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, Label { source, value }) in &self.0 {
            write!(f, "{source}:{key}={value};")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str =
        "k8s:app=web;k8s:io.cilium.k8s.policy.cluster=east;k8s:io.kubernetes.pod.namespace=shop;";

    #[test]
    fn stored_form_round_trips() {
        let set = LabelSet::parse(STORED).unwrap();
        assert_eq!(set.len(), 3);
        assert_eq!(set.get("app").unwrap().value, "web");
        assert_eq!(set.to_string(), STORED);
    }

    #[test]
    fn other_forms_are_refused() {
        assert_eq!(LabelSet::parse("k8s:a=b"), Err(LabelError::Unterminated));
        assert!(matches!(LabelSet::parse("k8s:b=1;k8s:a=1;"), Err(LabelError::Order { .. })));
        assert!(matches!(LabelSet::parse("k8s:a=1;any:a=2;"), Err(LabelError::Order { .. })));
        for bad in ["k8s:a;", "a=b;", ":a=b;", "k8s:=b;", ";", ";;"] {
            assert!(LabelSet::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reserved_characters_cannot_enter() {
        let mut set = LabelSet::new();
        assert!(set.insert("k8s", "a;b", "c").is_err());
        assert!(set.insert("k8s", "a", "c;d").is_err());
        assert!(set.insert("k:8s", "a", "c").is_err());
        assert!(set.insert("k8s", "a", "c=d").is_ok());
        assert_eq!(LabelSet::parse(&set.to_string()), Ok(set));
    }
}
