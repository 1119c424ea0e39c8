//! Keys of tokens, from PEM files.

use std::path::{Path, PathBuf};

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
    UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use webpki::EndEntityCert;

use super::{Algorithm, JwtConfig, KeyError};
use crate::auth::der::{self, BIT_STRING, OCTET_STRING, SEQUENCE};

/// What signs and verifies.
pub(super) enum Key {
    /// One secret for both.
    Shared(hmac::Key),
    /// A public key, and the private one where there is one.
    Pair { verify: UnparsedPublicKey<Vec<u8>>, sign: Option<Signer>, random: SystemRandom },
}

/// A private key.
pub(super) enum Signer {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    pub(super) fn read(config: &JwtConfig) -> Result<Self, KeyError> {
        let private = config.private_key.as_deref();
        let missing = || KeyError::Missing(config.algorithm.name());
        if let Some(algorithm) = hmac_algorithm(config.algorithm) {
            let secret = read(private.ok_or_else(missing)?)?;
            return Ok(Key::Shared(hmac::Key::new(algorithm, &secret)));
        }
        let sign = private.map(|path| Signer::read(path, config.algorithm)).transpose()?;
        let given = config.public_key.as_deref();
        let public = given.map(public_key).transpose()?;
        let derived = sign.as_ref().map(Signer::public_key);
        if let (Some(derived), Some(public)) = (&derived, &public)
            && derived != public
        {
            let path = |path: Option<&Path>| path.map(PathBuf::from).unwrap_or_default();
            return Err(KeyError::Mismatch { public: path(given), private: path(private) });
        }
        let public = derived.or(public).ok_or_else(missing)?;
        let verification = verification(config.algorithm).ok_or_else(missing)?;
        let verify = UnparsedPublicKey::new(verification, public);
        Ok(Key::Pair { verify, sign, random: SystemRandom::new() })
    }

    /// `None` when there is only a public key.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Key::Shared(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Key::Pair { sign, random, .. } => sign.as_ref()?.sign(message, random),
        }
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Key::Shared(key) => hmac::verify(key, message, signature).is_ok(),
            Key::Pair { verify, .. } => verify.verify(message, signature).is_ok(),
        }
    }
}

impl Signer {
    fn read(path: &Path, algorithm: Algorithm) -> Result<Self, KeyError> {
        let pem = read(path)?;
        let wanted = wanted(algorithm);
        let unfit = || KeyError::Unfit { path: path.to_owned(), wanted };
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| unfit())?;
        let signer = match algorithm {
            Algorithm::EdDsa => {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_der()).map(Signer::Ed25519)
            }
            _ => match (rsa_encoding(algorithm), ecdsa_signing(algorithm)) {
                (Some(encoding), _) => rsa(&key).map(|pair| Signer::Rsa(pair, encoding)),
                (None, Some(signing)) => ecdsa(&key, algorithm, signing).map(Signer::Ecdsa),
                (None, None) => return Err(unfit()),
            },
        };
        signer.map_err(|_| unfit())
    }

    fn public_key(&self) -> Vec<u8> {
        match self {
            Signer::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
            Signer::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// Fails only without randomness.
    fn sign(&self, message: &[u8], random: &SystemRandom) -> Option<Vec<u8>> {
        match self {
            Signer::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, random, message, &mut signature).ok()?;
                Some(signature)
            }
            Signer::Ecdsa(pair) => Some(pair.sign(random, message).ok()?.as_ref().to_vec()),
            Signer::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }
}

fn rsa(key: &PrivateKeyDer<'_>) -> Result<RsaKeyPair, ring::error::KeyRejected> {
    match key {
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        other => RsaKeyPair::from_pkcs8(other.secret_der()),
    }
}

fn ecdsa(
    key: &PrivateKeyDer<'_>,
    algorithm: Algorithm,
    signing: &'static EcdsaSigningAlgorithm,
) -> Result<EcdsaKeyPair, ring::error::KeyRejected> {
    let random = SystemRandom::new();
    match key {
        PrivateKeyDer::Sec1(key) => {
            let wrapped = pkcs8_of_sec1(key.secret_sec1_der(), algorithm);
            EcdsaKeyPair::from_pkcs8(signing, &wrapped, &random)
        }
        other => EcdsaKeyPair::from_pkcs8(signing, other.secret_der(), &random),
    }
}

/// `openssl ecparam -genkey` writes SEC 1 (RFC 5915); the crypto provider reads it inside of
/// PKCS #8 (RFC 5208): version, algorithm, key.
fn pkcs8_of_sec1(key: &[u8], algorithm: Algorithm) -> Vec<u8> {
    const VERSION: &[u8] = &[0x02, 0x01, 0x00];
    /// id-ecPublicKey, prime256v1 and secp384r1 as whole values (RFC 5480).
    const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    let curve = if algorithm == Algorithm::Es384 { P384 } else { P256 };
    let kind = der::value(SEQUENCE, &[EC, curve].concat());
    let parts = [VERSION, &kind, &der::value(OCTET_STRING, key)].concat();
    der::value(SEQUENCE, &parts)
}

/// The key inside of a public key's or a certificate's PEM.
fn public_key(path: &Path) -> Result<Vec<u8>, KeyError> {
    let pem = read(path)?;
    let info = SubjectPublicKeyInfoDer::from_pem_slice(&pem).ok().or_else(|| {
        let certificate = CertificateDer::from_pem_slice(&pem).ok()?;
        Some(EndEntityCert::try_from(&certificate).ok()?.subject_public_key_info())
    });
    let key = info.as_ref().and_then(|info| key_of_info(info));
    let wanted = "a public key or a certificate in PEM";
    key.ok_or_else(|| KeyError::Unfit { path: path.to_owned(), wanted })
}

/// SubjectPublicKeyInfo (RFC 5280, 4.1): algorithm, then the key as bits, none of them unused.
fn key_of_info(mut info: &[u8]) -> Option<Vec<u8>> {
    let mut parts = der::expect(&mut info, SEQUENCE)?;
    der::expect(&mut parts, SEQUENCE)?;
    match der::expect(&mut parts, BIT_STRING)? {
        [0, key @ ..] => Some(key.to_vec()),
        _ => None,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })
}

fn wanted(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::EdDsa => "an Ed25519 private key in PEM",
        Algorithm::Es256 => "a P-256 private key in PEM",
        Algorithm::Es384 => "a P-384 private key in PEM",
        _ => "an RSA private key of 2048 bits or more in PEM",
    }
}

fn hmac_algorithm(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_SHA512),
        _ => None,
    }
}

fn ecdsa_signing(algorithm: Algorithm) -> Option<&'static EcdsaSigningAlgorithm> {
    match algorithm {
        Algorithm::Es256 => Some(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::Es384 => Some(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        _ => None,
    }
}

/// The HMACs have no public key.
fn verification(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    let found: &'static dyn VerificationAlgorithm = match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDsa => &signature::ED25519,
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return None,
    };
    Some(found)
}
