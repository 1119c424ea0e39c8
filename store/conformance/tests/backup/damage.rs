//! What cannot be used is refused, with what and where.

use super::*;

async fn saved(dir: &TempDir) -> Result<(PathBuf, Vec<u8>), Failure> {
    let source = Process::start(&peers::skein_store()?, &[]).await?;
    let store = source.connect()?;
    fill(&store, 31).await?;
    let file = save(&store, dir).await?;
    let bytes = std::fs::read(&file)?;
    Ok((file, bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_is_found_by_the_hash_and_most_by_the_structure() -> Result<(), Failure> {
    let dir = process::directory()?;
    let (file, intact) = saved(&dir).await?;
    for at in (0..intact.len()).step_by(intact.len() / 40) {
        let mut bytes = intact.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&file, bytes)?;
        let text = refused(&file, |_| ())?;
        assert!(text.contains("saved.db"), "{text}");
        assert!(backup::status(&file).is_err(), "byte {at}");
        assert!(backup::verify(&file).is_err(), "byte {at}");
    }
    // Behind the two metas, the first byte of every page is part of its id.
    for page in 2..intact.len() / 4096 {
        let mut bytes = intact[..intact.len() - 32].to_vec();
        let at = page * 4096;
        if bytes[at..at + 8] != (page as u64).to_le_bytes() {
            continue;
        }
        bytes[at] ^= 0x80;
        std::fs::write(&file, bytes)?;
        let text = refused(&file, |config| config.skip_hash_check = true)?;
        let expected = format!("page {page} is damaged: its header has the id of another page");
        assert!(text.ends_with(&expected), "{text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_or_no_snapshot_is_named() -> Result<(), Failure> {
    let dir = process::directory()?;
    let (file, intact) = saved(&dir).await?;
    let skip = |config: &mut RestoreConfig| config.skip_hash_check = true;
    std::fs::write(&file, &intact[..intact.len() / 2])?;
    assert!(refused(&file, skip)?.contains("it is cut off: "));
    std::fs::write(&file, b"something else")?;
    assert!(refused(&file, skip)?.contains("it is not a bbolt file"));
    std::fs::remove_file(&file)?;
    assert!(refused(&file, skip)?.contains("cannot open"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_do_not_fit_are_refused() -> Result<(), Failure> {
    let dir = process::directory()?;
    let (file, _) = saved(&dir).await?;
    let says = |expected: &str, adapt: fn(&mut RestoreConfig)| -> Result<(), Failure> {
        let text = refused(&file, adapt)?;
        assert!(text.contains(expected), "{text}");
        Ok(())
    };
    says("--mark-compacted required", |c| c.bump_revision = 5)?;
    says("--mark-compacted required", |c| c.mark_compacted = true)?;
    says("cannot be increased", |c| (c.bump_revision, c.mark_compacted) = (u64::MAX, true))?;
    says("couldn't find local name \"x\" in the initial cluster", |c| c.name = "x".into())?;
    says("--initial-cluster has default=http://localhost:2380 but", |c| {
        c.peer_urls = vec!["http://elsewhere:2380".into()];
    })?;
    says("has duplicate url", |c| c.initial_cluster.push("b=http://localhost:2380".into()))?;
    says("\"b\" is not name=url", |c| c.initial_cluster.push("b".into()))?;
    says("data-dir", |c| {
        std::fs::create_dir_all(&c.data_dir).expect("a temporary directory");
        std::fs::write(c.data_dir.join("mine"), "").expect("a temporary directory");
    })
}
