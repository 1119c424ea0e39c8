//! The folder source on a real folder: edits, deletions, renames, unreadable things.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skein_controlplane_core::object::{Kind, Object, ObjectRef};
use skein_controlplane_core::source::Snapshot;
use skein_controlplane_server::folder::FolderSource;
use skein_controlplane_server::source::Source;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Generous for a busy machine; a change takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

struct Watched {
    dir: TempDir,
    snapshots: watch::Receiver<Option<Snapshot>>,
    stop: CancellationToken,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Watched {
    async fn start() -> Watched {
        let dir = tempfile::tempdir().unwrap();
        let roots = vec![dir.path().join("first"), dir.path().join("second")];
        for root in &roots {
            fs::create_dir(root).unwrap();
        }
        let (sender, snapshots) = watch::channel(None);
        let stop = CancellationToken::new();
        tokio::spawn(Box::new(FolderSource::new(roots)).run(sender, stop.clone()));
        let mut watched = Watched { dir, snapshots, stop };
        watched.until(|s| s.objects.is_empty() && s.complete).await;
        watched
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn until(&mut self, what: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let check = |s: &Option<Snapshot>| s.as_ref().is_some_and(&what);
        let found = tokio::time::timeout(PATIENCE, self.snapshots.wait_for(check)).await;
        if let Ok(Ok(snapshot)) = found {
            return snapshot.clone().unwrap();
        }
        drop(found);
        panic!("never seen; last: {:?}", self.snapshots.borrow())
    }
}

fn service(name: &str, port: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{ports: [{{port: {port}}}]}}\n---\n"
    )
}

fn port(snapshot: &Snapshot, name: &str) -> Option<u16> {
    match &**snapshot.objects.get(&ObjectRef::new(Kind::Service, "default", name))? {
        Object::Service(service) => Some(service.service.ports[0].port.get()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_renames_and_deletions_take_effect() {
    let mut watched = Watched::start().await;
    watched.write("first/a.yaml", &(service("x", 1) + &service("y", 1)));
    watched.until(|s| port(s, "x") == Some(1) && port(s, "y") == Some(1)).await;
    watched.write("first/a.yaml", &service("x", 2));
    watched.until(|s| port(s, "x") == Some(2) && port(s, "y").is_none()).await;

    // As careful tools write: aside, then over it.
    watched.write("first/.a.yaml.tmp", &service("x", 3));
    fs::rename(watched.path("first/.a.yaml.tmp"), watched.path("first/a.yaml")).unwrap();
    watched.until(|s| port(s, "x") == Some(3)).await;

    fs::rename(watched.path("first/a.yaml"), watched.path("first/b.yml")).unwrap();
    watched.write("first/notes.txt", "not a manifest");
    watched.write(
        "first/sub/deep/c.json",
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}"#,
    );
    watched.until(|s| s.objects.len() == 2 && port(s, "x") == Some(3)).await;

    // The folder given first goes before the second.
    watched.write("second/a.yaml", &service("x", 9));
    let snapshot = watched.until(|s| s.problems.len() == 1).await;
    assert_eq!(port(&snapshot, "x"), Some(3));
    fs::remove_file(watched.path("first/b.yml")).unwrap();
    watched.until(|s| port(s, "x") == Some(9) && s.problems.is_empty()).await;
    fs::remove_dir_all(watched.path("first/sub")).unwrap();
    watched.until(|s| s.objects.len() == 1 && s.complete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_folder_deletes_nothing_and_is_taken_up_again() {
    let mut watched = Watched::start().await;
    watched.write("first/a.yaml", &service("x", 1));
    watched.until(|s| port(s, "x") == Some(1)).await;
    fs::rename(watched.path("first"), watched.path("away")).unwrap();
    let snapshot = watched.until(|s| !s.complete).await;
    assert_eq!(port(&snapshot, "x"), Some(1));
    assert!(snapshot.problems[0].reason.contains("No such file"), "{:?}", snapshot.problems);
    fs::create_dir(watched.path("first")).unwrap();
    watched.write("first/b.yaml", &service("z", 1));
    watched.until(|s| s.complete && port(s, "x").is_none() && port(s, "z") == Some(1)).await;
    watched.write("first/b.yaml", &service("z", 2));
    watched.until(|s| port(s, "z") == Some(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_read_as_text_keep_what_they_held() {
    let mut watched = Watched::start().await;
    watched.write("first/a.yaml", &service("x", 1));
    watched.until(|s| port(s, "x") == Some(1)).await;
    fs::write(watched.path("first/a.yaml"), [0xff, 0xfe, b'x']).unwrap();
    let snapshot = watched.until(|s| s.problems.len() == 1).await;
    assert_eq!(port(&snapshot, "x"), Some(1));
    assert_eq!(snapshot.problems[0].reason, "not UTF-8");
    watched.write("first/a.yaml", &service("x", 70_000));
    let snapshot = watched.until(|s| s.problems.iter().any(|p| p.origin.line == 4)).await;
    assert_eq!(port(&snapshot, "x"), Some(1));
    watched.write("first/a.yaml", &service("x", 7));
    watched.until(|s| port(s, "x") == Some(7) && s.problems.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_config_map_is_followed_when_its_link_is_swapped() {
    let mut watched = Watched::start().await;
    let root = watched.path("first");
    let link = |version: &str, port: u32| {
        let data = root.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("a.yaml"), service("x", port)).unwrap();
        std::os::unix::fs::symlink(Path::new(&format!("..{version}")), root.join("..data_tmp"))
            .unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    link("v1", 1);
    std::os::unix::fs::symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    watched.until(|s| port(s, "x") == Some(1)).await;
    link("v2", 2);
    watched.until(|s| port(s, "x") == Some(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_seen_within_milliseconds() {
    let mut watched = Watched::start().await;
    let mut times = Vec::new();
    for n in 1..=21_u16 {
        watched.write("first/.tmp", &service("x", n.into()));
        let begun = std::time::Instant::now();
        fs::rename(watched.path("first/.tmp"), watched.path("first/a.yaml")).unwrap();
        watched.until(|s| port(s, "x") == Some(n)).await;
        times.push(begun.elapsed());
    }
    times.sort();
    println!("rename to snapshot: median {:?}, worst {:?}", times[10], times[20]);
    assert!(times[10] < Duration::from_millis(200), "{times:?}");
}

/// Root reads everything, so this can only be tested by an ordinary user; what happens to a file
/// that cannot be read is tested in the core as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_permission_is_reported_to_those_whom_it_concerns() {
    let mut watched = Watched::start().await;
    watched.write("first/a.yaml", &service("x", 1));
    watched.until(|s| port(s, "x") == Some(1)).await;
    let path = watched.path("first/a.yaml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let readable = fs::read(&path).is_ok();
    if !readable {
        watched.until(|s| s.problems.len() == 1).await;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    watched.until(|s| port(s, "x") == Some(1) && s.problems.is_empty()).await;
}
