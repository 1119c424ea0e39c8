use std::path::Path;

use super::*;

/// Keys that OpenSSL made for these tests and that protect nothing.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/jwt").join(name)
}

fn tokens(algorithm: Algorithm, private: &str, public: &str) -> Result<JwtTokens, KeyError> {
    let path = |name: &str| (!name.is_empty()).then(|| file(name));
    JwtTokens::new(&JwtConfig {
        algorithm,
        public_key: path(public),
        private_key: path(private),
        ttl: Duration::from_secs(60),
    })
}

/// Every algorithm with every form of its key.
const KEYS: [(Algorithm, &str, &str); 15] = [
    (Rs256, "rsa.pem", "rsa.pub.pem"),
    (Rs256, "rsa.pkcs1.pem", ""),
    (Rs384, "rsa.pem", ""),
    (Rs512, "rsa.pem", ""),
    (Ps256, "rsa.pem", "rsa.pub.pem"),
    (Ps384, "rsa.pem", ""),
    (Ps512, "rsa.pem", ""),
    (Es256, "p256.sec1.pem", "p256.pub.pem"),
    (Es256, "p256.sec1.pem", ""),
    (Es384, "p384.pem", ""),
    (EdDsa, "ed25519.pem", "ed25519.pub.pem"),
    (EdDsa, "ed25519.pem", ""),
    (Hs256, "rsa.pub.pem", ""),
    (Hs384, "rsa.pub.pem", ""),
    (Hs512, "rsa.pub.pem", ""),
];

#[test]
fn every_algorithm_signs_what_it_verifies() {
    for (algorithm, private, public) in KEYS {
        let tokens = tokens(algorithm, private, public).expect("a fitting key");
        let token = tokens.sign("alice", 7).expect("a private key");
        let author = Some(Author { user: "alice".into(), auth_revision: 7 });
        assert_eq!(tokens.author(&token), author, "{algorithm:?} {private}");
        for (at, _) in token.match_indices('.').chain([(token.len() - 3, "")]) {
            let mut other = token.clone().into_bytes();
            other[at - 1] = if other[at - 1] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("ASCII");
            assert_eq!(tokens.author(&other), None, "{algorithm:?} changed at {at}");
        }
    }
}

#[test]
fn a_public_key_verifies_and_does_not_sign() {
    for (algorithm, private, public) in KEYS.into_iter().filter(|(_, _, public)| !public.is_empty())
    {
        let token = tokens(algorithm, private, "").expect("a key").sign("alice", 7).expect("signs");
        let verifier = tokens(algorithm, "", public).expect("a public key");
        assert!(verifier.author(&token).is_some(), "{algorithm:?}");
        assert_eq!(verifier.sign("alice", 7), Err(ApiError::VerifyOnlyKey));
    }
}

#[test]
fn the_algorithm_is_not_the_tokens_choice() {
    let token = tokens(Rs512, "rsa.pem", "").expect("a key").sign("alice", 7).expect("signs");
    assert_eq!(tokens(Rs256, "rsa.pem", "").expect("a key").author(&token), None);
    // The public key as the secret of an HMAC: the classic confusion.
    let forged = tokens(Hs256, "rsa.pub.pem", "").expect("a key").sign("root", 7).expect("signs");
    assert_eq!(tokens(Rs256, "", "rsa.pub.pem").expect("a key").author(&forged), None);
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let claims = URL_SAFE_NO_PAD.encode(r#"{"username":"root","revision":7}"#);
    let none = format!("{unsigned}.{claims}.");
    assert_eq!(tokens(Rs256, "rsa.pem", "").expect("a key").author(&none), None);
}

/// Signs any claims, as another holder of the key may.
fn signed(tokens: &JwtTokens, claims: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let stated = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = tokens.key.sign(stated.as_bytes()).expect("a secret");
    format!("{stated}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn claims_are_judged_as_etcd_judges_them() {
    let tokens = tokens(Hs256, "rsa.pub.pem", "").expect("a secret");
    let accepted = [
        r#"{"username":"a","revision":3}"#,
        r#"{"username":"a","revision":3.0,"exp":99999999999,"nbf":1,"iss":"me"}"#,
    ];
    for claims in accepted {
        let author = tokens.author(&signed(&tokens, claims));
        assert_eq!(author, Some(Author { user: "a".into(), auth_revision: 3 }), "{claims}");
    }
    let refused = [
        r#"{"username":"a","revision":3,"exp":1}"#,
        r#"{"username":"a","revision":3,"nbf":99999999999}"#,
        r#"{"username":"a"}"#,
        r#"{"revision":3}"#,
        r#"{"username":1,"revision":3}"#,
        "no JSON",
    ];
    for claims in refused {
        assert_eq!(tokens.author(&signed(&tokens, claims)), None, "{claims}");
    }
    for text in ["", ".", "..", "a.b", "a.b.c", "t.7"] {
        assert_eq!(tokens.author(text), None, "{text}");
    }
}

#[test]
fn keys_that_do_not_fit_are_named() {
    let cases = [
        (Rs256, "", "", "needs a priv-key"),
        (Hs256, "", "rsa.pub.pem", "needs a priv-key"),
        (Rs256, "missing.pem", "", "cannot read"),
        (Rs256, "p384.pem", "", "does not hold an RSA private key"),
        (Es256, "p384.pem", "", "does not hold a P-256 private key"),
        (Es384, "p256.sec1.pem", "", "does not hold a P-384 private key"),
        (EdDsa, "rsa.pem", "", "does not hold an Ed25519 private key"),
        (Rs256, "rsa.pub.pem", "", "does not hold an RSA private key"),
        (Rs256, "", "rsa.pem", "does not hold a public key"),
        (Es256, "p256.sec1.pem", "rsa.pub.pem", "do not belong together"),
    ];
    for (algorithm, private, public, wanted) in cases {
        let error = tokens(algorithm, private, public).err().expect("cannot work").to_string();
        assert!(error.contains(wanted), "{algorithm:?} {private:?} {public:?}: {error}");
    }
}
