//! `skeinctl snapshot` against a real etcd. What restored stores answer is tested in
//! `store/conformance/tests/backup`.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use skein_store_client::testing::StoreProcess;
use skein_store_client::{Session, SessionConfig};

fn run(endpoint: &str, dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skeinctl"));
    command.env("SKEINCTL_ENDPOINTS", endpoint).current_dir(dir).args(args).output().unwrap()
}

fn ok(endpoint: &str, dir: &Path, args: &[&str]) -> String {
    let output = run(endpoint, dir, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn fails(endpoint: &str, dir: &Path, args: &[&str]) -> (i32, String) {
    let output = run(endpoint, dir, args);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

async fn filled() -> StoreProcess {
    let store = StoreProcess::etcd().unwrap();
    let session = Session::connect(SessionConfig::new([store.endpoint()])).await.unwrap();
    for n in 0..20 {
        session.put(format!("test/{}", n % 10), "value", None).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_backup_is_saved_verified_and_restored() {
    use std::os::unix::fs::PermissionsExt;
    let (store, dir) = (filled().await, tempfile::tempdir().unwrap());
    let (endpoint, dir) = (store.endpoint(), dir.path());
    let said = ok(&endpoint, dir, &["snapshot", "save", "backup.db"]);
    assert!(said.starts_with("Snapshot saved at backup.db\nServer version"), "{said}");
    assert!(said.contains(", revision 21, 10 keys, "), "{said}");
    let file = std::fs::metadata(dir.join("backup.db")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);

    // From here on the store is not needed.
    drop(store);
    let json = ok(&endpoint, dir, &["-o", "json", "snapshot", "status", "backup.db"]);
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&status["revision"], &status["totalKey"]), (&21.into(), &10.into()));
    assert_eq!(status["totalSize"].as_u64().unwrap() + 32, file.len());
    let table = ok(&endpoint, dir, &["snapshot", "status", "backup.db"]);
    let hash = format!("{:x}  21", status["hash"].as_u64().unwrap());
    assert!(table.starts_with("HASH") && table.contains(&hash), "{table}");

    let restore = ["snapshot", "restore", "backup.db", "--data-dir", "restored"];
    let said = ok(&endpoint, dir, &restore);
    assert_eq!(said, "restored 10 keys and 0 leases at revision 21 into restored\n");
    assert!(dir.join("restored/member/identity").exists());
    let (code, text) = fails(&endpoint, dir, &restore);
    assert_eq!(code, 1);
    assert!(text.contains("data-dir \"restored\" not empty"), "{text}");

    let bump = ["--bump-revision", "100", "--mark-compacted", "--data-dir", "bumped"];
    let said = ok(&endpoint, dir, &[&["-o", "json"], &restore[..3], &bump].concat());
    let restored: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&restored["revision"], &restored["compactRevision"]), (&121.into(), &121.into()));
    let (code, _) = fails(&endpoint, dir, &[&restore[..3], &bump[..2]].concat());
    assert_eq!(code, 2, "a bump alone is wrong usage");
}

#[tokio::test]
async fn a_file_is_replaced_only_by_a_good_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("backup.db"), "the last good one").unwrap();
    let (code, text) = fails("127.0.0.1:1", dir.path(), &["snapshot", "save", "backup.db"]);
    assert_eq!(code, 4, "{text}");
    let kept = std::fs::read(dir.path().join("backup.db")).unwrap();
    assert_eq!(kept, b"the last good one");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no part is left behind");
    let (code, text) = fails("127.0.0.1:1", dir.path(), &["snapshot", "status", "backup.db"]);
    assert_eq!(code, 1);
    assert!(text.contains("backup.db") && text.contains("it is not a bbolt file"), "{text}");
}
