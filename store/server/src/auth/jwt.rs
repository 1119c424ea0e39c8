//! JSON Web Tokens (RFC 7515, 7518, 7519), as etcd makes them: any member, or whoever else holds
//! the key, signs who a user is and at which revision of users and roles.

mod keys;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use skein_store_api::ApiError;
use skein_store_mvcc::Author;
use thiserror::Error;

use super::options::JwtConfig;
use keys::Key;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "RFC 7518's names")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}

use Algorithm::*;

/// etcd's ES512 is missing: the crypto provider has no P-521.
const ALGORITHMS: [(Algorithm, &str); 12] = [
    (Rs256, "RS256"),
    (Rs384, "RS384"),
    (Rs512, "RS512"),
    (Ps256, "PS256"),
    (Ps384, "PS384"),
    (Ps512, "PS512"),
    (Es256, "ES256"),
    (Es384, "ES384"),
    (EdDsa, "EdDSA"),
    (Hs256, "HS256"),
    (Hs384, "HS384"),
    (Hs512, "HS512"),
];

impl Algorithm {
    /// Every name, for messages.
    pub(super) const NAMES: &str = "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, \
                                    EdDSA, HS256, HS384, HS512";

    /// The algorithm of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        ALGORITHMS.iter().find(|(_, known)| *known == name).map(|(algorithm, _)| *algorithm)
    }

    fn name(self) -> &'static str {
        ALGORITHMS.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }
}

/// A key of `--auth-token jwt` cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold {wanted}", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The two files hold keys of different pairs.
    #[error("{} and {} do not belong together", public.display(), private.display())]
    Mismatch {
        /// The public key's file.
        public: PathBuf,
        /// The private key's file.
        private: PathBuf,
    },
    /// No file was named.
    #[error("--auth-token jwt with {0} needs a priv-key, or for signatures at least a pub-key")]
    Missing(&'static str),
}

/// Signs and verifies tokens.
pub(crate) struct JwtTokens {
    algorithm: Algorithm,
    key: Key,
    ttl: Duration,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: String,
}

/// Revision and times are numbers in JSON's manner: other signers may write them with a fraction.
#[derive(Deserialize)]
struct Claims {
    username: String,
    revision: f64,
    exp: Option<f64>,
    nbf: Option<f64>,
}

#[derive(Serialize)]
struct Stated<'a> {
    exp: u64,
    revision: u64,
    username: &'a str,
}

impl JwtTokens {
    /// Reads the keys.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub(super) fn new(config: &JwtConfig) -> Result<Self, KeyError> {
        let key = Key::read(config)?;
        Ok(Self { algorithm: config.algorithm, key, ttl: config.ttl })
    }

    /// A token for a user who has proved who they are.
    ///
    /// # Errors
    /// [`ApiError::VerifyOnlyKey`].
    pub(crate) fn sign(&self, user: &str, auth_revision: u64) -> Result<String, ApiError> {
        let exp = (now() + self.ttl).as_secs();
        let header = Header { alg: self.algorithm.name().to_owned(), typ: "JWT".to_owned() };
        let claims = Stated { exp, revision: auth_revision, username: user };
        // Strings and numbers always have a JSON form.
        let json = |value: serde_json::Result<Vec<u8>>| value.map_err(|_| ApiError::Stopped);
        let header = json(serde_json::to_vec(&header))?;
        let claims = json(serde_json::to_vec(&claims))?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let stated = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(stated.as_bytes()).ok_or(ApiError::VerifyOnlyKey)?;
        Ok(format!("{stated}.{}", encode(&signature)))
    }

    /// Whom a token stands for; `None` for one that is not signed as it should be, or not in time.
    pub(super) fn author(&self, token: &str) -> Option<Author> {
        let (stated, signature) = token.rsplit_once('.')?;
        let (header, claims) = stated.split_once('.')?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        // The algorithm is the configured one, never the token's choice.
        if header.alg != self.algorithm.name() {
            return None;
        }
        if !self.key.verifies(stated.as_bytes(), &decode(signature)?) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).ok()?;
        let now = now().as_secs_f64();
        let in_time =
            claims.exp.is_none_or(|exp| now < exp) && claims.nbf.is_none_or(|nbf| now >= nbf);
        let auth_revision = claims.revision as u64;
        in_time.then_some(Author { user: claims.username, auth_revision })
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests;
