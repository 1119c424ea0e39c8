//! A correct history is found correct, and is the same after a way through a file.

use crate::generate::generate;
use proptest::prelude::*;
use skein_chaos_model::{History, check};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn correct_histories_are_clean(seed: u64, count in 1u64..150) {
        let history = generate(seed, count);
        let verdict = check(&history);
        prop_assert!(verdict.is_clean(), "{:#?}", verdict);
    }

    #[test]
    fn a_file_keeps_everything(seed: u64) {
        let history = generate(seed, 40);
        let mut file = Vec::new();
        history.write(&mut file).unwrap();
        prop_assert_eq!(History::read(file.as_slice()).unwrap(), history);
    }
}

#[test]
fn a_broken_file_is_named_by_its_line() {
    let mut file = Vec::new();
    generate(1, 3).write(&mut file).unwrap();
    let lines = file.iter().filter(|&&byte| byte == b'\n').count();
    file.extend_from_slice(b"{\"Opera");
    let error = History::read(file.as_slice()).unwrap_err();
    assert_eq!(error.to_string(), format!("line {} of the history is not a record", lines + 1));
}

/// Judging must stay far from exponential: this many operations take well under a second.
#[test]
fn a_long_history_is_judged_quickly() {
    let begun = std::time::Instant::now();
    let verdict = check(&generate(7, 4_000));
    assert!(verdict.is_clean(), "{:?}", verdict.violations.first());
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
}
