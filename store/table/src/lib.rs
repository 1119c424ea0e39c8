//! Local copies of watched key ranges.
