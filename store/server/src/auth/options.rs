//! What authentication is set up with.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::jwt::Algorithm;
use super::simple;

/// How a member makes out callers. The default is etcd's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// What a user gets for their password.
    pub tokens: TokenConfig,
    /// How long a simple token that nobody uses is remembered.
    pub simple_token_ttl: Duration,
    /// Binary logarithm of the rounds that hash a password, from 4 to 31.
    pub bcrypt_cost: u32,
    /// Whether the common name of a client's certificate is a user.
    pub client_certificates: bool,
}

/// Rounds that etcd uses, as a binary logarithm.
const DEFAULT_BCRYPT_COST: u32 = 10;

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            tokens: TokenConfig::Simple,
            simple_token_ttl: simple::DEFAULT_TTL,
            bcrypt_cost: DEFAULT_BCRYPT_COST,
            client_certificates: false,
        }
    }
}

/// Kinds of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenConfig {
    /// Random texts that members remember.
    Simple,
    /// JSON Web Tokens (RFC 7519).
    Jwt(JwtConfig),
}

/// How JSON Web Tokens are signed and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// File of the public key or a certificate, PEM. Alone it verifies tokens of others.
    pub public_key: Option<PathBuf>,
    /// File of the private key, PEM; for an HMAC the file itself is the key.
    pub private_key: Option<PathBuf>,
    /// How long a token counts.
    pub ttl: Duration,
}

/// How long a JSON Web Token counts by default, as etcd's.
const DEFAULT_JWT_TTL: Duration = Duration::from_secs(300);

/// An `--auth-token` that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionError {
    /// Neither of the two kinds.
    #[error("--auth-token must be simple or jwt, not {0:?}")]
    Kind(String),
    /// Not a name and a value, twice the same, or none that is known.
    #[error("--auth-token has no option {0:?}, or has it already")]
    Option(String),
    /// Not an algorithm.
    #[error("--auth-token sign-method={0} is not one of {algorithms}", algorithms = Algorithm::NAMES)]
    Algorithm(String),
    /// No algorithm.
    #[error("--auth-token jwt needs sign-method={algorithms}", algorithms = Algorithm::NAMES)]
    NoAlgorithm,
    /// Not a duration.
    #[error("--auth-token ttl={0} is not a duration such as 10m")]
    Ttl(String),
}

impl FromStr for TokenConfig {
    type Err = OptionError;

    /// Reads etcd's `simple` or `jwt,sign-method=RS256,priv-key=FILE,pub-key=FILE,ttl=10m`.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        let mut parts = text.split(',');
        match parts.next().unwrap_or_default() {
            "simple" => match parts.next() {
                None => Ok(TokenConfig::Simple),
                Some(option) => Err(OptionError::Option(option.to_owned())),
            },
            "jwt" => jwt(parts).map(TokenConfig::Jwt),
            other => Err(OptionError::Kind(other.to_owned())),
        }
    }
}

fn jwt<'a>(options: impl Iterator<Item = &'a str>) -> Result<JwtConfig, OptionError> {
    let (mut algorithm, mut public_key, mut private_key, mut ttl) = (None, None, None, None);
    for option in options {
        let wrong = || OptionError::Option(option.to_owned());
        let (name, value) = option.split_once('=').ok_or_else(wrong)?;
        let place = match name {
            "sign-method" => &mut algorithm,
            "pub-key" => &mut public_key,
            "priv-key" => &mut private_key,
            "ttl" => &mut ttl,
            _ => return Err(wrong()),
        };
        if place.replace(value).is_some() {
            return Err(wrong());
        }
    }
    let algorithm = algorithm.ok_or(OptionError::NoAlgorithm)?;
    let ttl =
        ttl.map(|text| crate::cli::duration(text).ok_or_else(|| OptionError::Ttl(text.to_owned())));
    Ok(JwtConfig {
        algorithm: Algorithm::named(algorithm)
            .ok_or_else(|| OptionError::Algorithm(algorithm.to_owned()))?,
        public_key: public_key.map(PathBuf::from),
        private_key: private_key.map(PathBuf::from),
        ttl: ttl.transpose()?.unwrap_or(DEFAULT_JWT_TTL),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_spellings_are_read() {
        assert_eq!("simple".parse(), Ok(TokenConfig::Simple));
        let text = "jwt,pub-key=p.pem,priv-key=k.pem,sign-method=PS256,ttl=10m";
        let expected = JwtConfig {
            algorithm: Algorithm::Ps256,
            public_key: Some("p.pem".into()),
            private_key: Some("k.pem".into()),
            ttl: Duration::from_secs(600),
        };
        assert_eq!(text.parse(), Ok(TokenConfig::Jwt(expected)));
        let short: TokenConfig = "jwt,sign-method=HS256,priv-key=k".parse().expect("enough");
        let TokenConfig::Jwt(short) = short else { panic!("{short:?}") };
        assert_eq!(short.ttl, Duration::from_secs(300));
    }

    #[test]
    fn what_cannot_work_is_named() {
        let cases = [
            ("", "simple or jwt"),
            ("simple,ttl=1m", "ttl=1m"),
            ("jwt", "needs sign-method"),
            ("jwt,sign-method=none", "none is not one of"),
            ("jwt,sign-method=RS256,sign-method=RS256", "has it already"),
            ("jwt,sign-method=RS256,key=x", "key=x"),
            ("jwt,sign-method=RS256,ttl=soon", "ttl=soon"),
        ];
        for (text, wanted) in cases {
            let error = text.parse::<TokenConfig>().expect_err("cannot work").to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
