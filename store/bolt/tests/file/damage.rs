use proptest::prelude::*;
use skein_store_bolt::{Bolt, BoltError, PAGE_BYTES};

use crate::{read, sample, write};

fn refused(file: &[u8]) -> String {
    read(file).expect_err("it is damaged").to_string()
}

/// Overwrites `bytes` at `at` of `page`.
fn patched(page: usize, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = write(&sample());
    let at = page * PAGE_BYTES + at;
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

/// The first page of `file` of this kind.
fn page_of(file: &[u8], flags: u8) -> usize {
    let mut pages = 2..file.len() / PAGE_BYTES;
    let found = pages.find(|page| {
        let header = &file[page * PAGE_BYTES..];
        header[..8] == (*page as u64).to_le_bytes() && header[8] == flags
    });
    found.expect("the sample has one")
}

#[test]
fn one_damaged_meta_page_is_made_up_for_by_the_other() {
    for page in 0..2 {
        let file = patched(page, 40, &[0xff]);
        assert_eq!(read(&file).expect("the other is intact"), sample(), "meta {page}");
    }
}

#[test]
fn errors_say_what_and_where() {
    assert!(refused(b"").contains("it is too short"));
    assert!(refused(&[0; 8192]).contains("the magic number is missing"));
    let file = write(&sample());
    let text = refused(&file[..file.len() - 1]);
    assert!(text.contains("it is cut off") && text.contains("pages of 4096 bytes"), "{text}");

    let (branch, leaf) = (page_of(&file, 1), page_of(&file, 2));
    let says = |file: Vec<u8>, page: usize, what: &str| {
        assert_eq!(refused(&file), format!("page {page} is damaged: {what}"));
    };
    says(patched(leaf, 0, &[0xff]), leaf, "its header has the id of another page");
    says(patched(leaf, 12, &[0xff; 4]), leaf, "it is not within the file");
    says(patched(branch, 8, &[8]), branch, "it is neither a branch nor a leaf");
    says(patched(branch, 10, &[0xff, 0xff]), branch, "its elements do not fit into it");
    says(patched(branch, 10, &[0, 0]), branch, "a branch without children");
    says(patched(branch, 16, &[0xff; 4]), branch, "a key or value reaches out of it");
    says(patched(branch, 24, &[0xff; 8]), usize::MAX, "it is not within the file");
    says(patched(branch, 24, &(branch as u64).to_le_bytes()), branch, "it is in use at two places");
}

#[test]
fn swapped_keys_are_noticed() {
    let file = write(&sample());
    let branch = page_of(&file, 1);
    let second = branch * PAGE_BYTES + 32;
    // The second child in the first one's place: its keys are not below the next key of the branch.
    let child = file[second + 8..second + 16].to_vec();
    let text = refused(&patched(branch, 24, &child));
    assert!(text.ends_with("its keys are out of order"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Whatever the bytes, reading ends with contents or with an error.
    #[test]
    fn mutated_files_are_read_or_refused(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        in_headers in any::<bool>(),
        cut in proptest::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut file = write(&small());
        let pages = file.len() / PAGE_BYTES;
        for (at, byte) in edits {
            // Headers and elements are where damage does harm.
            let at = match in_headers {
                true => at.index(pages * 128) / 128 * PAGE_BYTES + at.index(pages * 128) % 128,
                false => at.index(file.len()),
            };
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        match read(&file) {
            Ok(contents) => prop_assert!(contents.len() <= small().len()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

fn small() -> crate::Contents {
    let mut contents = sample();
    contents[1].1.truncate(400);
    contents
}

/// A list of free pages, as bbolt writes it outside of etcd, accounts for what is not in use.
#[test]
fn free_pages_are_accounted_for() {
    let with_list = |free: &[u64]| {
        let mut file = write(&sample());
        let list = file.len() / PAGE_BYTES;
        let mut page = vec![0; 2 * PAGE_BYTES];
        page[..8].copy_from_slice(&(list as u64).to_le_bytes());
        page[8..12].copy_from_slice(&[0x10, 0, free.len() as u8, 0]);
        for (at, id) in free.iter().enumerate() {
            page[16 + 8 * at..24 + 8 * at].copy_from_slice(&id.to_le_bytes());
        }
        file.extend_from_slice(&page);
        // The second meta, which counts, names the list and two more pages.
        let meta = PAGE_BYTES + 16;
        file[meta + 32..meta + 40].copy_from_slice(&(list as u64).to_le_bytes());
        file[meta + 40..meta + 48].copy_from_slice(&(list as u64 + 2).to_le_bytes());
        let sum = file[meta..meta + 56].iter().fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        file[meta + 56..meta + 64].copy_from_slice(&sum.to_le_bytes());
        (file, list as u64)
    };
    let (_, list) = with_list(&[]);
    assert_eq!(read(&with_list(&[list + 1]).0).expect("accounted for"), sample());
    let text = refused(&with_list(&[]).0);
    assert_eq!(text, format!("page {} is damaged: it is neither in use nor free", list + 1));
    let text = refused(&with_list(&[list + 1, 3]).0);
    assert_eq!(text, "page 3 is damaged: it is in use at two places");
}

#[test]
fn a_failing_source_is_told() {
    struct Failing;
    impl skein_store_bolt::ReadAt for Failing {
        fn size(&self) -> std::io::Result<u64> {
            Ok(1 << 20)
        }
        fn read_at(&self, _: &mut [u8], _: u64) -> std::io::Result<()> {
            Err(std::io::Error::other("no"))
        }
    }
    assert!(matches!(Bolt::open(Failing), Err(BoltError::Io { offset: 16, .. })));
}
