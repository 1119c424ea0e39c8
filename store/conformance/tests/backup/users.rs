//! Users and roles go with the data: what was closed stays closed.

use super::*;

/// Closes a store to all but two users, and saves it as root.
fn close_and_save(source: &Process, dir: &TempDir) -> Result<PathBuf, Failure> {
    let file = dir.path().join("closed.db");
    let root = "--user=root:secret";
    for args in [
        &["user", "add", "root:secret"][..],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", "a", "b"],
        &["user", "add", "alice:pw"],
        &["user", "grant-role", "alice", "reader"],
        &["put", "a", "1"],
        &["auth", "enable"],
        &[root, "snapshot", "save", text(&file)?],
    ] {
        etcdctl(source, args)?;
    }
    Ok(file)
}

/// What users may do, in etcdctl's words.
fn shown_to_users(store: &Process) -> Vec<Result<String, String>> {
    let attempts: [&[&str]; 7] = [
        &["get", "a"],
        &["--user=alice:pw", "get", "a"],
        &["--user=alice:pw", "get", "c"],
        &["--user=alice:pw", "put", "a", "2"],
        &["--user=alice:wrong", "get", "a"],
        &["--user=root:secret", "role", "get", "reader"],
        &["--user=root:secret", "user", "get", "alice"],
    ];
    let outcome = |args: &[&str]| {
        etcdctl(store, args).map_err(|error| {
            let text = error.to_string();
            // The rest of the line names the attempt, with its time.
            text.rsplit("etcdserver: ").next().unwrap_or_default().trim().to_owned()
        })
    };
    attempts.into_iter().map(outcome).collect()
}

fn etcdctl(store: &Process, args: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new(peers::tool("etcdctl")?);
    let output = command.arg("--endpoints").arg(store.address()).args(args).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_etcd_to_skein() -> Result<(), Failure> {
    let dir = process::directory()?;
    let source = Process::start(&etcd()?, &[]).await?;
    let file = close_and_save(&source, &dir)?;
    let expected = shown_to_users(&source);
    assert!(expected[0].is_err() && expected[1].is_ok() && expected[3].is_err(), "{expected:?}");
    let restored = skein_from(&file, |_| ()).await?;
    assert_eq!(shown_to_users(&restored), expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_skein_to_etcd() -> Result<(), Failure> {
    let dir = process::directory()?;
    let source = Process::start(&peers::skein_store()?, &[]).await?;
    let file = close_and_save(&source, &dir)?;
    let expected = shown_to_users(&source);
    assert!(expected[0].is_err() && expected[1].is_ok() && expected[3].is_err(), "{expected:?}");
    let restored = etcd_from(&file, &[]).await?;
    assert_eq!(shown_to_users(&restored), expected);
    Ok(())
}
