//! Hashing passwords, away from the threads that serve requests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use skein_store_api::ApiError;
use tokio::sync::Semaphore;

/// Hashes computed at a time. Each takes a core for tens of milliseconds at the default cost, and
/// anyone may ask for one: callers beyond it wait, and requests of others do not.
const HASHES_AT_ONCE: usize = 2;

/// Longest password in bytes: bcrypt looks at no more.
const PASSWORD_BYTES_MAX: usize = 72;

/// Computes hashes of one cost.
pub(crate) struct Passwords {
    cost: u32,
    turns: Semaphore,
}

impl Passwords {
    /// `cost` is the binary logarithm of the number of rounds.
    pub(crate) fn new(cost: u32) -> Self {
        Self { cost, turns: Semaphore::new(HASHES_AT_ONCE) }
    }

    /// bcrypt's text for a password, in base64, as it stands in the log.
    ///
    /// # Errors
    /// [`ApiError::PasswordTooLong`].
    pub(crate) async fn hash(&self, password: String) -> Result<String, ApiError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(ApiError::PasswordTooLong);
        }
        let cost = self.cost;
        // The cost was checked with the flags: only a system without randomness can fail.
        let hashed = self.in_turn(move || bcrypt::hash(password, cost)).await?;
        Ok(STANDARD.encode(hashed.map_err(|_| ApiError::Stopped)?))
    }

    /// Whether a password fits a hash. A hash that is none fits nothing.
    ///
    /// # Errors
    /// [`ApiError::Stopped`].
    pub(crate) async fn fits(&self, password: String, hash: Bytes) -> Result<bool, ApiError> {
        self.in_turn(move || {
            let hash = std::str::from_utf8(&hash).unwrap_or_default();
            bcrypt::verify(password, hash).unwrap_or(false)
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        // Neither is closed or aborted before the member ends.
        let _turn = self.turns.acquire().await.map_err(|_| ApiError::Stopped)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lowest cost there is.
    const CHEAP: u32 = 4;

    /// Computed by the Go library that etcd uses (golang.org/x/crypto/bcrypt), for "secret".
    const OF_ETCD: &str = "$2a$04$32.dXUyjtUzcCSOwBVLbgurvvyYccBUV0mWZcWPv0coL2U.7tfQ4i";

    #[tokio::test]
    async fn a_password_fits_its_hash_alone() {
        let passwords = Passwords::new(CHEAP);
        let hash = passwords.hash("secret".into()).await.expect("short enough");
        let hash = Bytes::from(STANDARD.decode(hash).expect("base64"));
        assert_eq!(passwords.fits("secret".into(), hash.clone()).await, Ok(true));
        assert_eq!(passwords.fits("Secret".into(), hash).await, Ok(false));
        assert_eq!(passwords.fits("secret".into(), OF_ETCD.into()).await, Ok(true));
        for damaged in ["", "x", "$2a$99$aaaaaaaaaaaaaaaaaaaaaa"] {
            assert_eq!(passwords.fits("secret".into(), damaged.into()).await, Ok(false));
        }
    }

    #[tokio::test]
    async fn what_bcrypt_would_cut_off_is_refused() {
        let passwords = Passwords::new(CHEAP);
        assert!(passwords.hash("x".repeat(PASSWORD_BYTES_MAX)).await.is_ok());
        let longer = passwords.hash("x".repeat(PASSWORD_BYTES_MAX + 1)).await;
        assert_eq!(longer, Err(ApiError::PasswordTooLong));
    }
}
