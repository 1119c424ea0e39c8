use super::*;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(Rng::new(seed))
}

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn read(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(&path(name)).ok()?;
    let mut bytes = vec![0; file.size().ok()? as usize];
    file.read_at(&mut bytes, 0).ok()?;
    Some(bytes)
}

/// A durable file of four sectors.
fn durable(disk: &SimDisk, name: &str) -> Box<dyn DiskFile> {
    let file = disk.create(&path(name), 4 * SECTOR as u64).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable(&disk, "a");
        file.write_at(b"kept", 700).unwrap();
        file.sync().unwrap();
        disk.power_cut();
        assert_eq!(read(&disk, "a").unwrap()[700..704], *b"kept", "seed {seed}");
        assert!(file.write_at(b"late", 0).is_err(), "handles end with the process");
    }
}

#[test]
fn what_was_not_synced_is_kept_or_lost_by_sectors() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let disk = disk(seed);
        let file = durable(&disk, "a");
        file.write_at(&[1; 2 * SECTOR], 0).unwrap();
        disk.power_cut();
        let bytes = read(&disk, "a").unwrap();
        let sectors: Vec<&[u8]> = bytes.chunks(SECTOR).take(2).collect();
        assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        outcomes.insert((sectors[0][0], sectors[1][0]));
    }
    assert_eq!(outcomes.len(), 4, "kept, lost, and torn both ways");
}

#[test]
fn names_need_their_directory_synced() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let disk = disk(seed);
        durable(&disk, "a");
        disk.create(&path("b"), 1).unwrap().sync().unwrap();
        disk.rename(&path("a"), &path("c")).unwrap();
        disk.power_cut();
        let mut names = disk.list(Path::new("/d")).unwrap();
        names.sort();
        outcomes.insert(names.concat());
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["a", "ab", "bc", "c"]);
}

#[test]
fn a_failed_sync_loses_data_and_the_next_one_says_nothing() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable(&disk, "a");
        file.write_at(&[1; SECTOR], 0).unwrap();
        disk.set_faults(|faults| faults.fail_sync = true);
        file.sync().unwrap_err();
        file.sync().unwrap();
        disk.power_cut();
        lost += u32::from(read(&disk, "a").unwrap()[0] == 0);
    }
    assert!((1..50).contains(&lost), "{lost}");
}

#[test]
fn a_full_disk_refuses_what_does_not_fit() {
    let disk = disk(1);
    let file = durable(&disk, "a");
    disk.set_faults(|faults| faults.capacity = 5 * SECTOR as u64);
    let refused = disk.create(&path("b"), 2 * SECTOR as u64).map(drop).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    file.write_at(b"in place", 0).unwrap();
    let refused = file.write_at(&[1], 5 * SECTOR as u64).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_member_stops_in_the_middle_of_any_operation() {
    for stop_after in 0..5 {
        let disk = disk(stop_after);
        disk.set_faults(|faults| faults.stop_after = Some(stop_after));
        let all = || -> io::Result<()> {
            let file = disk.create(&path("a"), 10)?;
            file.write_at(b"x", 0)?;
            file.sync()?;
            disk.rename(&path("a"), &path("b"))?;
            disk.sync_dir(Path::new("/d"))
        };
        all().unwrap_err();
        assert!(disk.is_stopped());
        assert_eq!(disk.operations(), stop_after + 1);
        disk.restart();
        disk.create(&path("c"), 1).unwrap();
    }
}

#[test]
fn slow_syncs_take_their_time() {
    let disk = disk(3);
    let file = durable(&disk, "a");
    disk.take_spent_us();
    disk.set_faults(|faults| faults.sync_us = 2_000_000);
    file.sync().unwrap();
    assert!((2_000_000..2_001_000).contains(&disk.take_spent_us()));
    assert_eq!(disk.take_spent_us(), 0);
}

#[test]
fn a_flipped_bit_is_never_in_what_was_synced_last() {
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable(&disk, "a");
        file.write_at(&[0xff; SECTOR], 0).unwrap();
        file.sync().unwrap();
        assert_eq!(disk.flip_bit(), None, "all of it was synced last");
        file.write_at(&[0xff; SECTOR], SECTOR as u64).unwrap();
        file.sync().unwrap();
        let (_, at) = disk.flip_bit().expect("something older");
        assert!(at < SECTOR);
        let flipped = read(&disk, "a").unwrap().iter().filter(|b| ![0, 0xff].contains(*b)).count();
        assert_eq!(flipped, 1);
    }
}
