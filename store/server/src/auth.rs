//! Who a caller is: passwords, tokens and client certificates, at the edge of the replicated users
//! and roles.
//!
//! While authentication is not enabled a request pays for one look at a flag. Otherwise its
//! sender is made out here ([`Core::author`]); what they may do is judged by the machine: reads
//! before they are answered ([`Core::permitted`]), changes where they are applied.

mod der;
mod jwt;
mod mirror;
mod options;
mod password;
mod sender;
mod simple;
mod subject;

use skein_store_api::ApiError;
use skein_store_mvcc::{Author, Permit};

pub(crate) use jwt::JwtTokens;
pub use jwt::{Algorithm, KeyError};
pub(crate) use mirror::Mirror;
pub use options::{AuthConfig, JwtConfig, OptionError, TokenConfig};
pub(crate) use password::Passwords;
pub(crate) use sender::Sender;
pub(crate) use simple::{SimpleTokens, prefix as token_prefix};
pub(crate) use subject::common_name;

use crate::core::Core;

/// How this member makes out callers.
pub(crate) struct Authenticator {
    pub(crate) tokens: Tokens,
    pub(crate) passwords: Passwords,
    /// Whether a client certificate's common name is a user.
    client_certificates: bool,
}

/// What a user gets for their password.
pub(crate) enum Tokens {
    /// A random text that every member remembers for a while.
    Simple,
    /// A signed statement.
    Jwt(Box<JwtTokens>),
}

impl Authenticator {
    /// # Errors
    /// A key cannot be used.
    pub(crate) fn new(config: &AuthConfig) -> Result<Self, KeyError> {
        let tokens = match &config.tokens {
            TokenConfig::Simple => Tokens::Simple,
            TokenConfig::Jwt(config) => Tokens::Jwt(Box::new(JwtTokens::new(config)?)),
        };
        let passwords = Passwords::new(config.bcrypt_cost);
        Ok(Self { tokens, passwords, client_certificates: config.client_certificates })
    }
}

impl Core {
    /// Who sent a request; `None` when nobody asks, or when they did not say. A token counts for
    /// more than a certificate.
    ///
    /// # Errors
    /// [`ApiError::InvalidAuthToken`].
    pub(crate) async fn author(&self, sender: &Sender) -> Result<Option<Author>, ApiError> {
        if !self.state.auth.enabled() {
            return Ok(None);
        }
        // Before the token is looked up: an identity must not be newer than what made it out.
        let auth_revision = self.state.auth.revision();
        if let Some(token) = sender.token() {
            let author = match &self.auth.tokens {
                Tokens::Simple => {
                    self.simple_user(token).await.map(|user| Author { user, auth_revision })
                }
                Tokens::Jwt(tokens) => tokens.author(token),
            };
            return author.map(Some).ok_or(ApiError::InvalidAuthToken);
        }
        let name = sender.common_name().filter(|_| self.auth.client_certificates);
        Ok(name.map(|name| Author { user: name.to_owned(), auth_revision }))
    }

    /// Who sent a request that needs an identity.
    ///
    /// # Errors
    /// As [`Core::author`]; [`ApiError::UserEmpty`] without one.
    pub(crate) async fn identified(&self, sender: &Sender) -> Result<Option<Author>, ApiError> {
        let author = self.author(sender).await?;
        self.permitted(author.as_ref(), |permit| permit.identified())?;
        Ok(author)
    }

    /// Who sent a request that only root may.
    ///
    /// # Errors
    /// As [`Core::author`] and [`Permit::admin`].
    pub(crate) async fn admin(&self, sender: &Sender) -> Result<Option<Author>, ApiError> {
        let author = self.author(sender).await?;
        self.permitted(author.as_ref(), |permit| permit.admin())?;
        Ok(author)
    }

    /// Judges what an author may do by the users and roles of now.
    ///
    /// # Errors
    /// What `judge` finds.
    pub(crate) fn permitted(
        &self,
        author: Option<&Author>,
        judge: impl FnOnce(&Permit<'_>) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        if !self.state.auth.enabled() {
            return Ok(());
        }
        self.state.glance(|machine| judge(&machine.permit(author)))
    }

    /// Whether users and roles are still those by which a read was permitted; asked behind it.
    ///
    /// # Errors
    /// [`ApiError::AuthOldRevision`].
    pub(crate) fn still_permitted(&self, author: Option<&Author>) -> Result<(), ApiError> {
        match author {
            Some(author) if author.auth_revision != self.state.auth.revision() => {
                Err(ApiError::AuthOldRevision)
            }
            _ => Ok(()),
        }
    }

    /// A token may have been given by another member, in an entry that is not applied here yet;
    /// it names the entry's index. Whatever was acknowledged before this call is applied behind a
    /// linearizable read.
    async fn simple_user(&self, token: &str) -> Option<String> {
        let tokens = &self.state.auth.tokens;
        if let Some(user) = tokens.user(token) {
            return Some(user);
        }
        let (_, index) = token.split_once('.')?;
        if index.parse::<u64>().ok()? <= self.state.position().applied {
            return None;
        }
        self.linearizable().await.ok()?;
        tokens.user(token)
    }
}
