//! Errors that name a field.

use std::fmt::Display;

/// A field that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ConvertError {
    field: String,
    reason: String,
}

impl ConvertError {
    pub(super) fn new(field: impl Into<String>, reason: impl Into<String>) -> ConvertError {
        ConvertError { field: field.into(), reason: reason.into() }
    }

    /// The path of the field, as in `spec.ports[0].port`.
    pub fn field(&self) -> &str {
        &self.field
    }
}

pub(super) type Checked<T> = Result<T, ConvertError>;

/// Puts a field's path to an error that knows only its reason.
pub(super) trait At<T> {
    fn at(self, field: &str) -> Checked<T>;
}

impl<T, E: Display> At<T> for Result<T, E> {
    fn at(self, field: &str) -> Checked<T> {
        self.map_err(|reason| ConvertError::new(field, reason.to_string()))
    }
}
