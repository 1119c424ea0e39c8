//! What is known not to hold, and why. A case is named by the beginning of its name.

/// `skein-store` does not answer these yet.
pub(crate) const SKEIN: &[(&str, &str)] =
    &[("maintenance::snapshot", "skein-store does not write etcd's snapshot file format yet")];

/// Debian 12's etcd is 3.4: these came later, or were mended later.
pub(crate) const DEBIAN: &[(&str, &str)] = &[];
