//! From flags to a session.

use skein_store_client::{ClientError, Session, SessionConfig, TlsConfig};

use crate::args::Global;
use crate::password;

/// Asks for the password of a user that was named without one.
pub(crate) fn ask_password(global: &mut Global) -> anyhow::Result<()> {
    let Some(user) = &global.user else { return Ok(()) };
    if let Some((name, password)) = user.split_once(':') {
        global.password.get_or_insert_with(|| password.to_owned());
        global.user = Some(name.to_owned());
    } else if global.password.is_none() {
        global.password = Some(password::ask(&format!("Password of {user}: "))?);
    }
    Ok(())
}

/// A session that connects on first use, so that its errors come with what was being done.
pub(crate) fn session(global: &Global) -> Result<Session, ClientError> {
    session_to(global, global.endpoints.iter().map(String::as_str))
}

/// The same to other endpoints.
pub(crate) fn session_to<'a>(
    global: &Global,
    endpoints: impl IntoIterator<Item = &'a str>,
) -> Result<Session, ClientError> {
    let mut config = SessionConfig::new(endpoints);
    config.request_timeout = global.timeout;
    config.tls = match &global.cacert {
        Some(ca) => Some(TlsConfig::from_files(ca, global.cert.as_deref(), global.key.as_deref())?),
        None if global.cert.is_some() => {
            return Err(ClientError::Config("--cert needs --cacert".to_owned()));
        }
        None => None,
    };
    config.user = global.user.clone().zip(global.password.clone());
    Session::new(config)
}
