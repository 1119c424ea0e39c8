//! Typed keys and values for everything Skein keeps in the store.
