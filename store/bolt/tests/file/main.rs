//! Files are read back as they were written, and damaged ones are refused or read, never more.

mod damage;
mod round_trip;

use std::io::Cursor;

use skein_store_bolt::{Bolt, BoltError, Writer};

type Contents = Vec<(Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>)>;

fn write(contents: &Contents) -> Vec<u8> {
    let mut writer = Writer::new(Cursor::new(Vec::new())).expect("memory can be written");
    for (name, entries) in contents {
        writer.bucket(name).expect("names ascend");
        for (key, value) in entries {
            writer.put(key, value).expect("keys ascend");
        }
    }
    let (out, bytes) = writer.finish().expect("memory can be written");
    assert_eq!(out.get_ref().len() as u64, bytes);
    out.into_inner()
}

fn read(file: &[u8]) -> Result<Contents, BoltError> {
    let bolt = Bolt::open(file)?;
    let mut contents = Vec::new();
    for bucket in bolt.buckets()? {
        let entries = bolt.entries(&bucket)?;
        let entries = entries.map(|entry| entry.map(|e| (e.key.to_vec(), e.value.to_vec())));
        contents.push((bucket.name.to_vec(), entries.collect::<Result<_, _>>()?));
    }
    bolt.check()?;
    Ok(contents)
}

/// Three buckets: an empty one, one of several levels, one with a value of several pages.
fn sample() -> Contents {
    let many = (0..3000u32).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; 40])).collect();
    let large = vec![(b"large".to_vec(), vec![7; 20_000]), (b"small".to_vec(), b"x".to_vec())];
    vec![(b"empty".to_vec(), vec![]), (b"key".to_vec(), many), (b"meta".to_vec(), large)]
}
