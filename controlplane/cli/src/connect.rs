//! From flags to a session.

use skein_store_client::{ClientError, Session, SessionConfig, TlsConfig};

use crate::args::Global;

/// A session that connects on first use, so that its errors come with what was being done.
pub(crate) fn session(global: &Global) -> Result<Session, ClientError> {
    let mut config = SessionConfig::new(global.endpoints.iter().map(String::as_str));
    config.request_timeout = global.timeout;
    config.tls = match &global.cacert {
        Some(ca) => Some(TlsConfig::from_files(ca, global.cert.as_deref(), global.key.as_deref())?),
        None if global.cert.is_some() => {
            return Err(ClientError::Config("--cert needs --cacert".to_owned()));
        }
        None => None,
    };
    config.user = match &global.user {
        Some(user) => {
            let (name, password) = user
                .split_once(':')
                .ok_or_else(|| ClientError::Config("--user must be name:password".to_owned()))?;
            Some((name.to_owned(), password.to_owned()))
        }
        None => None,
    };
    Session::new(config)
}
