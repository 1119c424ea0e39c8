use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;
use skein_store_bolt::{Bolt, MAX_KEY_BYTES, PAGE_BYTES, WriteError, Writer};

use crate::{Contents, read, sample, write};

fn bucket() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let key = proptest::collection::vec(any::<u8>(), 1..40);
    let long_key = proptest::collection::vec(any::<u8>(), 1500..5000);
    let value = proptest::collection::vec(any::<u8>(), 0..9000);
    let short = proptest::collection::vec(any::<u8>(), 0..30);
    let entry = prop_oneof![
        20 => (key.clone(), short),
        2 => (key, value.clone()),
        1 => (long_key, value),
    ];
    proptest::collection::vec(entry, 0..300).prop_map(sorted)
}

fn sorted(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    entries.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_was_written_is_read_back(
        buckets in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..10), bucket(), 0..5),
    ) {
        let contents: Contents = buckets.into_iter().collect();
        prop_assert_eq!(read(&write(&contents)).expect("undamaged"), contents);
    }
}

/// Keys of half a page make branches of two and three children, so the tree is high; the longest
/// keys make branches that overflow their page.
#[test]
fn long_keys_make_high_trees() {
    for (length, count) in [(PAGE_BYTES / 2, 200), (MAX_KEY_BYTES, 20)] {
        let key = |n: u32| [n.to_be_bytes().as_slice(), &vec![b'k'; length - 4]].concat();
        let entries = (0..count).map(|n| (key(n), vec![])).collect();
        let contents: Contents = vec![(b"key".to_vec(), entries)];
        assert_eq!(read(&write(&contents)).expect("undamaged"), contents);
    }
}

#[test]
fn what_follows_the_last_page_does_not_matter() {
    let mut file = write(&sample());
    let bytes = file.len() as u64;
    file.extend_from_slice(&[0xaa; 32]);
    assert_eq!(read(&file).expect("undamaged"), sample());
    assert_eq!(Bolt::open(file.as_slice()).expect("undamaged").bytes(), bytes);
}

#[test]
fn keys_and_names_must_ascend_and_fit() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).expect("memory can be written");
    assert!(matches!(writer.put(b"a", b""), Err(WriteError::NoBucket)));
    writer.bucket(b"b").expect("the first");
    writer.put(b"k", b"").expect("the first");
    for key in [b"k".as_slice(), b"a"] {
        assert!(matches!(writer.put(key, b""), Err(WriteError::Order { .. })));
    }
    let long = vec![b'z'; MAX_KEY_BYTES + 1];
    for key in [b"".as_slice(), &long] {
        assert!(matches!(writer.put(key, b""), Err(WriteError::Size { .. })));
    }
    for name in [b"b".as_slice(), b"a"] {
        assert!(matches!(writer.bucket(name), Err(WriteError::Order { .. })));
    }
}
