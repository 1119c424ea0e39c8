//! Errors as the CNI specification numbers them.

/// What the plugin prints when it fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CniError {
    /// Number of the specification's table, section "Error".
    pub code: u32,
    /// One sentence.
    pub message: String,
    /// More, for people.
    pub details: String,
}

/// Incompatible CNI version.
pub const INCOMPATIBLE_VERSION: u32 = 1;
/// Container unknown or does not exist.
pub const UNKNOWN_CONTAINER: u32 = 3;
/// Invalid necessary environment variables.
pub const INVALID_ENVIRONMENT: u32 = 4;
/// I/O failure.
pub const IO_FAILURE: u32 = 5;
/// Failed to decode content.
pub const DECODING_FAILURE: u32 = 6;
/// Invalid network config.
pub const INVALID_CONFIG: u32 = 7;
/// Try again later.
pub const TRY_AGAIN_LATER: u32 = 11;
/// The plugin is not available: ADD cannot succeed (STATUS).
pub const NOT_AVAILABLE: u32 = 50;
/// Not available, and existing containers may have limited connectivity (STATUS).
pub const LIMITED_CONNECTIVITY: u32 = 51;
/// No free address (ours).
pub const ADDRESSES_EXHAUSTED: u32 = 101;
/// The attachment is not what ADD left (ours, of CHECK).
pub const CHECK_FAILED: u32 = 102;
/// The agent could not carry the request out (ours).
pub const INTERNAL: u32 = 103;

impl CniError {
    /// With a code and a sentence.
    pub fn new(code: u32, message: impl Into<String>) -> CniError {
        CniError { code, message: message.into(), details: String::new() }
    }

    /// Adds more for people.
    pub fn with_details(mut self, details: impl Into<String>) -> CniError {
        self.details = details.into();
        self
    }
}
