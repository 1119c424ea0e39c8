//! What is known not to hold, and why. A case is named by the beginning of its name.

/// `skein-store` does not answer these yet.
pub(crate) const SKEIN: &[(&str, &str)] = &[];

/// Debian 12's etcd is 3.4: these came later, or were mended later.
pub(crate) const DEBIAN: &[(&str, &str)] = &[
    ("stream", "RangeStream came with 3.7"),
    ("headers::streamed_range", "RangeStream came with 3.7"),
    ("range_bounds::keys_only_leaves_out_the_lease", "keys come from the index alone since 3.7"),
    ("sort::unknown", "sort options are checked since 3.5; before, some end the server"),
    ("txn_checks::invalid_sort_option", "sort options are checked since 3.5"),
    ("watch_start::negative_revision", "such a watch is refused since 3.5"),
    ("watch_progress", "progress could overtake events, and was told without watches, before 3.5"),
    ("watch_size::fragments", "an older bound on fragments"),
    ("watch_size::one_large_event", "the previous value is left out of a large event"),
    ("headers::maintenance_calls", "Alarm answers without a header"),
    ("maintenance::hash_kv_tells", "HashKV tells its revision since 3.6"),
    ("maintenance::auth_is_off", "AuthStatus came with 3.5"),
    ("maintenance::status_version", "its version is 3.4"),
];
