//! What tokens are worth, and for how long.

use std::time::Duration;

use skein_store_api::pb::etcdserverpb::*;

use super::client::Caller;
use super::pair;

const OLD: &str = "etcdserver: revision of auth store is old";
const INVALID: &str = "etcdserver: invalid auth token";
const DENIED: &str = "etcdserver: permission denied";

/// A key that signs and protects nothing, made for tests of the server.
const JWT: &str = "--auth-token=jwt,sign-method=RS256,ttl=2s,\
                   priv-key=../server/tests/data/jwt/rsa.pem";

#[tokio::test(flavor = "multi_thread")]
async fn simple_tokens_outlive_changes_but_not_their_user() {
    for store in pair(&["--auth-token-ttl=2"]).await {
        Caller::nobody(&store).enable().await.expect("enabled");
        let (root, alice) =
            (Caller::user(&store, "root").await, Caller::user(&store, "alice").await);
        alice.put("a", 0).await.expect("alice may");
        root.add_role("other").await.expect("root may");
        assert_eq!(alice.get("a").await, Ok(1), "a change of users ends no simple token");
        let revoke = AuthUserRevokeRoleRequest { name: "alice".into(), role: "r".into() };
        root.auth().user_revoke_role(root.ask(revoke)).await.expect("root may");
        assert_eq!(alice.get("a").await, Err(DENIED.into()));
        let change = AuthUserChangePasswordRequest {
            name: "alice".into(),
            password: "other".into(),
            ..Default::default()
        };
        root.auth().user_change_password(root.ask(change)).await.expect("root may");
        assert_eq!(alice.get("a").await, Err(INVALID.into()), "another password ends it");
        tokio::time::sleep(Duration::from_millis(4_000)).await;
        assert_eq!(root.get("a").await, Err(INVALID.into()), "nobody used it for long");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_ends_all_tokens_and_a_restart_keeps_users() {
    for mut store in pair(&[]).await {
        let nobody = Caller::nobody(&store);
        nobody.enable().await.expect("enabled");
        let alice = Caller::user(&store, "alice").await;
        alice.put("a", 0).await.expect("alice may");
        let root = Caller::user(&store, "root").await;
        root.auth().auth_disable(root.ask(AuthDisableRequest {})).await.expect("root may");
        nobody.put("x", 0).await.expect("nobody is asked");
        nobody.auth().auth_enable(AuthEnableRequest {}).await.expect("root exists");
        assert_eq!(alice.get("a").await, Err(INVALID.into()));
        store.kill_and_restart().await.expect("it restarts");
        let alice = Caller::user(&store, "alice").await;
        assert_eq!(alice.get("a").await, Ok(1));
        assert_eq!(alice.get("x").await, Err(DENIED.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_tokens_name_a_revision_and_an_end() {
    for store in pair(&[JWT]).await {
        Caller::nobody(&store).enable().await.expect("enabled");
        let (root, alice) =
            (Caller::user(&store, "root").await, Caller::user(&store, "alice").await);
        alice.put("a", 0).await.expect("alice may");
        root.add_role("other").await.expect("root may");
        assert_eq!(alice.get("a").await, Err(OLD.into()), "users have changed");
        assert_eq!(alice.put("a", 0).await, Err(OLD.into()));
        assert_eq!(Caller::user(&store, "alice").await.get("a").await, Ok(1));
        let alice = Caller::user(&store, "alice").await;
        tokio::time::sleep(Duration::from_millis(3_000)).await;
        assert_eq!(alice.get("a").await, Err(INVALID.into()), "its time is over");
    }
}

/// Both sign with the same key, at the same revision of users.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_etcd_counts_here_and_ours_there() {
    let forever = JWT.replace("ttl=2s", "ttl=10m");
    for method in ["RS256", "PS256", "RS512"] {
        let stores = pair(&[&forever.replace("RS256", method)]).await;
        let mut tokens = Vec::new();
        for store in &stores {
            Caller::nobody(store).enable().await.expect("enabled");
            let token = Caller::nobody(store).authenticate("alice", "alice").await;
            tokens.push(token.expect("the password is right"));
        }
        for (store, token) in stores.iter().zip(tokens.iter().rev()) {
            let alice = Caller::nobody(store).with_token(token);
            alice.put("a", 0).await.expect("alice may");
            assert_eq!(alice.get("x").await, Err(DENIED.into()), "{method}");
        }
    }
}

/// What a member writes to its log names users, and nothing that opens a door.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_no_secret() {
    let [_, store] = pair(&["--log-level=debug"]).await;
    let nobody = Caller::nobody(&store);
    nobody.enable().await.expect("enabled");
    let token = nobody.authenticate("alice", "alice").await.expect("right");
    nobody.authenticate("alice", "not-the-password").await.expect_err("wrong");
    nobody.clone().with_token("not-a-token.9").get("a").await.expect_err("wrong");
    nobody.clone().with_token(&token).get("a").await.expect("alice may");
    let log = store.log();
    assert!(log.contains("refused a wrong password") && log.contains("alice"), "{log}");
    for secret in [token.as_str(), "not-the-password", "not-a-token", "$2"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
